// Runs - what a retriever found for each query - and the files that hold them.
import * as is from "../checks.js";
import { badLine, formatOf, type Line, parseId, type Row, readLines, readRows, unitOf } from "../records/index.js";

/** Scores of the documents found for each query: query id to document id to score. */
export type Run = ReadonlyMap<string, ReadonlyMap<string, number>>;

/** Judgements: query id to document id to grade. Documents that are not there are not relevant. */
export type Qrels = ReadonlyMap<string, ReadonlyMap<string, number>>;

export interface Ranked {
  readonly id: string;
  readonly score: number;
}

/** The order of trec_eval: score, then id, both descending; ids as bytes of UTF-8, as its strcmp. */
export function compareRanked(a: Ranked, b: Ranked): number {
  return b.score - a.score || compareUtf8(b.id, a.id);
}

/** UTF-16 units in the order of their code points: surrogates stand for what comes after U+FFFF. */
function compareUtf8(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return orderOf(x) - orderOf(y);
  }
  return a.length - b.length;
}

function orderOf(unit: number): number {
  if (unit >= 0xe000) return unit - 0x800;
  return unit >= 0xd800 ? unit + 0x2000 : unit;
}

/** A document of a run file, with the line that names it. */
export interface Candidate extends Ranked {
  readonly line: number;
}

/** The best documents of each query of a run file. */
export interface Candidates {
  readonly path: string;
  readonly byQuery: ReadonlyMap<string, readonly Candidate[]>;
  /** Each query of the file with its first line. */
  readonly queries: ReadonlyMap<string, number>;
}

/**
 * Reads a run: TREC's six columns, or a table of one row a query in a file named .jsonl (also .gz, .zst) or .parquet: `query` and
 * `docs`, or `query-id` and `corpus-ids` as in MTEB, ids best first.
 *
 * @param wanted - The queries to keep.
 * @param limit - Documents to keep of each: the best.
 */
export async function readRun(
  path: string,
  wanted: ReadonlySet<string>,
  limit: number,
  signal?: AbortSignal | undefined,
): Promise<Candidates> {
  const best = new Map<string, TopDocuments>();
  const queries = new Map<string, number>();
  const isTable = formatOf(path) !== undefined;
  for await (const line of isTable ? readRows(path, { signal }) : readLines(path, { signal })) {
    const { query, documents } = "values" in line ? parseList(line) : parseTrecLine(line);
    if (isTable && queries.has(query)) throw badLine(line, `lists query ${query} again, after ${unitOf(path)} ${queries.get(query)}`);
    if (!queries.has(query)) queries.set(query, line.number);
    if (!wanted.has(query)) continue;
    const top = best.get(query) ?? new TopDocuments(limit);
    best.set(query, top);
    for (const document of documents) top.add({ ...document, line: line.number });
  }
  const byQuery = new Map(Array.from(best, ([query, top]) => [query, top.ranked()]));
  for (const documents of byQuery.values()) throwIfTwice(documents, path);
  return { path, byQuery, queries };
}

/** Keeps the best `limit` documents of however many are added. */
export class TopDocuments<D extends Ranked = Candidate> {
  readonly #limit: number;
  #kept: D[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  add(document: D): void {
    this.#kept.push(document);
    if (this.#kept.length >= 4 * this.#limit + 64) this.#kept = this.ranked();
  }

  ranked(): D[] {
    return this.#kept.sort(compareRanked).slice(0, this.#limit);
  }
}

interface ParsedLine {
  readonly query: string;
  readonly documents: readonly Ranked[];
}

function parseList(row: Row): ParsedLine {
  const id = parseId(row.values.query ?? row.values["query-id"]);
  const docs = row.values.docs ?? row.values["corpus-ids"];
  if (id === undefined || !Array.isArray(docs)) throw badLine(row, 'needs "query", an id, and "docs", an array of ids');
  const documents = docs.map((value: unknown, i) => {
    const document = parseId(value);
    if (document === undefined) throw badLine(row, `has an entry of "docs" that is no id: ${JSON.stringify(value)}`);
    return { id: document, score: docs.length - i };
  });
  return { query: id, documents };
}

function parseTrecLine(line: Line): ParsedLine {
  const columns = line.text.trim().split(/\s+/);
  const [query = "", , document = "", , scoreText = ""] = columns;
  const score = Number(scoreText);
  if (columns.length !== 6 || !Number.isFinite(score)) {
    throw badLine(line, "is not a line of a TREC run: query Q0 document rank score tag");
  }
  return { query, documents: [{ id: document, score }] };
}

function throwIfTwice(documents: readonly Candidate[], path: string): void {
  const lines = new Map<string, number>();
  for (const { id, line } of documents) {
    const earlier = lines.get(id);
    if (earlier !== undefined) {
      throw badLine({ path, number: Math.max(line, earlier) }, `names document ${id} again, after line ${Math.min(line, earlier)}`);
    }
    lines.set(id, line);
  }
}

/**
 * A query's part of a TREC run file. trec_eval ranks it by the scores, so they are written in full.
 *
 * @param tag - Names the run; blanks become underscores.
 * @throws {RangeError} An id with blanks, which this format cannot hold.
 */
export function formatRun(query: string, ranking: readonly Ranked[], tag: string): string {
  is.string("query", query);
  is.string("tag", tag);
  if (!Array.isArray(ranking)) throw new TypeError(`Expected \`ranking\` to be an array, got \`${is.show(ranking)}\``);
  for (const id of [query, ...ranking.map((document) => document.id)]) {
    if (id === "" || /\s/.test(id)) throw new RangeError(`A TREC run cannot hold the id ${JSON.stringify(id)}: it has blanks`);
  }
  const name = tag.replace(/\s+/g, "_") || "run";
  return ranking.map(({ id, score }, i) => `${query} Q0 ${id} ${i + 1} ${score} ${name}\n`).join("");
}

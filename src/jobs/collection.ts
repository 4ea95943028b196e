// Tasks from a run and a collection: queries with the ids of their candidates, and the texts of both.
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { RerankerError, rank } from "../index.js";
import {
  badLine,
  FIRST,
  formatOf,
  indexTable,
  type Mark,
  parseId,
  readRawLines,
  readRows,
  type TableIndex,
  type Where,
} from "../records/index.js";
import type { CollectionInput } from "./input.js";
import type { Task } from "./task.js";
import { TextStore } from "./text-store.js";

/** A query of a run with its candidates, best first. */
interface Group {
  readonly query: string;
  readonly documents: readonly string[];
  readonly where: Where;
}

/** One pass over a run. A row is a query with all its candidates, whose lines must stand together. */
export async function indexRun(path: string, every: number, signal: AbortSignal | undefined): Promise<TableIndex> {
  if (formatOf(path)) return indexTable(path, every, { signal });
  const { size, mtimeMs } = await stat(path).catch((cause: Error) => {
    throw new RerankerError("IO", `Cannot read ${path}: ${cause.message}`, { cause });
  });
  const digest = createHash("sha256");
  const marks: Mark[] = [];
  const seen = new Set<string>();
  let rows = 0;
  let last: string | undefined;
  for await (const line of readRawLines(path, { signal, onRawBytes: (bytes) => digest.update(bytes) })) {
    const entry = parseRunLine(line.bytes, { path, number: line.number });
    if (!entry || entry.query === last) continue;
    if (seen.has(entry.query)) {
      throw badLine(
        { path, number: line.number },
        `goes back to query ${entry.query}; sort the run by query first, for one by \`sort -s -k1,1\``,
      );
    }
    seen.add(entry.query);
    last = entry.query;
    if (rows++ % every === 0) marks.push({ row: rows - 1, byte: line.byte, line: line.number });
  }
  return { path, rows, sizeBytes: size, modifiedMs: mtimeMs, sha256: digest.digest("hex"), marks };
}

interface RunLine {
  readonly query: string;
  readonly document: string;
  readonly score: number;
}

/** undefined: a blank line. */
function parseRunLine(bytes: Buffer, where: Where): RunLine | undefined {
  const text = bytes.toString().trim();
  if (text === "") return undefined;
  const columns = text.split(/\s+/);
  const [query = "", , document = "", , scoreText = ""] = columns;
  const score = Number(scoreText);
  if (columns.length !== 6 || !Number.isFinite(score))
    throw badLine(where, "is not a line of a TREC run: query Q0 document rank score tag");
  return { query, document, score };
}

async function* readGroups(path: string, from: Mark, count: number, signal: AbortSignal | undefined): AsyncGenerator<Group> {
  if (formatOf(path)) yield* readTableGroups(path, from, count, signal);
  else yield* readRunGroups(path, from, count, signal);
}

async function* readTableGroups(path: string, from: Mark, count: number, signal: AbortSignal | undefined): AsyncGenerator<Group> {
  const columns = ["query", "query-id", "docs", "corpus-ids"];
  for await (const row of readRows(path, { columns, signal }, { from, count })) {
    const query = parseId(row.values.query ?? row.values["query-id"]);
    const docs = row.values.docs ?? row.values["corpus-ids"];
    if (query === undefined || !Array.isArray(docs)) throw badLine(row, 'needs "query", an id, and "docs", an array of ids');
    const documents = docs.map((value: unknown) => {
      const id = parseId(value);
      if (id === undefined) throw badLine(row, `has an entry of "docs" that is no id: ${JSON.stringify(value)}`);
      return id;
    });
    yield { query, documents, where: row };
  }
}

async function* readRunGroups(path: string, from: Mark, count: number, signal: AbortSignal | undefined): AsyncGenerator<Group> {
  const isPacked = /\.(gz|zst)$/i.test(path);
  const start = isPacked ? FIRST : from;
  let skip = from.row - start.row;
  let left = count;
  let scores = new Map<string, number>();
  let query: string | undefined;
  let where: Where = { path, number: start.line };
  const group = (): Group => ({ query: query ?? "", documents: rank(scores).map(({ id }) => id), where });
  for await (const line of readRawLines(path, { signal, startByte: start.byte, startLine: start.line })) {
    const entry = parseRunLine(line.bytes, { path, number: line.number });
    if (!entry) continue;
    if (entry.query !== query) {
      if (query !== undefined && skip-- <= 0) {
        yield group();
        if (--left === 0) return;
      }
      query = entry.query;
      where = { path, number: line.number };
      scores = new Map();
    }
    if (scores.has(entry.document)) throw badLine({ path, number: line.number }, `names document ${entry.document} again`);
    scores.set(entry.document, entry.score);
  }
  if (query !== undefined && skip <= 0 && left > 0) yield group();
}

/** The texts of a collection. Queries are held in memory, the corpus on disk. */
export class Collection implements AsyncDisposable {
  readonly #input: CollectionInput;
  readonly #queries: ReadonlyMap<string, string>;
  readonly #texts: TextStore;

  static async open(input: CollectionInput, signal?: AbortSignal, onProgress?: (documents: number) => void): Promise<Collection> {
    const queries = new Map<string, string>();
    for await (const { id, text, where } of readTexts(input.queries, signal)) {
      if (queries.has(id)) throw badLine(where, `has the id ${id} again`);
      queries.set(id, text);
    }
    const texts = await TextStore.create();
    try {
      for await (const { id, text, where } of readTexts(input.corpus, signal)) {
        if (!(await texts.add(id, text))) throw badLine(where, `has the id ${id} again`);
        if (texts.size % 1000 === 0) onProgress?.(texts.size);
      }
      await texts.flush();
    } catch (error) {
      await texts[Symbol.asyncDispose]();
      throw error;
    }
    return new Collection(input, queries, texts);
  }

  private constructor(input: CollectionInput, queries: ReadonlyMap<string, string>, texts: TextStore) {
    this.#input = input;
    this.#queries = queries;
    this.#texts = texts;
  }

  async *readTasks(from: Mark, count: number, signal: AbortSignal | undefined): AsyncGenerator<Task> {
    let row = from.row;
    for await (const { query: id, documents, where } of readGroups(this.#input.run, from, count, signal)) {
      const query = this.#queries.get(id);
      if (query === undefined) throw badLine(where, `names query ${id}, which ${this.#input.queries.join(", ")} does not have`);
      const ids = documents.slice(0, this.#input.candidates);
      const texts = await Promise.all(
        ids.map(async (document) => {
          const text = await this.#texts.get(document);
          if (text === undefined) throw badLine(where, `names document ${document}, which ${this.#input.corpus.join(", ")} does not have`);
          return text;
        }),
      );
      yield { row: row++, query, lists: [texts], ids: [ids], queryId: id, kept: [JSON.stringify(id)] };
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#texts[Symbol.asyncDispose]();
  }
}

interface TextRecord {
  readonly id: string;
  readonly text: string;
  readonly where: Where;
}

/** BEIR's records: a title goes before its text. */
async function* readTexts(files: readonly string[], signal: AbortSignal | undefined): AsyncGenerator<TextRecord> {
  for (const path of files) {
    for await (const row of readRows(path, { columns: ["_id", "id", "title", "text"], signal })) {
      const { _id, id: plainId, title, text } = row.values;
      const id = parseId(_id ?? plainId);
      if (id === undefined || typeof text !== "string") throw badLine(row, 'needs "_id" or "id", and a string "text"');
      yield { id, text: typeof title === "string" ? `${title} ${text}`.trim() : text, where: row };
    }
  }
}

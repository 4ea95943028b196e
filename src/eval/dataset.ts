// A retrieval data set on disk, read down to what a reranker is asked: queries, their candidates, the candidates' texts.
import { basename, resolve } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { abortSignal, boolean, callback, checkOptions, integer, name, string } from "../checks.js";
import { RerankerError } from "../errors.js";
import { badLine, parseId, readRows, type Where } from "../records/index.js";
import { Bm25 } from "./bm25.js";
import { type DatasetFiles, findFiles } from "./dataset-files.js";
import { type QrelsFile, readQrels } from "./qrels.js";
import { type Candidate, type Candidates, type Qrels, type Run, readRun } from "./run.js";

export interface DatasetOptions {
  /**
   * First stage: a TREC run, or a table of `query` and `docs` (MTEB: `query-id`, `corpus-ids`) in a .jsonl or .parquet file.
   * @default the one such file in the folder (bm25*.jsonl, *.run, *.trec, each also .gz or .zst), else the built-in BM25
   */
  readonly run?: string | undefined;
  /** true: the built-in BM25, whatever runs the folder has. */
  readonly bm25?: boolean | undefined;
  /** @default qrels.tsv, qrels.txt or qrels/test.tsv in the folder, each also .gz or .zst; or Parquet in qrels, data or default */
  readonly qrels?: string | undefined;
  /**
   * Documents of the first stage to rerank for each query: the best.
   * @default 50
   */
  readonly candidates?: number | undefined;
  /**
   * Evaluate only so many queries, spread evenly over the judged ones.
   * @default all
   */
  readonly queries?: number | undefined;
  /** true: goes on past unknown ids, which are skipped, and empty texts, which are kept; both are counted. */
  readonly lenient?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with the documents read, or the queries searched, so far. */
  readonly onProgress?: ((stage: "reading" | "searching", done: number) => void) | undefined;
}

export interface DatasetQuery {
  readonly id: string;
  readonly text: string;
  /** Document ids, best first. */
  readonly candidates: readonly string[];
}

/** Oddities of a data set that do not stop it from being used. */
export interface DatasetProblems {
  /** Judged documents that the corpus lacks, as in several published sets. They count as not found, as in trec_eval. */
  readonly missingJudged: number;
  /** Ids of run and judgements that `lenient` skipped. */
  readonly unknownIds: number;
  /** Empty texts that `lenient` kept. */
  readonly emptyTexts: number;
}

/** What is evaluated. Only the candidates' texts are in memory. */
export interface Dataset {
  readonly name: string;
  readonly queries: readonly DatasetQuery[];
  readonly documents: ReadonlyMap<string, string>;
  /** Of the queries evaluated. */
  readonly qrels: Qrels;
  readonly firstStage: { readonly name: string; readonly run: Run };
  readonly corpusSize: number;
  readonly problems: DatasetProblems;
}

/**
 * Reads a folder laid out as BEIR's: corpus.jsonl `{"_id" or "id", "title"?, "text"}`, queries.jsonl and qrels, each also .gz or
 * .zst; or as the hub's Parquet copies of BEIR and MTEB: corpus/*.parquet, queries/*.parquet. A title goes before its text. The corpus is streamed, twice with the built-in BM25.
 *
 * @throws {RerankerError} `IO`: a file is missing, or a line is not what it should be; the message names file and line.
 */
export async function loadDataset(folder: string, options: DatasetOptions = {}): Promise<Dataset> {
  name("folder", folder);
  checkOptions("loadDataset", options, optionChecks, () => undefined);
  const { signal, candidates: limit = 50 } = options;
  const files = await findFiles(folder, options);
  const problems = new Problems(options.lenient ?? false);
  const qrels = await readQrels(files.qrels, signal);
  const judged = await readQueries(files.queries, qrels, problems, signal);
  const queries = spread(judged.texts, options.queries);
  const corpus: Corpus = { files: files.corpus, options, problems };
  const candidates = files.run ? await readRun(files.run, new Set(queries.keys()), limit, signal) : await searchAll(corpus, queries, limit);
  throwIfUnknownQueries(candidates, judged.ids, problems);
  const { documents, size } = await readTexts(corpus, candidates, qrels);
  const run = runOf(candidates, documents);
  return {
    name: basename(resolve(folder)),
    queries: Array.from(queries, ([id, text]) => ({ id, text, candidates: [...(run.get(id)?.keys() ?? [])] })),
    documents,
    qrels: new Map(Array.from(queries.keys(), (id) => [id, qrels.byQuery.get(id) ?? new Map()])),
    firstStage: { name: files.run ? basename(files.run) : "BM25", run },
    corpusSize: size,
    problems: problems.counts(),
  };
}

const optionChecks = {
  run: string,
  bm25: boolean,
  qrels: string,
  candidates: integer(1),
  queries: integer(1),
  lenient: boolean,
  signal: abortSignal,
  onProgress: callback,
} as const satisfies Record<keyof DatasetOptions, unknown>;

/** Errors of content that `lenient` counts instead. */
class Problems {
  readonly #lenient: boolean;
  #missingJudged = 0;
  #unknownIds = 0;
  #emptyTexts = 0;

  constructor(lenient: boolean) {
    this.#lenient = lenient;
  }

  unknownId(where: Where, kind: "document" | "query", id: string): void {
    if (!this.#lenient) throw badLine(where, `names ${kind} ${id}, which the data set does not have`);
    this.#unknownIds++;
  }

  missingJudged(): void {
    this.#missingJudged++;
  }

  emptyText(line: Where, id: string): void {
    if (!this.#lenient) throw badLine(line, `has an empty text for ${id}`);
    this.#emptyTexts++;
  }

  counts(): DatasetProblems {
    return { missingJudged: this.#missingJudged, unknownIds: this.#unknownIds, emptyTexts: this.#emptyTexts };
  }
}

interface TextRecord {
  readonly id: string;
  readonly text: string;
  readonly line: Where;
}

const TEXT_COLUMNS = ["_id", "id", "title", "text"];

async function* readRecords(files: readonly string[], signal: AbortSignal | undefined): AsyncGenerator<TextRecord> {
  for (const path of files) {
    for await (const line of readRows(path, { signal, columns: TEXT_COLUMNS })) {
      const record = line.values;
      const id = parseId(record._id ?? record.id);
      if (id === undefined) throw badLine(line, 'has neither "_id" nor "id"');
      if (typeof record.text !== "string") throw badLine(line, 'has no string "text"');
      if (typeof (record.title ?? "") !== "string") throw badLine(line, 'has a "title" that is no string');
      yield { id, text: `${record.title ?? ""} ${record.text}`.trim(), line }; // as BEIR joins them
    }
  }
}

/** The judged queries in the order of their file, and every id of it. */
async function readQueries(files: readonly string[], qrels: QrelsFile, problems: Problems, signal: AbortSignal | undefined) {
  const ids = new Map<string, number>();
  const texts = new Map<string, string>();
  for await (const { id, text, line } of readRecords(files, signal)) {
    throwIfRepeated(ids, id, line);
    if (!qrels.byQuery.has(id)) continue;
    if (text === "") problems.emptyText(line, id);
    texts.set(id, text);
  }
  for (const [id, number] of qrels.queries) if (!ids.has(id)) problems.unknownId({ path: qrels.path, number }, "query", id);
  if (texts.size === 0) throw new RerankerError("IO", `No query of ${files.join(", ")} has judgements in ${qrels.path}`);
  return { ids, texts };
}

function throwIfRepeated(lines: Map<string, number>, id: string, line: Where): void {
  const earlier = lines.get(id);
  if (earlier !== undefined) throw badLine(line, `has the id ${id} of line ${earlier}`);
  lines.set(id, line.number);
}

function spread(texts: ReadonlyMap<string, string>, count: number = texts.size): ReadonlyMap<string, string> {
  const all = [...texts];
  const kept = Math.min(count, all.length);
  return new Map(Array.from({ length: kept }, (_, i) => all[Math.floor((i * all.length) / kept)] as [string, string]));
}

interface Corpus {
  readonly files: DatasetFiles["corpus"];
  readonly options: DatasetOptions;
  readonly problems: Problems;
}

const QUERIES_A_TURN = 32; // searched before other work of the process has its turn

async function searchAll(corpus: Corpus, queries: ReadonlyMap<string, string>, limit: number): Promise<Candidates> {
  const { signal, onProgress } = corpus.options;
  const index = new Bm25();
  const lines = new Map<string, number>();
  for await (const { id, text, line } of readRecords(corpus.files, signal)) {
    throwIfRepeated(lines, id, line);
    index.add(id, text);
    onProgress?.("reading", index.size);
  }
  const byQuery = new Map<string, readonly Candidate[]>();
  for (const [id, text] of queries) {
    const found = index.search(text, limit);
    byQuery.set(
      id,
      found.map((document) => ({ ...document, line: lines.get(document.id) ?? 0 })),
    );
    if (byQuery.size % QUERIES_A_TURN > 0) continue;
    onProgress?.("searching", byQuery.size);
    await nextTurn();
    signal?.throwIfAborted();
  }
  return { path: corpus.files[0] ?? "", byQuery, queries: new Map() };
}

function throwIfUnknownQueries(candidates: Candidates, known: ReadonlyMap<string, number>, problems: Problems): void {
  for (const [id, number] of candidates.queries) if (!known.has(id)) problems.unknownId({ path: candidates.path, number }, "query", id);
}

/** Streams the corpus for the candidates' texts, and checks that it is the one that run and judgements are about. */
async function readTexts({ files, options, problems }: Corpus, candidates: Candidates, qrels: QrelsFile) {
  const wanted = new Map<string, number>(); // to the line that names it first
  for (const { id, line } of [...candidates.byQuery.values()].flat()) wanted.set(id, Math.min(line, wanted.get(id) ?? line));
  const documents = new Map<string, string>();
  const found = new Map<string, number>();
  let size = 0;
  for await (const { id, text, line } of readRecords(files, options.signal)) {
    size++;
    options.onProgress?.("reading", size);
    const isCandidate = wanted.has(id);
    if (!isCandidate && !qrels.documents.has(id)) continue;
    throwIfRepeated(found, id, line);
    if (text === "") problems.emptyText(line, id);
    if (isCandidate) documents.set(id, text);
  }
  for (const [id, number] of wanted) if (!found.has(id)) problems.unknownId({ path: candidates.path, number }, "document", id);
  throwIfOtherCorpus(qrels, found);
  for (const id of qrels.documents.keys()) if (!found.has(id)) problems.missingJudged();
  return { documents, size };
}

function throwIfOtherCorpus(qrels: QrelsFile, found: ReadonlyMap<string, number>): void {
  const ids = [...qrels.documents.keys()];
  if (ids.some((id) => found.has(id))) return;
  throw badLine(
    { path: qrels.path, number: qrels.documents.get(ids[0] ?? "") ?? 1 },
    `names document ${ids[0]}: the corpus has no judged document at all`,
  );
}

function runOf(candidates: Candidates, documents: ReadonlyMap<string, string>): Run {
  return new Map(
    Array.from(candidates.byQuery, ([query, list]) => {
      const known = list.filter(({ id }) => documents.has(id));
      return [query, new Map(known.map(({ id, score }) => [id, score]))];
    }),
  );
}

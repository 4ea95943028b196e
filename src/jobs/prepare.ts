// From what the user asks for to a job: files found, columns found, rows counted, shards cut.
import { stat } from "node:fs/promises";
import { RerankerError, version } from "../index.js";
import {
  expandFiles,
  findTexts,
  indexTable,
  type Mark,
  parquetColumns,
  type TableFormat,
  type TableIndex,
  type TableOptions,
} from "../records/index.js";
import { indexRun } from "./collection.js";
import { type ColumnWishes, filesOf, firstRow, type Input, resolveColumns, shapeOf, tableOptionsOf } from "./input.js";
import { cutShards, type Shard } from "./shard.js";
import { type InputFile, type JobSpec, keyOf, type ModelIdentity, type Scoring } from "./spec.js";
import type { OutputFormat } from "./task.js";

/** What a job is to read, as the user says it. */
export interface InputWishes {
  /** Files, patterns or folders of tables. */
  readonly files: readonly string[];
  readonly format?: TableFormat | undefined;
  readonly header?: readonly string[] | undefined;
  readonly quote?: '"' | "none" | undefined;
  readonly columns: ColumnWishes;
  /** Instead of tables: candidates from `run`, texts from the corpus and queries in `folder`. */
  readonly collection?: { readonly run: string; readonly folder: string; readonly candidates?: number | undefined } | undefined;
}

export interface JobWishes {
  readonly input: InputWishes;
  readonly model: ModelIdentity;
  readonly scoring: Scoring;
  /** Cutoff layers that are read. */
  readonly layers: number;
  readonly format: OutputFormat;
  readonly shardRows: number;
}

export interface PreparedJob {
  readonly spec: JobSpec;
  readonly shards: readonly Shard[];
}

/** @param known - Files counted before: those of the same size and time are not read again. */
export async function prepareJob(
  wishes: JobWishes,
  known: readonly KnownFile[],
  signal: AbortSignal | undefined,
  onFile?: (path: string) => void,
): Promise<PreparedJob> {
  const input = await resolveInput(wishes.input);
  const shape = shapeOf(input, wishes.layers);
  if (wishes.format === "trec" && input.kind === "table" && !input.columns.isList)
    throw new RangeError("A TREC run ranks lists: give documents in a list, or a run and its collection");
  const indexes: TableIndex[] = [];
  for (const path of filesOf(input)) {
    onFile?.(path);
    indexes.push((await unchanged(path, wishes.shardRows, known)) ?? (await indexFile(input, path, wishes.shardRows, signal)));
  }
  const files = indexes.map(({ path, sizeBytes, modifiedMs, sha256, rows }) => ({ path, sizeBytes, modifiedMs, sha256, rows }));
  const { model, scoring, format, shardRows } = wishes;
  const body = { version, model, scoring, input, files, shardRows, format, shape };
  const shards = cutShards(indexes, shardRows);
  if (shards.length === 0) throw new RerankerError("IO", `${filesOf(input).join(", ")}: no rows`);
  return { spec: { key: keyOf(body), ...body }, shards };
}

/** A counted file, with the marks that were made for `shardRows`. */
export interface KnownFile extends InputFile {
  readonly shardRows: number;
  readonly marks: readonly Mark[];
}

async function unchanged(path: string, shardRows: number, known: readonly KnownFile[]): Promise<TableIndex | undefined> {
  const stats = await stat(path).catch(() => undefined);
  return known.find(
    (file) => file.path === path && file.shardRows === shardRows && file.sizeBytes === stats?.size && file.modifiedMs === stats.mtimeMs,
  );
}

function indexFile(input: Input, path: string, every: number, signal: AbortSignal | undefined): Promise<TableIndex> {
  return input.kind === "collection" ? indexRun(path, every, signal) : indexTable(path, every, tableOptionsOf(input, signal));
}

async function resolveInput({ files, format, header, quote, columns, collection }: InputWishes): Promise<Input> {
  if (collection) {
    const { run, folder, candidates } = collection;
    const [corpus, queries] = [await findTexts(folder, "corpus"), await findTexts(folder, "queries")];
    return { kind: "collection", run, corpus, queries, ...(candidates !== undefined && { candidates }) };
  }
  const paths = await expandFiles(files);
  const options = { format, header, quote };
  const [first = ""] = paths;
  const resolved = resolveColumns(await firstRow(first, options), columns, await kindsOf(paths, options));
  // Others are asked now, not after hours.
  const { query, documents, queryId, keep } = resolved;
  for (const path of paths.slice(1)) resolveColumns(await firstRow(path, options), { query, documents, queryId, keep });
  return { kind: "table", files: paths, ...(format && { format }), ...(header && { header }), ...(quote && { quote }), columns: resolved };
}

/** What columns hold that hold the same in all files; undefined unless all are Parquet. */
async function kindsOf(paths: readonly string[], options: TableOptions): Promise<ReadonlyMap<string, string> | undefined> {
  const kinds = new Map<string, string>();
  for (const path of paths) {
    const columns = await parquetColumns(path, options);
    if (!columns) return undefined;
    for (const { name, kind } of columns) kinds.set(name, (kinds.get(name) ?? kind) === kind ? kind : "other");
  }
  return kinds;
}

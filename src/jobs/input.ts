// The input as a job names it, in plain data, so that it travels through a queue; and the tasks in it.
import { RerankerError } from "../index.js";
import { badLine, type Mark, parseId, type Row, readRows, type TableFormat, type TableOptions } from "../records/index.js";
import type { OutputShape, Task } from "./task.js";

/** Rows of query and documents, in tables. */
export interface TableInput {
  readonly kind: "table";
  readonly files: readonly string[];
  readonly format?: TableFormat | undefined;
  readonly header?: readonly string[] | undefined;
  readonly quote?: '"' | "none" | undefined;
  readonly columns: InputColumns;
}

/** A run - queries with the ids of their candidates - and the collection that has the texts. */
export interface CollectionInput {
  readonly kind: "collection";
  readonly run: string;
  readonly corpus: readonly string[];
  readonly queries: readonly string[];
  /** Best so many of each query; all when undefined. */
  readonly candidates?: number | undefined;
}

export type Input = TableInput | CollectionInput;

export interface InputColumns {
  readonly query: string;
  /** Each holds one text, or a list of texts or of objects with `text`. */
  readonly documents: readonly string[];
  readonly isList: boolean;
  /** Column of the query's id, for TREC runs. */
  readonly queryId?: string | undefined;
  readonly keep: readonly string[];
  readonly kinds: readonly ("integer" | "text")[];
}

/** The files a job reads, in the order of their shards. */
export function filesOf(input: Input): readonly string[] {
  return input.kind === "table" ? input.files : [input.run];
}

export function tableOptionsOf(input: TableInput, signal?: AbortSignal): TableOptions {
  const { query, documents, keep, queryId } = input.columns;
  const columns = [...new Set([query, ...documents, ...keep, ...(queryId === undefined ? [] : [queryId])])];
  return { format: input.format, header: input.header, quote: input.quote, columns, signal };
}

/** @param firstRow - Number of the file's first row in the whole input. */
export async function* readTableTasks(
  input: TableInput,
  file: string,
  firstRow: number,
  from: Mark,
  count: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Task> {
  let row = firstRow + from.row;
  for await (const record of readRows(file, tableOptionsOf(input, signal), { from, count })) yield taskOf(record, row++, input.columns);
}

export function taskOf(record: Row, row: number, columns: InputColumns): Task {
  const query = record.values[columns.query];
  if (typeof query !== "string") throw badLine(record, `has no string ${JSON.stringify(columns.query)}`);
  const documents = columns.documents.map((name) => documentsOf(record, name, columns.isList));
  return {
    row,
    query,
    lists: documents.map(({ texts }) => texts),
    ids: documents.map(({ ids }) => ids),
    queryId: columns.queryId === undefined ? undefined : parseId(record.values[columns.queryId]),
    kept: columns.keep.map((name) => record.json(name)),
  };
}

interface Documents {
  readonly texts: readonly string[];
  readonly ids: readonly (string | undefined)[];
}

function documentsOf(record: Row, name: string, isList: boolean): Documents {
  const value = record.values[name];
  if (!isList) {
    if (typeof value === "string") return { texts: [value], ids: [undefined] };
    throw badLine(record, `has no string ${JSON.stringify(name)}`);
  }
  if (!Array.isArray(value)) throw badLine(record, `has no array ${JSON.stringify(name)}`);
  const texts = value.map((item: unknown, i) => {
    const text = typeof item === "object" && item !== null ? joinTitle(item as Record<string, unknown>) : item;
    if (typeof text === "string") return text;
    throw badLine(record, `has neither a string nor an object with "text" in ${JSON.stringify(name)}, item ${i}`);
  });
  return { texts, ids: value.map((item: unknown) => (typeof item === "object" ? idOf(item as Record<string, unknown>) : undefined)) };
}

/** As BEIR joins them. */
function joinTitle({ title, text }: Record<string, unknown>): unknown {
  return typeof title === "string" && typeof text === "string" ? `${title} ${text}`.trim() : text;
}

function idOf(item: Record<string, unknown>): string | undefined {
  return parseId(item._id ?? item.id ?? item.docid);
}

/** What the user said of the columns; what was not said is looked for. */
export interface ColumnWishes {
  readonly query?: string | undefined;
  readonly documents?: readonly string[] | undefined;
  readonly queryId?: string | undefined;
  readonly keep?: readonly string[] | undefined;
}

// Names in use: this package, sentence-transformers, FlagEmbedding (pos and neg are its training files), Cohere and Jina.
const ONE = ["passage", "document", "text"];
const MANY = ["documents", "passages", "candidates"];

/**
 * @param record - The first row.
 * @param kinds - What columns of a Parquet file hold; undefined for other files.
 * @throws {RerankerError} `IO`: a column is not there, or there are several candidates for it.
 */
export function resolveColumns(record: Row, wishes: ColumnWishes, kinds?: ReadonlyMap<string, string>): InputColumns {
  const has = (name: string) => Object.hasOwn(record.values, name);
  const need = (name: string) => {
    if (!has(name)) throw badLine(record, `has no column ${JSON.stringify(name)}; it has ${Object.keys(record.values).join(", ")}`);
    return name;
  };
  const query = need(wishes.query ?? "query");
  const documents = wishes.documents?.map(need) ?? findDocuments(record, has);
  const isList = documents.some((name) => Array.isArray(record.values[name]));
  if (!isList && documents.length > 1) throw badLine(record, `has one text each in ${documents.join(" and ")}; name one column`);
  const queryId = wishes.queryId ?? ["query_id", "query-id", "qid"].find(has);
  const keep = wishes.keep?.map(need) ?? (has("id") ? ["id"] : []);
  return {
    query,
    documents,
    isList,
    ...(queryId !== undefined && { queryId: need(queryId) }),
    keep,
    kinds: keep.map((name) => (kinds?.get(name) === "integer" ? "integer" : "text")),
  };
}

function findDocuments(record: Row, has: (name: string) => boolean): readonly string[] {
  if (has("pos") || has("neg")) return ["pos", "neg"].filter(has);
  const found = [...MANY, ...ONE].filter(has);
  if (found.length === 1) return found;
  const what = found.length === 0 ? `none of ${[...ONE, ...MANY].join(", ")}, nor pos and neg` : found.join(" and ");
  throw badLine(record, `has ${what}; name the column of the documents`);
}

/**
 * @param layers - Cutoff layers asked for.
 * @throws {RangeError} Columns that do not go together.
 */
export function shapeOf(input: Input, layers: number): OutputShape {
  if (input.kind === "collection") return { kind: "lists", scores: ["scores"], kept: [{ name: "query_id", kind: "text" }], withIds: true };
  const { documents, isList, keep, kinds } = input.columns;
  if (isList && layers > 1) throw new RangeError("Lists of documents take one cutoff layer: name one in `--cutoff-layers`");
  const own = ["row", "truncated", ...(isList ? ["scores", ...documents.map((name) => `${name}_scores`)] : ["score", "scores"])];
  const taken = keep.find((name, i) => own.includes(name) || keep.indexOf(name) !== i);
  if (taken !== undefined) throw new RangeError(`\`--keep\` names ${taken}, a column that the output has already`);
  const kept = keep.map((name, i) => ({ name, kind: kinds[i] ?? "text" }));
  const rest = { kept, withIds: false };
  if (!isList) return layers > 1 ? { kind: "layers", scores: ["scores"], ...rest } : { kind: "pair", scores: ["score"], ...rest };
  return { kind: "lists", scores: documents.length === 1 ? ["scores"] : documents.map((name) => `${name}_scores`), ...rest };
}

/** The first row of a file. */
export async function firstRow(path: string, options: TableOptions): Promise<Row> {
  for await (const row of readRows(path, options, { count: 1 })) return row;
  throw new RerankerError("IO", `${path} has no rows`);
}

// What a data file is, by its name alone: contents are never guessed at.
import { RerankerError } from "../errors.js";

export type TableFormat = "jsonl" | "csv" | "tsv" | "parquet";
export type Compression = "none" | "gzip" | "zstd";

export interface FileFormat {
  readonly table: TableFormat;
  readonly compression: Compression;
}

const TABLES: Readonly<Record<string, TableFormat>> = {
  ".jsonl": "jsonl",
  ".ndjson": "jsonl",
  ".csv": "csv",
  ".tsv": "tsv",
  ".parquet": "parquet",
};

const COMPRESSIONS: readonly (readonly [string, Compression])[] = [
  [".gz", "gzip"],
  [".zst", "zstd"],
];

/** Endings a table may have, as messages list them. */
export const TABLE_ENDINGS = "Known: .jsonl, .ndjson, .csv, .tsv, each also .gz or .zst, and .parquet";

export function compressionOf(path: string): Compression {
  return COMPRESSIONS.find(([ending]) => path.toLowerCase().endsWith(ending))?.[1] ?? "none";
}

/** undefined: the name has no ending of a table. */
export function formatOf(path: string): FileFormat | undefined {
  const compression = compressionOf(path);
  const plain = compression === "none" ? path : path.slice(0, path.lastIndexOf("."));
  const table = TABLES[/\.[a-z]+$/i.exec(plain)?.[0].toLowerCase() ?? ""];
  return table === undefined || (table === "parquet" && compression !== "none") ? undefined : { table, compression };
}

/** @param given - The format, where the user named one. @throws {RerankerError} `IO`: neither name nor user says what it is. */
export function requireFormat(path: string, given?: TableFormat): FileFormat {
  if (given !== undefined) return { table: given, compression: compressionOf(path) };
  const format = formatOf(path);
  if (format) return format;
  throw new RerankerError("IO", `${path} has no ending that says what it holds. ${TABLE_ENDINGS}`);
}

// Tables: files of rows with named columns, read from any row on, in bounded memory.
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { RerankerError } from "../errors.js";
import { readChunks } from "./bytes.js";
import { type CsvDialect, readCsvRows, scanCsv } from "./csv.js";
import { type FileFormat, requireFormat, type TableFormat } from "./format.js";
import { readJsonlRows, scanJsonl } from "./jsonl.js";
import { openParquet, type ParquetColumn } from "./parquet.js";
import { FIRST, type Mark, type Row } from "./row.js";
import type { TableOptions, TableScan } from "./table-options.js";

/** What is known of a file after one pass over it. */
export interface TableIndex {
  readonly path: string;
  readonly rows: number;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  readonly sha256: string;
  /** Every so many rows, from row 0 on. */
  readonly marks: readonly Mark[];
}

/**
 * Rows of a JSONL, CSV, TSV or Parquet file, one at a time.
 *
 * @param range - Rows to read. @default all
 * @throws {RerankerError} `IO`: unreadable, damaged, or a line that is not what it should be; the message names file and line.
 */
export async function* readRows(
  path: string,
  options: TableOptions = {},
  range: { from?: Mark; count?: number } = {},
): AsyncGenerator<Row> {
  const { from = FIRST, count = Number.POSITIVE_INFINITY } = range;
  const format = requireFormat(path, options.format);
  if (format.table === "parquet") {
    yield* readParquetRows(path, options, from.row, count);
    return;
  }
  let left = count;
  if (left <= 0) return;
  for await (const row of textRows(path, format, options, from)) {
    yield row;
    if (--left === 0) return;
  }
}

function textRows(path: string, { table, compression }: FileFormat, options: TableOptions, from: Mark): AsyncGenerator<Row> {
  const seekable = compression === "none" && path !== "-";
  if (table === "jsonl") return readJsonlRows(path, options, from, seekable);
  return readCsvRows(path, dialectOf(table, options), options, from, seekable);
}

function dialectOf(table: TableFormat, { quote, header }: TableOptions): CsvDialect {
  return { delimiter: table === "csv" ? "," : "\t", quote, header };
}

async function* readParquetRows(path: string, options: TableOptions, start: number, count: number): AsyncGenerator<Row> {
  const file = await openParquet(path);
  try {
    const known = new Set(file.columns.map(({ name }) => name));
    const columns = options.columns?.filter((name) => known.has(name));
    yield* file.readRows({ start, count: Math.min(count, file.rowCount - start) }, columns, options.signal);
  } finally {
    await file.close();
  }
}

/** Reads a file once: its digest, its rows, and where every `every`-th begins. */
export async function indexTable(path: string, every: number, options: TableOptions = {}): Promise<TableIndex> {
  const format = requireFormat(path, options.format);
  const { size, mtimeMs } = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    throw new RerankerError("IO", `Cannot read ${path}: ${cause.message}`, { cause });
  });
  const digest = createHash("sha256");
  const marks: Mark[] = [];
  const scan: TableScan = {
    signal: options.signal,
    onRawBytes: (bytes) => digest.update(bytes),
    onRow: (mark) => {
      if (mark.row % every === 0) marks.push(mark);
    },
  };
  const rows = await scanRows(path, format, options, scan);
  return { path, rows, sizeBytes: size, modifiedMs: mtimeMs, sha256: digest.digest("hex"), marks };
}

async function scanRows(path: string, format: FileFormat, options: TableOptions, scan: TableScan): Promise<number> {
  if (format.table === "jsonl") return scanJsonl(path, scan);
  if (format.table !== "parquet") return scanCsv(path, dialectOf(format.table, options), scan);
  const file = await openParquet(path);
  await file.close();
  for await (const _ of readChunks(path, scan)); // for the digest
  for (let row = 0; row < file.rowCount; row++) scan.onRow({ row, byte: 0, line: row + 1 });
  return file.rowCount;
}

/** The columns of a Parquet file and what they hold; undefined for other files, where each value is what it is. */
export async function parquetColumns(path: string, options: TableOptions = {}): Promise<readonly ParquetColumn[] | undefined> {
  if (requireFormat(path, options.format).table !== "parquet") return undefined;
  const file = await openParquet(path);
  await file.close();
  return file.columns;
}

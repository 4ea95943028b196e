// Rows of a Parquet file: a range of rows is read without the rest, and only the columns asked for.
import { type FileHandle, open } from "node:fs/promises";
import type { AsyncBuffer, FileMetaData, SchemaElement } from "hyparquet";
import { RerankerError } from "../errors.js";
import { throwUnlessFile } from "./bytes.js";
import { type Row, toJsonText } from "./row.js";

/** Rows decoded at once where the file says which page holds a row; elsewhere a row group's part of the range is. */
const ROWS_A_TURN = 4096;

export interface ParquetRange {
  readonly start: number;
  readonly count: number;
}

/** An opened file; its footer is read once. */
export interface ParquetFile {
  readonly rowCount: number;
  /** Top-level columns. */
  readonly columns: readonly ParquetColumn[];
  readRows(range: ParquetRange, columns: readonly string[] | undefined, signal: AbortSignal | undefined): AsyncGenerator<Row>;
  close(): Promise<void>;
}

export interface ParquetColumn {
  readonly name: string;
  /** What a column of a result can be: others are written as JSON text. */
  readonly kind: "integer" | "text" | "other";
}

/** @throws {RerankerError} `IO`: not a Parquet file, damaged, encrypted, or packed in a way that is not known. */
export async function openParquet(path: string): Promise<ParquetFile> {
  await throwUnlessFile(path);
  const [{ parquetMetadataAsync, parquetReadObjects }, { compressors }] = await Promise.all([
    import("hyparquet"),
    import("hyparquet-compressors"),
  ]);
  const handle = await open(path, "r");
  const attempt = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      if (error instanceof RerankerError) throw error;
      throw new RerankerError("IO", `Cannot read ${path} as Parquet: ${(error as Error).message}`, { cause: error });
    }
  };
  try {
    const file = await bufferOf(handle);
    const metadata = await attempt(() => parquetMetadataAsync(file));
    return {
      rowCount: Number(metadata.num_rows),
      columns: columnsOf(metadata),
      async *readRows({ start, count }, columns, signal) {
        for (const [rowStart, rowEnd] of piecesOf(metadata, start, start + count)) {
          signal?.throwIfAborted();
          const options = { file, metadata, compressors, rowStart, rowEnd, useOffsetIndex: true };
          const rows = await attempt(() => parquetReadObjects(columns ? { ...options, columns: [...columns] } : options));
          if (rows.length !== rowEnd - rowStart) throw new RerankerError("IO", `${path} has fewer rows than its footer says`);
          for (const [i, values] of rows.entries()) yield rowOf(path, rowStart + i + 1, values);
        }
      },
      close: () => handle.close(),
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

function* piecesOf(metadata: FileMetaData, start: number, end: number): Generator<readonly [number, number]> {
  let groupStart = 0;
  for (const group of metadata.row_groups) {
    const groupEnd = groupStart + Number(group.num_rows);
    const last = Math.min(end, groupEnd);
    const isIndexed = group.columns.every((column) => column.offset_index_offset !== undefined);
    const step = isIndexed ? ROWS_A_TURN : Number.POSITIVE_INFINITY;
    for (let from = Math.max(start, groupStart); from < last; from += step) yield [from, Math.min(from + step, last)];
    groupStart = groupEnd;
  }
}

function rowOf(path: string, number: number, values: Record<string, unknown>): Row {
  return { path, number, values, json: (column) => (Object.hasOwn(values, column) ? toJsonText(values[column]) : undefined) };
}

async function bufferOf(handle: FileHandle): Promise<AsyncBuffer> {
  const { size } = await handle.stat();
  return {
    byteLength: size,
    async slice(start, end = size) {
      const bytes = new Uint8Array(Math.max(0, Math.min(end, size) - start));
      for (let done = 0; done < bytes.length; ) {
        const { bytesRead } = await handle.read(bytes, done, bytes.length - done, start + done);
        if (bytesRead === 0) throw new Error("the file ends early");
        done += bytesRead;
      }
      return bytes.buffer;
    },
  };
}

function columnsOf({ schema }: FileMetaData): ParquetColumn[] {
  const columns: ParquetColumn[] = [];
  let at = 1; // after the root
  while (at < schema.length) {
    const element = schema[at] as SchemaElement;
    columns.push({ name: element.name, kind: kindOf(element) });
    at = skipElement(schema, at);
  }
  return columns;
}

/** Elements stand in the order of a walk through the tree. */
function skipElement(schema: readonly SchemaElement[], at: number): number {
  let next = at + 1;
  for (let child = 0; child < (schema[at]?.num_children ?? 0); child++) next = skipElement(schema, next);
  return next;
}

function kindOf({ type, converted_type, logical_type, num_children, repetition_type }: SchemaElement): ParquetColumn["kind"] {
  if (num_children || repetition_type === "REPEATED") return "other";
  if (type === "INT32" || type === "INT64") {
    const isPlain = (converted_type === undefined || /^INT_/.test(converted_type)) && (!logical_type || logical_type.type === "INTEGER");
    return isPlain ? "integer" : "other";
  }
  return type === "BYTE_ARRAY" && (converted_type === "UTF8" || logical_type?.type === "STRING") ? "text" : "other";
}

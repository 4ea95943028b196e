// How a table is read.
import type { TableFormat } from "./format.js";
import type { Mark } from "./row.js";

export interface TableOptions {
  /** @default by the name: .jsonl, .csv, .tsv, each also .gz or .zst, or .parquet */
  readonly format?: TableFormat | undefined;
  /** Names of the columns of a CSV or TSV file that has no header line. */
  readonly header?: readonly string[] | undefined;
  /** What surrounds fields of a CSV or TSV file. @default `"` in CSV; in TSV nothing, and a field that looks quoted is an error */
  readonly quote?: '"' | "none" | undefined;
  /** Parquet: read these columns only. Other files have all columns in each row anyway. @default all */
  readonly columns?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a pass over a file is told. */
export interface TableScan {
  readonly signal?: AbortSignal | undefined;
  readonly onRawBytes: (bytes: Uint8Array) => void;
  readonly onRow: (mark: Mark) => void;
}

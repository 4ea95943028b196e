// One row of a table, whatever file it comes from.
import type { Where } from "./lines.js";

export interface Row extends Where {
  /** JSON's values, the strings of CSV, or Parquet's: bigint for 64-bit integers, Date for timestamps, arrays for lists. */
  readonly values: Readonly<Record<string, unknown>>;
  /** A column as JSON text: what the file has, byte for byte, where it is JSON. undefined: the row has no such column. */
  json(column: string): string | undefined;
}

/** Where a row begins in its file. */
export interface Mark {
  /** Rows before it. */
  readonly row: number;
  /** Bytes before it, decompressed; 0 in Parquet, where rows are found by number. */
  readonly byte: number;
  /** Its line, from 1. */
  readonly line: number;
}

export const FIRST: Mark = { row: 0, byte: 0, line: 1 };

/** A value as JSON text: integers of 64 bits in full, bytes as base64, what JSON lacks (NaN, infinities) as null. */
export function toJsonText(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value === "bigint") return String(value);
  return JSON.stringify(value, (_, each: unknown) => {
    if (typeof each === "bigint") return Number.isSafeInteger(Number(each)) ? Number(each) : String(each);
    return each instanceof Uint8Array ? Buffer.from(each).toString("base64") : each;
  });
}

// Shards: ranges of rows of one file each, the unit of work, of output and of a fresh start.
import { createHash } from "node:crypto";
import type { Mark, TableIndex } from "../records/index.js";
import type { OutputFormat } from "./task.js";

/** A range of rows; small enough for a queue, complete enough to be scored anywhere the files are. */
export interface Shard {
  /** Number in the whole job, from 0. */
  readonly index: number;
  /** Of the job's files. */
  readonly file: number;
  readonly from: Mark;
  readonly rows: number;
  /** Number of the file's first row in the whole input. */
  readonly firstRow: number;
}

/** Cuts the files, one after the other. @param indexes - With a mark for every `shardRows` rows. */
export function cutShards(indexes: readonly TableIndex[], shardRows: number): Shard[] {
  const shards: Shard[] = [];
  let firstRow = 0;
  for (const [file, { marks, rows }] of indexes.entries()) {
    for (const from of marks) shards.push({ index: shards.length, file, from, rows: Math.min(shardRows, rows - from.row), firstRow });
    firstRow += rows;
  }
  return shards;
}

const ENDINGS = { jsonl: ".jsonl", parquet: ".parquet", trec: ".run" } as const satisfies Record<OutputFormat, string>;

/** Name of a shard's output. */
export function partName(index: number, format: OutputFormat): string {
  return `part-${String(index).padStart(5, "0")}${ENDINGS[format]}`;
}

/** Name of the record that says what made a shard's output; readers of folders skip what begins with an underscore. */
export function recordName(index: number): string {
  return `_parts/part-${String(index).padStart(5, "0")}.json`;
}

/** Digest of plain data, whatever the order of its keys. */
export function digestOf(value: unknown): string {
  return createHash("sha256").update(canonical(value)).digest("hex");
}

export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) =>
    typeof each === "object" && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
      : each,
  );
}

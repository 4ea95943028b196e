// What travels through the queue: ranges of rows and where they lie, never texts.
import type { Manifest } from "../manifest.js";
import type { PartRecord } from "../part.js";
import type { Shard } from "../shard.js";
import type { JobSpec } from "../spec.js";
import type { StoragePlace } from "../storage/storage.js";

export const PART = "part";
export const COLLECT = "collect";

/** One shard. Its spec and shard know the shard's own file only, as file 0. */
export interface PartPayload {
  readonly spec: JobSpec;
  readonly shard: Shard;
  readonly output: StoragePlace;
}

/** Waits for all shards of a job and completes its manifest. */
export interface CollectPayload {
  readonly key: string;
  readonly shards: number;
  readonly rows: number;
  readonly output: StoragePlace;
}

export interface PartResult {
  readonly record: PartRecord;
  /** It was there already. */
  readonly skipped: boolean;
}

/** What a running part tells of itself. */
export interface PartProgress {
  readonly rows: number;
  readonly pairs: number;
  readonly tokens: number;
}

export function partPayload({ job }: Pick<Manifest, "job">, shard: Shard, output: StoragePlace): PartPayload {
  const { input, files } = job;
  if (input.kind === "collection") return { spec: job, shard, output };
  const file = files[shard.file];
  if (!file) throw new RangeError(`No file ${shard.file}`);
  return { spec: { ...job, input: { ...input, files: [file.path] }, files: [file] }, shard: { ...shard, file: 0 }, output };
}

/** BullMQ's ids may not be plain numbers nor hold a colon. */
export function jobId(kind: typeof PART | typeof COLLECT, digest: string): string {
  return `${kind}-${digest}`;
}

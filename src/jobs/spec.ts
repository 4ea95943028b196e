// A job: what is scored, by which model, with which options, and into what. Plain data, so that it travels.
import type { LoadOptions } from "../index.js";
import type { Input } from "./input.js";
import { digestOf, type Shard } from "./shard.js";
import type { OutputFormat, OutputShape } from "./task.js";

/** An input file as it was when the job was made. */
export interface InputFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  readonly sha256: string;
  readonly rows: number;
}

export interface ModelIdentity {
  readonly name: string | null;
  readonly sha256: string;
}

/** Options of a machine: scores do not depend on them. `cache`, `prefixCacheSize` and `keepAliveMs` only say what is kept. */
export const MACHINE_OPTIONS = [
  "devices",
  "threads",
  "batchSize",
  "maxBatchTokens",
  "maxMemory",
  "keepAliveMs",
  "cache",
  "prefixCacheSize",
  "cacheDir",
  "revision",
  "outtype",
  "useFp16",
  "useBf16",
  "signal",
  "onProgress",
] as const satisfies readonly (keyof LoadOptions)[];

/** All others: what a machine is not asked about, so that an option that is new counts. The model's file has a digest of its own. */
export type Scoring = Omit<LoadOptions, (typeof MACHINE_OPTIONS)[number]>;

export function scoringOf(options: LoadOptions): Scoring {
  const isMachines = (name: string) => (MACHINE_OPTIONS as readonly string[]).includes(name);
  return Object.fromEntries(Object.entries(options).filter(([name, value]) => value !== undefined && value !== null && !isMachines(name)));
}

export interface JobSpec {
  readonly key: string;
  /** Of this package. */
  readonly version: string;
  readonly model: ModelIdentity;
  readonly scoring: Scoring;
  readonly input: Input;
  readonly files: readonly InputFile[];
  readonly shardRows: number;
  readonly format: OutputFormat;
  readonly shape: OutputShape;
}

/** What must be equal for outputs to belong together; where the files lie does not matter. */
export function identityOf(spec: Omit<JobSpec, "key">): Record<string, unknown> {
  const { input } = spec;
  return {
    version: spec.version,
    model: spec.model.sha256,
    options: spec.scoring,
    input: spec.files.map(({ sha256 }) => sha256),
    columns: input.kind === "table" ? { ...input.columns, header: input.header, quote: input.quote } : { candidates: input.candidates },
    shardRows: spec.shardRows,
    format: spec.format,
  };
}

export function keyOf(spec: Omit<JobSpec, "key">): string {
  return digestOf(identityOf(spec));
}

/** What a shard's output is the output of. */
export function shardKey(spec: Pick<JobSpec, "key">, { index, from, rows }: Shard): string {
  return digestOf({ job: spec.key, index, row: from.row, rows });
}

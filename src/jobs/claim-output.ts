// Whether a batch may write where it is told to: never over its input, never into the output of another.
import { realpath, rmdir, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { RerankerError } from "../index.js";
import { MANIFEST, type Manifest, throwIfOther } from "./manifest.js";
import { findPart, type PartRecord } from "./part.js";
import type { PreparedJob } from "./prepare.js";
import { partName, recordName, type Shard } from "./shard.js";
import type { JobSpec } from "./spec.js";
import type { Storage } from "./storage/storage.js";

/** What the user said of an output that may be there. */
export interface Claim {
  /** A folder of parts, or one file. */
  readonly output: string;
  readonly isFile: boolean;
  /** Only the shards whose number leaves this rest. */
  readonly only?: { readonly index: number; readonly count: number } | undefined;
  readonly resume: boolean;
  readonly force: boolean;
}

/** An output must never be one of the inputs, nor be found by the pattern that names them. */
export async function throwIfInput(output: string, folder: string, { spec }: PreparedJob): Promise<void> {
  const { input } = spec;
  const inputs = input.kind === "table" ? input.files : [input.run, ...input.corpus, ...input.queries];
  const real = (path: string) => realpath(path).catch(() => resolve(path));
  const places = new Set(await Promise.all([output, folder].map(real)));
  for (const path of inputs) {
    const file = await real(path);
    if (!places.has(file) && !places.has(dirname(file))) continue;
    throw new RerankerError("IO", `The output ${output} would lie over its input ${path}. Name another output`);
  }
}

export async function claimOutput(
  before: Manifest | undefined,
  job: PreparedJob,
  { output, isFile, force, resume, only }: Claim,
  storage: Storage,
  folder: string,
): Promise<void> {
  if (force) {
    if (only !== undefined) throw new RangeError("--force with --shard would remove the parts of the others: remove the output first");
    if (before) await removeParts(before, storage, folder);
    return;
  }
  // What another job left before its first part was whole is in nobody's way.
  const isEmpty =
    before !== undefined && !before.complete && only === undefined && (await findAny(before.job, before.shards, storage)) === undefined;
  if (before && !isEmpty) {
    throwIfOther(before, job, output);
    // Tasks of an array share the folder; each looks at its own parts only.
    const mine = only ? job.shards.filter(({ index }) => index % only.count === only.index) : job.shards;
    const found = resume || (before.complete && only !== undefined) ? undefined : await findAny(job.spec, mine, storage);
    if (!resume && (found !== undefined || (only === undefined && before.complete))) {
      throw new RerankerError("IO", `${output} has parts of this job already: --resume keeps them and goes on, --force begins anew`);
    }
    return;
  }
  if (before) return;
  const stats = await stat(output).catch(() => undefined);
  if (isFile && stats)
    throw new RerankerError("IO", `${output} exists and no manifest says what made it. Name another output, or remove it`);
  if (!isFile && stats && !stats.isDirectory())
    throw new RerankerError("IO", `${output} is a file; name a folder, or a file that ends in .jsonl, .parquet or .run`);
}

async function findAny(spec: JobSpec, shards: readonly Shard[], storage: Storage): Promise<PartRecord | undefined> {
  for (const shard of shards) {
    const part = await findPart(spec, shard, storage);
    if (part) return part;
  }
  return undefined;
}

export async function removeParts(before: Manifest, storage: Storage, folder: string): Promise<void> {
  for (const { index } of before.shards) {
    await storage.remove(partName(index, before.job.format));
    await storage.remove(recordName(index));
  }
  await storage.remove(MANIFEST);
  await rmdir(join(folder, "_parts")).catch(() => undefined);
}

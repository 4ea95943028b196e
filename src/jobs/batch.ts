// bge-reranker batch: all shards of a job, or every n-th, in this process.
import { mkdir, rmdir, stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import type { Reranker } from "../index.js";
import { type Claim, claimOutput, removeParts, throwIfInput } from "./claim-output.js";
import { InputReader } from "./input-reader.js";
import { knownFiles, type Manifest, readManifest, type Totals, totalsOf, writeManifest } from "./manifest.js";
import { mergeParts } from "./merge.js";
import { findPart, makePart, type PartRecord } from "./part.js";
import { type JobWishes, type PreparedJob, prepareJob } from "./prepare.js";
import type { OnWork } from "./score-window.js";
import type { Shard } from "./shard.js";
import { FolderStorage } from "./storage/folder-storage.js";
import type { Storage } from "./storage/storage.js";

export interface BatchOptions extends Claim {
  /** Count and cut, write the manifest, score nothing. */
  readonly planOnly: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: BatchProgress) => void) | undefined;
  readonly onCount?: ((path: string) => void) | undefined;
}

export interface BatchProgress {
  readonly doneRows: number;
  /** Of them scored in this run. */
  readonly newRows: number;
  readonly totalRows: number;
  readonly shard: number;
  readonly shards: number;
  readonly pairs: number;
  readonly tokens: number;
}

export interface BatchResult {
  readonly key: string;
  readonly output: string;
  readonly shards: number;
  readonly made: number;
  readonly skipped: number;
  /** Whether all shards are done, others' too. */
  readonly complete: boolean;
  /** Of the parts this run made. */
  readonly work: Totals;
  /** Of all parts, once they are there. */
  readonly computedOn: readonly string[];
}

export async function runBatch(wishes: JobWishes, reranker: Reranker, options: BatchOptions): Promise<BatchResult> {
  const { output, isFile, signal } = options;
  const folder = isFile ? `${output}.parts` : output;
  const storage = new FolderStorage(folder);
  const finished = isFile ? new FolderStorage(dirname(output)) : undefined;
  const inFolder = await readManifest(storage);
  const before = inFolder ?? (finished && (await readManifest(finished, manifestName(output))));
  const job = await prepareJob(wishes, knownFiles(before), signal, options.onCount);
  await throwIfInput(output, folder, job);
  await claimOutput(before, job, options, storage, folder);
  if (isFile && before?.complete && options.resume && !options.force && (await isWhole(output, before))) {
    return { ...resultOf(job, options, [], job.shards.length), complete: true, computedOn: before.totals?.computedOn ?? [] };
  }
  await storage.sweep();
  await finished?.sweep();
  if (options.force || inFolder?.job.key !== job.spec.key) {
    await writeManifest(storage, { job: job.spec, shards: job.shards, complete: false });
  }
  const mine = job.shards.filter(({ index }) => options.only === undefined || index % options.only.count === options.only.index);
  if (options.planOnly) return { ...resultOf(job, options, [], 0), complete: false, computedOn: [] };
  const made = await makeParts(mine, job, reranker, storage, options);
  const parts = await allParts(job, storage);
  if (parts) await complete(job, parts, storage, folder, options);
  const computedOn = totalsOf(parts ?? []).computedOn;
  return { ...resultOf(job, options, made, mine.length - made.length), complete: parts !== undefined, computedOn };
}

function resultOf(
  job: PreparedJob,
  options: BatchOptions,
  made: readonly PartRecord[],
  skipped: number,
): Omit<BatchResult, "complete" | "computedOn"> {
  return { key: job.spec.key, output: options.output, shards: job.shards.length, made: made.length, skipped, work: totalsOf(made) };
}

function manifestName(output: string): string {
  return `${basename(output)}.manifest.json`;
}

async function makeParts(
  mine: readonly Shard[],
  job: PreparedJob,
  reranker: Reranker,
  storage: Storage,
  options: BatchOptions,
): Promise<PartRecord[]> {
  const { spec } = job;
  const { signal, onProgress } = options;
  const made: PartRecord[] = [];
  const totalRows = mine.reduce((sum, { rows }) => sum + rows, 0);
  const counts = { doneRows: 0, newRows: 0, pairs: 0, tokens: 0 };
  await using reader = new InputReader(spec.input);
  for (const [i, shard] of mine.entries()) {
    signal?.throwIfAborted();
    const tell = () => onProgress?.({ ...counts, totalRows, shard: i, shards: mine.length });
    if (await findPart(spec, shard, storage)) {
      counts.doneRows += shard.rows;
      continue;
    }
    const end = counts.doneRows + shard.rows;
    const onWork: OnWork = (pairs, tokens, rows) => {
      counts.pairs += pairs;
      counts.tokens += tokens;
      counts.doneRows += rows;
      counts.newRows += rows;
      tell();
    };
    made.push(await makePart(shard, { spec, reranker, reader, storage, signal, onWork }));
    counts.doneRows = end;
  }
  return made;
}

/** The records of all parts, or undefined while some are missing. */
export async function allParts({ spec, shards }: PreparedJob, storage: Storage): Promise<PartRecord[] | undefined> {
  const parts: PartRecord[] = [];
  for (const shard of shards) {
    const part = await findPart(spec, shard, storage);
    if (!part) return undefined;
    parts.push(part);
  }
  return parts;
}

async function complete(
  job: PreparedJob,
  parts: PartRecord[],
  storage: Storage,
  folder: string,
  { output, isFile }: BatchOptions,
): Promise<void> {
  const manifest: Manifest = { job: job.spec, shards: job.shards, complete: true, parts, totals: totalsOf(parts) };
  if (!isFile) return writeManifest(storage, manifest);
  const place = new FolderStorage(dirname(output));
  await mkdir(dirname(output), { recursive: true });
  const pending = await place.create(basename(output));
  try {
    const written = await mergeParts(job.spec, parts, folder, pending.path);
    await writeManifest(place, { ...manifest, totals: { ...totalsOf(parts), bytes: written.bytes } }, manifestName(output));
    await pending.commit();
  } finally {
    await pending.discard();
  }
  await removeParts(manifest, storage, folder);
  await rmdir(folder).catch(() => undefined);
}

/** Whether the merged file is the one of its manifest, as far as its size says. */
async function isWhole(output: string, manifest: Manifest): Promise<boolean> {
  return (await stat(output).catch(() => undefined))?.size === manifest.totals?.bytes;
}

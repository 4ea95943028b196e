// bge-reranker enqueue: a job cut into shards, each a job of the queue, under a parent that completes the manifest.
import { resolve } from "node:path";
import { RerankerError } from "../../index.js";
import { knownFiles, MANIFEST, type Manifest, readManifest, throwIfOther, writeManifest } from "../manifest.js";
import { type JobWishes, prepareJob } from "../prepare.js";
import { partName, recordName, type Shard } from "../shard.js";
import { shardKey } from "../spec.js";
import { openStorage, placeOf } from "../storage/open-storage.js";
import type { Storage, StoragePlace } from "../storage/storage.js";
import type { Connection } from "./connection.js";
import { COLLECT, type CollectPayload, jobId, PART, partPayload } from "./payload.js";

export interface EnqueueOptions {
  readonly queue: string;
  readonly output: string;
  readonly resume: boolean;
  /** Seconds that presigned addresses are good for; none are made when undefined. */
  readonly presignSeconds?: number | undefined;
  readonly attempts: number;
  /** Wait before the first retry; it doubles each time. */
  readonly backoffMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly onCount?: ((path: string) => void) | undefined;
}

export interface Enqueued {
  readonly key: string;
  readonly queue: string;
  readonly shards: number;
  readonly rows: number;
  /** The queue had the job already. */
  readonly known: boolean;
}

export async function enqueue(wishes: JobWishes, connection: Connection, options: EnqueueOptions): Promise<Enqueued> {
  const place = placeOf(options.output);
  const storage = await openStorage(place);
  const before = await readManifest(storage);
  const prepared = await prepareJob(withAbsolutePaths(wishes), knownFiles(before), options.signal, options.onCount);
  if (before) {
    throwIfOther(before, prepared, options.output);
    if (!options.resume)
      throw new RerankerError("IO", `${options.output} was begun for this job already: --resume keeps its parts and goes on`);
  }
  const { spec, shards } = prepared;
  const manifest: Manifest = { job: spec, shards, complete: false };
  if (!before) await writeManifest(storage, manifest);
  const rows = shards.reduce((sum, shard) => sum + shard.rows, 0);
  const parentId = jobId(COLLECT, spec.key);
  const summary = { key: spec.key, queue: options.queue, shards: shards.length, rows };
  const { Queue, FlowProducer } = connection.bullmq;
  const queue = new Queue(options.queue, { connection: connection.redis });
  queue.on("error", () => undefined);
  try {
    const parent = await queue.getJob(parentId);
    const state = await parent?.getState();
    if (state !== undefined && state !== "unknown" && state !== "completed") return { ...summary, known: true };
    // A job that was completed is done again only as far as its output says: parts that are there are skipped.
    await parent?.remove();
    const flow = new FlowProducer({ connection: connection.redis });
    flow.on("error", () => undefined);
    try {
      const part = await partPlaces(storage, place, shards, spec.format, options);
      await flow.add({
        name: COLLECT,
        queueName: options.queue,
        data: { key: spec.key, shards: shards.length, rows, output: part(undefined) } satisfies CollectPayload,
        opts: { jobId: parentId, ...retries(options) },
        children: shards.map((shard) => ({
          name: PART,
          queueName: options.queue,
          data: partPayload(manifest, shard, part(shard)),
          opts: { jobId: jobId(PART, shardKey(spec, shard)), ...retries(options) },
        })),
      });
    } finally {
      await flow.close();
    }
    return { ...summary, known: false };
  } finally {
    await queue.close();
  }
}

/** Workers stand in other folders. */
function withAbsolutePaths({ input, ...rest }: JobWishes): JobWishes {
  const { files, collection } = input;
  return {
    ...rest,
    input: {
      ...input,
      files: files.map((file) => resolve(file)),
      ...(collection && { collection: { ...collection, run: resolve(collection.run), folder: resolve(collection.folder) } }),
    },
  };
}

function retries({ attempts, backoffMs }: EnqueueOptions) {
  return { attempts, backoff: { type: "exponential", delay: backoffMs }, stackTraceLimit: 10 };
}

/** Where each part goes; undefined asks for the place of the manifest. */
async function partPlaces(
  storage: Storage,
  place: StoragePlace,
  shards: readonly Shard[],
  format: Parameters<typeof partName>[1],
  { presignSeconds }: EnqueueOptions,
): Promise<(shard: Shard | undefined) => StoragePlace> {
  if (presignSeconds === undefined) return () => place;
  const { S3Storage } = await import("../storage/s3-storage.js");
  if (!(storage instanceof S3Storage)) throw new RangeError("--presign needs an output at s3://");
  const names = (shard: Shard | undefined) => (shard ? [partName(shard.index, format), recordName(shard.index)] : [MANIFEST]);
  const objects = await storage.presign([undefined, ...shards].flatMap(names), presignSeconds);
  return (shard) => ({
    kind: "presigned",
    name: storage.name,
    objects: Object.fromEntries(
      names(shard)
        .map((name) => [name, objects[name]] as const)
        .flatMap(([name, object]) => (object ? [[name, object]] : [])),
    ),
  });
}

// bge-reranker worker: takes shards from the queue, keeps their locks while a thread scores them, and stops cleanly.
import { freemem } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import type { Job, Worker as QueueWorker } from "bullmq";
import { RerankerError } from "../../index.js";
import { type Manifest, readManifest, totalsOf, writeManifest } from "../manifest.js";
import { openStorage } from "../storage/open-storage.js";
import type { Connection } from "./connection.js";
import { COLLECT, type CollectPayload, type PartPayload, type PartProgress, type PartResult } from "./payload.js";
import { type LoadedModel, Scoring, ScoringError } from "./scoring.js";
import { type ScoringStart, WRONG_MODEL } from "./scoring-messages.js";

export interface WorkerOptions extends ScoringStart {
  readonly queue: string;
  /** Shards at once. @default as many as memory holds, at most 2: one is read while the other is scored */
  readonly concurrency?: number | undefined;
  /** How long a killed worker's shard waits before another takes it. */
  readonly lockMs: number;
  /** How long a shard may still take when the worker is to stop; then it goes back to the queue. */
  readonly graceMs: number;
  /** How often a shard may lose its worker before it fails. */
  readonly maxStalled: number;
  /** Ends when no shard is waiting, running or to be retried. */
  readonly drain: boolean;
  readonly signal: AbortSignal;
  readonly say: (text: string) => void;
}

export interface WorkerResult {
  readonly parts: number;
  readonly skipped: number;
  readonly givenBack: number;
  readonly failed: number;
}

// A shard at work holds two windows of texts, read and parsed.
const SHARD_BYTES = 256 * 2 ** 20;
const PROGRESS_MS = 2000;
const POLL_MS = 500;

export async function runWorker(connection: Connection, options: WorkerOptions): Promise<WorkerResult> {
  const { bullmq, redis } = connection;
  const concurrency = options.concurrency ?? defaultConcurrency();
  const counts = { parts: 0, skipped: 0, givenBack: 0, failed: 0 };
  const giveUp = new AbortController();
  const stop = new AbortController();
  let fatal: Error | undefined;
  const die = (error: Error) => {
    fatal ??= error;
    giveUp.abort(error);
    stop.abort(error);
    worker.close().catch(() => undefined); // at once: it would take the shard that it gives back
  };
  const scoring = new Scoring({ model: options.model, machine: options.machine }, (model) => options.say(describe(model, concurrency)));

  const giveBack = async (job: Job, token: string | undefined): Promise<never> => {
    await job.moveToWait(token);
    counts.givenBack++;
    throw new bullmq.WaitingError();
  };

  const processPart = async (job: Job<PartPayload, PartResult>, token: string | undefined): Promise<PartResult> => {
    try {
      const result = await scoring.score(job.data, giveUp.signal, progressOf(job));
      if (result.skipped) counts.skipped++;
      else counts.parts++;
      return result;
    } catch (error) {
      if (error instanceof ScoringError && error.code === WRONG_MODEL) {
        // Another worker may have the right one; this one would only spoil the queue.
        die(new RerankerError("MODEL_UNSUPPORTED", error.message));
        return giveBack(job, token);
      }
      if (giveUp.signal.aborted) return giveBack(job, token);
      if (!(error instanceof ScoringError)) die(error as Error); // the thread is gone: no shard can be scored here any more
      throw error;
    }
  };

  const worker = new bullmq.Worker(
    options.queue,
    async (job: Job, token?: string) => (job.name === COLLECT ? collect(job) : processPart(job as Job<PartPayload, PartResult>, token)),
    {
      connection: redis,
      autorun: false,
      concurrency,
      lockDuration: options.lockMs,
      stalledInterval: options.lockMs,
      maxStalledCount: options.maxStalled,
    },
  );
  watch(worker, counts, options.say);
  const running = worker.run();
  running.catch(die);
  try {
    await untilDone(worker, connection, options, stop.signal);
  } finally {
    const timer = setTimeout(() => giveUp.abort(new Error("The worker stops")), fatal ? 0 : options.graceMs);
    if (!(await closes(worker, scoring)))
      options.say("queue: Redis was away when the worker stopped; its parts go back when their locks lapse");
    clearTimeout(timer);
    await scoring.close();
  }
  if (fatal) throw fatal;
  return counts;
}

const CLOSE_MS = 5000;

/** BullMQ waits forever when it is closed while its connection is down: once nothing is scored any more it gets a while. */
async function closes(worker: QueueWorker, scoring: Scoring): Promise<boolean> {
  let closed = false;
  worker.close().then(
    () => (closed = true),
    () => (closed = true),
  );
  for (let idleMs = 0; !closed; ) {
    await sleep(100);
    idleMs = scoring.isIdle ? idleMs + 100 : 0;
    if (idleMs < CLOSE_MS) continue;
    worker.disconnect().catch(() => undefined);
    setTimeout(() => process.exit(), 2 * CLOSE_MS).unref(); // whatever it still holds open
    return false;
  }
  return true;
}

function watch(worker: QueueWorker, counts: { failed: number }, say: (text: string) => void): void {
  let lost = false;
  worker.on("error", (error) => {
    // Redis that restarts gives one of these every few milliseconds.
    if (!lost) say(`queue: ${error.message}`);
    lost = true;
  });
  worker.on("ready", () => {
    lost = false;
  });
  worker.on("failed", (job, error) => {
    counts.failed++;
    const { attemptsMade = 0, opts } = job ?? {};
    const again = attemptsMade < (opts?.attempts ?? 1) ? "it is tried again" : "it is not tried again";
    say(
      `part ${(job?.data as Partial<PartPayload> | undefined)?.shard?.index ?? "?"} failed at attempt ${attemptsMade}, ${again}: ${error.message}`,
    );
  });
  worker.on("stalled", (id) => say(`${id.slice(0, 16)} had lost its worker and is taken up again`));
}

async function untilDone(worker: QueueWorker, { bullmq, redis }: Connection, options: WorkerOptions, dead: AbortSignal): Promise<void> {
  const stop = AbortSignal.any([options.signal, dead]);
  const queue = new bullmq.Queue(options.queue, { connection: redis });
  queue.on("error", () => undefined);
  try {
    while (!stop.aborted && worker.isRunning()) {
      await sleep(POLL_MS, undefined, { signal: stop }).catch(() => undefined);
      if (!options.drain) continue;
      const counts = await queue.getJobCounts("wait", "active", "delayed", "prioritized");
      if (Object.values(counts).every((count) => count === 0)) return;
    }
  } finally {
    await queue.close();
  }
}

/** Completes the manifest of a job whose shards are all done: their results are the parts. */
async function collect(job: Job<CollectPayload>): Promise<{ rows: number; parts: number }> {
  const storage = await openStorage(job.data.output);
  const manifest = await readManifest(storage);
  if (manifest?.job.key !== job.data.key) throw new RerankerError("IO", `The manifest at ${storage.name} is of another job, or gone`);
  const results = Object.values(await job.getChildrenValues<PartResult>());
  const parts = results.map(({ record }) => record).sort((a, b) => a.firstRow - b.firstRow);
  const rows = parts.reduce((sum, part) => sum + part.rows, 0);
  if (parts.length !== job.data.shards || rows !== job.data.rows) {
    throw new RerankerError("IO", `The job has ${parts.length} parts of ${job.data.shards}, ${rows} rows of ${job.data.rows}`);
  }
  const complete: Manifest = { ...manifest, complete: true, parts, totals: totalsOf(parts) };
  await writeManifest(storage, complete);
  await storage.sweep();
  return { rows, parts: parts.length };
}

function progressOf(job: Job): (pairs: number, tokens: number, rows: number) => void {
  const sum = { rows: 0, pairs: 0, tokens: 0 };
  let last = Date.now();
  return (pairs, tokens, rows) => {
    sum.rows += rows;
    sum.pairs += pairs;
    sum.tokens += tokens;
    if (Date.now() - last < PROGRESS_MS) return;
    last = Date.now();
    // Of use to onlookers only: a Redis that is away for a moment must not fail the shard.
    job.updateProgress({ ...sum, rows: Math.floor(sum.rows) } satisfies PartProgress).catch(() => undefined);
  };
}

function defaultConcurrency(): number {
  const limit = process.constrainedMemory?.() ?? 0;
  const free = limit > 0 && limit < 2 ** 50 ? Math.min(freemem(), limit) : freemem();
  return Math.max(1, Math.min(2, Math.floor(free / 2 / SHARD_BYTES)));
}

function describe({ name, device, sha256 }: LoadedModel, concurrency: number): string {
  return `${name ?? "model"} on ${device}, digest ${sha256.slice(0, 16)}…, ${concurrency} ${concurrency === 1 ? "part" : "parts"} at once`;
}

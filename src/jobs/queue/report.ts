// What a queue has done and has to do, read from Redis.
import type { Job, Queue } from "bullmq";
import { COLLECT, type CollectPayload, PART, type PartPayload, type PartProgress, type PartResult } from "./payload.js";

/** Of one job: the shards of one input, model and set of options. */
export interface JobReport {
  readonly key: string;
  readonly output: string;
  readonly state: string;
  readonly shards: number;
  readonly doneShards: number;
  readonly failedShards: number;
  readonly rows: number;
  readonly doneRows: number;
}

export interface FailedPart {
  readonly id: string;
  readonly job: string;
  readonly shard: number;
  readonly attempts: number;
  readonly error: string;
}

export interface QueueReport {
  readonly queue: string;
  readonly counts: Readonly<Record<"waiting" | "active" | "delayed" | "completed" | "failed", number>>;
  readonly workers: number;
  readonly jobs: readonly JobReport[];
  /** Over the shards that were finished in the last minutes, and what the running ones told of themselves. */
  readonly rate: { readonly pairsPerSecond: number; readonly tokensPerSecond: number; readonly rowsPerSecond: number };
  /** Seconds until all is done at that rate; undefined while nothing moves. */
  readonly secondsLeft: number | undefined;
  readonly totals: { readonly rows: number; readonly pairs: number; readonly tokens: number; readonly repeatedStarts: number };
  readonly failures: readonly FailedPart[];
}

const RATE_MS = 10 * 60_000;
// Jobs fetched in one round trip.
const PAGE = 500;

export async function reportOf(queue: Queue): Promise<QueueReport> {
  const counts = await queue.getJobCounts("wait", "active", "delayed", "completed", "failed", "prioritized");
  const jobs = new Map<string, { -readonly [K in keyof JobReport]: JobReport[K] }>();
  for (const state of ["waiting-children", "wait", "active", "delayed", "completed", "failed"] as const) {
    for await (const parent of each(queue, state)) {
      if (parent.name !== COLLECT) continue;
      const { key, shards, rows, output } = parent.data as CollectPayload;
      jobs.set(key, { key, output: nameOf(output), state, shards, doneShards: 0, failedShards: 0, rows, doneRows: 0 });
    }
  }
  const totals = { rows: 0, pairs: 0, tokens: 0, repeatedStarts: 0 };
  const recent = { rows: 0, pairs: 0, tokens: 0, first: Date.now() };
  const now = Date.now();
  for await (const job of each(queue, "completed")) {
    if (job.name !== PART) continue;
    const { record } = job.returnvalue as PartResult;
    totals.rows += record.rows;
    totals.pairs += record.pairs;
    totals.tokens += record.tokens;
    totals.repeatedStarts += Math.max(0, job.attemptsStarted - 1);
    const report = jobs.get((job.data as PartPayload).spec.key);
    if (report) {
      report.doneShards++;
      report.doneRows += record.rows;
    }
    if (now - (job.finishedOn ?? 0) > RATE_MS || (job.returnvalue as PartResult).skipped) continue;
    recent.rows += record.rows;
    recent.pairs += record.pairs;
    recent.tokens += record.tokens;
    recent.first = Math.min(recent.first, job.processedOn ?? now);
  }
  for await (const job of each(queue, "active")) {
    const progress = job.progress as Partial<PartProgress> | number;
    if (job.name !== PART || typeof progress !== "object") continue;
    recent.rows += progress.rows ?? 0;
    recent.pairs += progress.pairs ?? 0;
    recent.tokens += progress.tokens ?? 0;
    recent.first = Math.min(recent.first, job.processedOn ?? now);
    const report = jobs.get((job.data as PartPayload).spec.key);
    if (report) report.doneRows += progress.rows ?? 0;
  }
  const failures: FailedPart[] = [];
  for await (const job of each(queue, "failed")) {
    const { spec, shard } = job.data as Partial<PartPayload>;
    const report = jobs.get(spec?.key ?? "");
    if (report && job.name === PART) report.failedShards++;
    failures.push({
      id: job.id ?? "",
      job: spec?.key ?? (job.data as CollectPayload).key,
      shard: shard?.index ?? -1,
      attempts: job.attemptsMade,
      error: job.failedReason ?? "",
    });
  }
  const seconds = Math.max(1, (now - recent.first) / 1000);
  const rowsPerSecond = recent.rows / seconds;
  const left = [...jobs.values()].reduce((sum, job) => sum + (job.state === "completed" ? 0 : job.rows - job.doneRows), 0);
  return {
    queue: queue.name,
    counts: {
      waiting: (counts.wait ?? 0) + (counts.prioritized ?? 0),
      active: counts.active ?? 0,
      delayed: counts.delayed ?? 0,
      completed: counts.completed ?? 0,
      failed: counts.failed ?? 0,
    },
    workers: await queue.getWorkersCount().catch(() => 0),
    jobs: [...jobs.values()],
    rate: { rowsPerSecond, pairsPerSecond: recent.pairs / seconds, tokensPerSecond: recent.tokens / seconds },
    secondsLeft: rowsPerSecond > 0 ? left / rowsPerSecond : undefined,
    totals,
    failures,
  };
}

async function* each(
  queue: Queue,
  state: "waiting-children" | "wait" | "active" | "delayed" | "completed" | "failed",
): AsyncGenerator<Job> {
  for (let start = 0; ; start += PAGE) {
    const page: (Job | undefined)[] = await queue.getJobs(state, start, start + PAGE - 1, true);
    for (const job of page) if (job) yield job;
    if (page.length < PAGE) return;
  }
}

function nameOf(output: CollectPayload["output"]): string {
  switch (output.kind) {
    case "folder":
      return output.path;
    case "s3":
      return `s3://${output.bucket}/${output.prefix}`;
    case "presigned":
      return output.name;
    default:
      return output satisfies never;
  }
}

// The actions of `enqueue`, `worker` and `jobs`.
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { Queue } from "bullmq";
import { FlagAutoReranker } from "../../index.js";
import type { CommandLine } from "../command-line.js";
import { inputWishesOf, jobWishesOf, outputOf } from "../input-options.js";
import { describeRate, formatTime } from "../rates.js";
import { connect } from "./connection.js";
import { enqueue } from "./enqueue.js";
import {
  checkCounts,
  checkQueueOptions,
  type EnqueueCommandOptions,
  type JobsCommandOptions,
  type WorkerCommandOptions,
} from "./options.js";
import { prometheusOf } from "./prometheus.js";
import { type QueueReport, reportOf } from "./report.js";
import { runWorker } from "./worker.js";

function sayTo(quiet: boolean | undefined): (text: string) => void {
  return (text) => {
    if (!quiet) process.stderr.write(`${text}\n`);
  };
}

export async function runEnqueue(
  files: readonly string[],
  options: EnqueueCommandOptions,
  signal: AbortSignal,
  line: CommandLine,
): Promise<void> {
  checkQueueOptions(options, line);
  checkCounts({ ...options }, { attempts: 1, backoffMs: 0, presign: 1 });
  const input = inputWishesOf(files, options, line);
  const { isFile, format } = outputOf(options.output, options.format, line);
  if (isFile)
    throw new line.UsageError("A queue writes parts: give a folder or s3://bucket/prefix as --output, and the format by --format");
  const connection = await connect(options.redis);
  try {
    for (const warning of connection.warnings) sayTo(options.quiet)(`warning: ${warning}`);
    const { onProgress, end } = line.loadingLine(options.quiet);
    const load = line.loadOptionsOf(options, { signal, onProgress });
    const reranker = await FlagAutoReranker.fromFinetuned(options.model, load).finally(end);
    const wishes = await jobWishesOf(reranker, load, input, format, options.shardRows).finally(() => reranker.dispose());
    const progress = line.progressLine("counting", undefined, options.quiet);
    const result = await enqueue(wishes, connection, {
      queue: options.queue,
      output: options.output,
      resume: options.resume ?? false,
      presignSeconds: options.presign,
      attempts: options.attempts,
      backoffMs: options.backoffMs,
      signal,
      onCount: (path) => progress.update(0, 1, path),
    }).finally(() => progress.end());
    const { known, shards, rows, key, queue } = result;
    const text = known
      ? `The queue ${queue} has this job already (${key.slice(0, 16)}); \`bge-reranker jobs\` says how far it is\n`
      : `${shards} ${shards === 1 ? "part" : "parts"} of ${rows.toLocaleString("en")} rows are in the queue ${queue} (${key.slice(0, 16)})\n`;
    await line.write(process.stdout, options.json ? `${JSON.stringify(result)}\n` : text);
  } finally {
    await connection.close();
  }
}

export async function runWorkerCommand(options: WorkerCommandOptions, signal: AbortSignal, line: CommandLine): Promise<void> {
  checkQueueOptions(options, line);
  checkCounts({ ...options }, { concurrency: 1, lockMs: 1000, graceMs: 0, maxStalled: 1 });
  const say = sayTo(options.quiet);
  const load = line.loadOptionsOf(options, {});
  const { devices, threads, batchSize, maxMemory, cacheDir, revision, outtype } = load;
  const connection = await connect(options.redis);
  try {
    for (const warning of connection.warnings) say(`warning: ${warning}`);
    const { model, queue, concurrency, lockMs, graceMs, maxStalled, drain = false } = options;
    const machine = { devices, threads, batchSize, maxMemory, cacheDir, revision, outtype };
    const result = await runWorker(connection, { model, machine, queue, concurrency, lockMs, graceMs, maxStalled, drain, signal, say });
    const { parts, skipped, givenBack, failed } = result;
    const text = `${parts} parts made, ${skipped} found done, ${givenBack} given back, ${failed} failed\n`;
    await line.write(process.stdout, options.json ? `${JSON.stringify(result)}\n` : text);
  } finally {
    await connection.close();
  }
}

const WATCH_MS = 2000;

export async function runJobs(options: JobsCommandOptions, signal: AbortSignal, line: CommandLine): Promise<void> {
  checkQueueOptions(options, line);
  const connection = await connect(options.redis);
  const queue = new connection.bullmq.Queue(options.queue, { connection: connection.redis });
  queue.on("error", () => undefined);
  try {
    if (options.retry) {
      const failed = await queue.getJobCountByTypes("failed");
      await queue.retryJobs({ state: "failed" });
      await line.write(process.stdout, `${failed} ${failed === 1 ? "part is" : "parts are"} tried again\n`);
    } else if (options.clean) {
      await line.write(process.stdout, `${await removeCompleted(queue)} completed jobs removed; their outputs stay\n`);
    } else if (options.listen !== undefined) {
      await serveMetrics(options.listen, async () => prometheusOf(await reportOf(queue)), signal, line);
    } else {
      for (;;) {
        const report = await reportOf(queue);
        await line.write(process.stdout, textOf(report, options));
        if (!options.watch || signal.aborted) return;
        await sleep(WATCH_MS, undefined, { signal }).catch(() => undefined);
        if (signal.aborted) return;
      }
    }
  } finally {
    await queue.close();
    await connection.close();
  }
}

/** Jobs whose parts are all done, with those parts. */
async function removeCompleted(queue: Queue): Promise<number> {
  let removed = 0;
  for (const parent of await queue.getJobs(["completed"])) {
    if (parent?.name !== "collect") continue;
    await parent.remove({ removeChildren: true });
    removed++;
  }
  return removed;
}

async function serveMetrics(listen: string, read: () => Promise<string>, signal: AbortSignal, line: CommandLine): Promise<void> {
  const [, host = "127.0.0.1", port = ""] = /^(?:(.*):)?(\d+)$/.exec(listen) ?? [];
  if (port === "" || Number(port) > 65535) throw new line.UsageError(`Expected --listen to be [host:]port, got \`${listen}\``);
  const server = createServer((request, response) => {
    if (request.url !== "/metrics") {
      response.writeHead(404).end("Metrics are at /metrics\n");
      return;
    }
    read().then(
      (text) => response.writeHead(200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }).end(text),
      (error: Error) => response.writeHead(503).end(`${error.message}\n`),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(Number(port), host, () => {
      const address = server.address();
      process.stderr.write(`Metrics at http://${host}:${typeof address === "object" ? address?.port : port}/metrics\n`);
    });
    signal.addEventListener("abort", () => server.close(() => resolve()), { once: true });
  });
}

function textOf(report: QueueReport, { json, prometheus }: JobsCommandOptions): string {
  if (prometheus) return prometheusOf(report);
  return json ? `${JSON.stringify(report)}\n` : explain(report);
}

function explain({ queue, counts, workers, jobs, rate, secondsLeft, totals, failures }: QueueReport): string {
  const number = (value: number) => Math.floor(value).toLocaleString("en");
  const states = Object.entries(counts).map(([state, count]) => `${number(count)} ${state}`);
  const isDone = jobs.every((job) => job.state === "completed");
  const lines = [
    `${queue}: ${states.join(", ")}; ${workers} ${workers === 1 ? "worker" : "workers"}`,
    ...jobs.map((job) => {
      const share = job.rows > 0 ? Math.floor((100 * job.doneRows) / job.rows) : 100;
      const failed = job.failedShards > 0 ? `, ${job.failedShards} failed` : "";
      return `${job.key.slice(0, 16)}  ${String(share).padStart(3)}%  ${number(job.doneRows)} of ${number(job.rows)} rows, ${job.doneShards} of ${job.shards} parts${failed}  ${job.output}`;
    }),
    ...(rate.rowsPerSecond > 0 && !isDone
      ? [`${describeRate(rate.pairsPerSecond, rate.tokensPerSecond, 1)}, ${formatTime(secondsLeft ?? 0)} left`]
      : []),
    ...(totals.repeatedStarts > 0 ? [`${totals.repeatedStarts} parts were begun again`] : []),
    ...failures.map(
      ({ shard, attempts, error }) => `part ${shard} failed after ${attempts} ${attempts === 1 ? "attempt" : "attempts"}: ${error}`,
    ),
    ...(failures.length > 0 ? ["`bge-reranker jobs --retry` tries them again"] : []),
    ...(jobs.length === 0 ? ["No jobs: `bge-reranker enqueue` adds one"] : []),
  ];
  return `${lines.join("\n")}\n`;
}

// The commands of this wing. What they run is loaded when they run.
import type { Command } from "commander";
import type { CommandLine } from "./command-line.js";
import { addInputOptions, type BatchCommandOptions } from "./input-options.js";
import { addQueueOptions, type EnqueueCommandOptions, type JobsCommandOptions, type WorkerCommandOptions } from "./queue/options.js";

/** Adds `batch`, `enqueue`, `worker` and `jobs` to a program. */
export function jobCommands(line: CommandLine): (program: Command, signal: AbortSignal) => void {
  return (program, signal) => {
    addBatch(program, signal, line);
    addEnqueue(program, signal, line);
    addWorker(program, signal, line);
    addJobs(program, signal, line);
  };
}

function addBatch(program: Command, signal: AbortSignal, line: CommandLine): void {
  const command = addInputOptions(program.command("batch"), line)
    .description("Score files of pairs, or of queries with lists of documents, part by part")
    .requiredOption("-o, --output <path>", "a folder for parts, or one file: .jsonl, .parquet, .run")
    .option("--shard <i/n>", "only every n-th part from the i-th on, counted from 0: for arrays of tasks that share the folder")
    .option("--resume", "keep the parts that are there and go on")
    .option("--force", "remove an earlier batch's output first")
    .option("--plan-only", "count rows and write the manifest, but score nothing")
    .option("--json", "print a summary as JSON");
  line
    .addModelOptions(command)
    .addHelpText(
      "after",
      `
A row is a query and a document ("query", and "passage", "document" or "text"), or a query and lists of documents ("documents",
"passages", "candidates", or FlagEmbedding's "pos" and "neg"). Each row gives one row with its number, "id" and scores, in order.
Parts are written under another name, synced and renamed; _manifest.json says what made them. Equal pairs are computed once.

Examples:
  $ bge-reranker batch pairs.jsonl.gz -m v2-m3 -o scores.parquet
  $ bge-reranker batch 'data/*.parquet' --query-column q --document-column text --keep id,label -o scores/ --format parquet --resume
  $ bge-reranker batch train.jsonl -o scored.jsonl --keep query,pos,neg
  $ bge-reranker batch --run bm25.run --collection ./scifact --candidates 100 -o reranked.run
  $ bge-reranker batch pairs.jsonl -o scores/ --shard 3/16 --resume`,
    )
    .action(async (inputs: string[], options: BatchCommandOptions) => {
      const { runBatchCommand } = await import("./batch-command.js");
      await runBatchCommand(inputs, options, signal, line);
    });
}

function addEnqueue(program: Command, signal: AbortSignal, line: CommandLine): void {
  const command = addQueueOptions(addInputOptions(program.command("enqueue"), line))
    .description("Put a batch into a queue on Redis or Valkey, part by part, for workers on any machines")
    .requiredOption("-o, --output <place>", "a folder that all workers see, or s3://bucket/prefix")
    .option("--resume", "keep the parts that the output has and go on")
    .option("--presign <seconds>", "S3: give workers addresses good for so long, so that they need no credentials", line.parseInteger)
    .option("--attempts <n>", "how often a part is tried before it counts as failed", line.parseInteger, 5)
    .option("--backoff-ms <n>", "wait before the first retry; it doubles each time", line.parseInteger, 5000)
    .option("--json", "print a summary as JSON");
  line
    .addModelOptions(command)
    .addHelpText(
      "after",
      `
Needs npm install bullmq ioredis; for s3:// also @aws-sdk/client-s3, for --presign @aws-sdk/s3-request-presigner. The queue holds
ranges of rows, never texts: workers read the inputs under the same paths. A job that is there is not put in twice.

Examples:
  $ bge-reranker enqueue /data/pairs.parquet -m v2-m3 -o /data/scores --format parquet --redis redis://queue:6379
  $ bge-reranker enqueue /data/pairs.jsonl -m v2-m3 -o s3://bucket/scores --presign 86400`,
    )
    .action(async (inputs: string[], options: EnqueueCommandOptions) => {
      const { runEnqueue } = await import("./queue/actions.js");
      await runEnqueue(inputs, options, signal, line);
    });
}

function addWorker(program: Command, signal: AbortSignal, line: CommandLine): void {
  addQueueOptions(program.command("worker"))
    .description("Score parts from a queue until told to stop")
    .option("-m, --model <model>", "the model the jobs were made with; a file with other contents is refused", "default")
    .option("--devices <names>", "cpu, cuda:0, vulkan:0, metal (default: the best present)", (value) => value.split(","))
    .option("--threads <n>", "CPU threads (default: one for each physical core)", line.parseInteger)
    .option("--batch-size <n>", "most pairs computed at once (default: 128)", line.parseInteger)
    .option("--max-memory <bytes>", "most memory of the model and its batches, such as 2GB")
    .option("--outtype <type>", "type of the weights when a checkpoint is converted")
    .option("--revision <name>", "branch, tag or commit of a model on the hub (default: main)")
    .option("--cache-dir <folder>", "folder for converted models")
    .option("--concurrency <n>", "parts at once (default: by memory, at most 2: one is read while the other is scored)", line.parseInteger)
    .option("--drain", "end when the queue has nothing to do")
    .option("--lock-ms <n>", "how long the part of a worker that was killed waits for another", line.parseInteger, 30_000)
    .option("--grace-ms <n>", "how long a part may still take after SIGTERM; then it goes back to the queue", line.parseInteger, 20_000)
    .option("--max-stalled <n>", "how often a part may lose its worker before it fails", line.parseInteger, 100)
    .option("--json", "print a summary as JSON")
    .option("-q, --quiet", "nothing on standard error but errors")
    .addHelpText(
      "after",
      `
What scores depend on (lengths, instructions, layers) comes with each job. SIGTERM finishes the parts at work, or gives them back.

Example:
  $ bge-reranker worker -m v2-m3.gguf --threads 8 --redis redis://queue:6379`,
    )
    .action(async (options: WorkerCommandOptions) => {
      const { runWorkerCommand } = await import("./queue/actions.js");
      await runWorkerCommand(options, signal, line);
    });
}

function addJobs(program: Command, signal: AbortSignal, line: CommandLine): void {
  addQueueOptions(program.command("jobs"))
    .description("Show how far the jobs of a queue are, what failed and why")
    .option("--watch", "print it again and again")
    .option("--retry", "try failed parts again")
    .option("--clean", "remove completed jobs from the queue; their outputs stay")
    .option("--prometheus", "print metrics for Prometheus")
    .option("--listen <[host:]port>", "serve them at /metrics")
    .option("--json", "print it as JSON")
    .option("-q, --quiet", "nothing on standard error but errors")
    .action(async (options: JobsCommandOptions) => {
      const { runJobs } = await import("./queue/actions.js");
      await runJobs(options, signal, line);
    });
}

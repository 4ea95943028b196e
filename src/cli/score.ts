// bge-reranker score: a stream of pairs in, a stream of scores out, in bounded memory.
import { type FileHandle, open } from "node:fs/promises";
import type { Command } from "commander";
import { FlagAutoReranker, type Pair, type Reranker, RerankerError } from "../index.js";
import { addModelOptions, loadOptionsOf, type ModelOptions, UsageError } from "./arguments.js";
import { type Line, parseObject, readLines } from "./lines.js";
import { loadingLine } from "./loading.js";
import { progressLine, write } from "./terminal.js";

interface Options extends ModelOptions {
  readonly pairs: string;
  readonly output?: string;
  readonly resume?: true;
}

interface Job {
  readonly pair: Pair;
  /** Copied to the output, so that scores can be joined to their pairs. */
  readonly id: unknown;
}

// Pairs held at once: enough for batches of pairs of like length, few enough for any memory.
const WINDOW = 1024;

export function addScore(program: Command, signal: AbortSignal): void {
  const command = program
    .command("score")
    .description("Score pairs of query and passage, in the order given")
    .requiredOption("-p, --pairs <file>", 'JSONL {"query": ..., "passage": ...}; - reads standard input')
    .option("-o, --output <file>", "write JSONL here instead of standard output")
    .option("--resume", "keep the scores that --output already has and go on after them")
    .option("--json", "accepted for symmetry: the output is always JSONL");
  addModelOptions(command)
    .addHelpText(
      "after",
      `
Each line out is {"score": ...}, with the "id" of the line in when it has one. Several --cutoff-layers give
{"scores": [...]}, in ascending order of the layers.

Examples:
  $ bge-reranker score --pairs pairs.jsonl --output scores.jsonl --resume
  $ cat pairs.jsonl | bge-reranker score -p - --normalize > scores.jsonl`,
    )
    .action((options: Options) => score(options, signal));
}

async function score(options: Options, signal: AbortSignal): Promise<void> {
  if (options.resume && options.output === undefined) throw new UsageError("--resume needs --output");
  const { onProgress, end } = loadingLine(options.quiet);
  await using reranker = await FlagAutoReranker.fromFinetuned(options.model, loadOptionsOf(options, { signal, onProgress })).finally(end);
  const skip = options.resume && options.output !== undefined ? await keepWholeLines(options.output) : 0;
  const file = options.output === undefined ? undefined : await openOutput(options.output, skip > 0 ? "a" : "w");
  const print = file ? (text: string) => file.appendFile(text) : (text: string) => write(process.stdout, text);
  await scoreAll(reranker, print, skip, options, signal).finally(() => file?.close());
}

function openOutput(path: string, flags: "a" | "w"): Promise<FileHandle> {
  return open(path, flags).catch((error: NodeJS.ErrnoException) => {
    throw new RerankerError("IO", `Cannot write ${path}: ${error.message}`, { cause: error });
  });
}

type Print = (text: string) => Promise<void>;

async function scoreAll(reranker: Reranker, print: Print, skip: number, options: Options, signal: AbortSignal): Promise<void> {
  const started = Date.now();
  let count = 0;
  let computed = 0;
  let window: Job[] = [];
  const progress = progressLine("scoring", process.stderr, options.quiet);
  const flush = async () => {
    const scores = await reranker.computeScore(
      window.map(({ pair }) => pair),
      { signal },
    );
    await print(window.map((job, i) => `${JSON.stringify(outputOf(job, i, scores))}\n`).join(""));
    computed += window.length;
    window = [];
    const rate = (computed / (Date.now() - started)) * 1000;
    progress.update(0, 0, `${count} pairs, ${rate.toFixed(1)} pairs/s`);
  };
  try {
    for await (const line of readLines(options.pairs, signal)) {
      count++;
      if (count <= skip) continue;
      window.push(parseJob(line, options.pairs));
      if (window.length === WINDOW) await flush();
    }
    if (window.length > 0) await flush();
  } finally {
    progress.end();
  }
}

function outputOf(job: Job, i: number, scores: readonly number[] | readonly (readonly number[])[]): object {
  const id = job.id === undefined ? {} : { id: job.id };
  return typeof scores[0] === "number"
    ? { ...id, score: scores[i] }
    : { ...id, scores: scores.map((layer) => (layer as readonly number[])[i]) };
}

function parseJob(line: Line, source: string): Job {
  const { query, passage, id } = parseObject(line, source);
  if (typeof query === "string" && typeof passage === "string") return { pair: [query, passage], id };
  throw new RerankerError("IO", `${source}, line ${line.number} needs "query" and "passage", two strings`);
}

/** Cuts a half-written last line off a file of an interrupted run. Returns how many lines are left. */
async function keepWholeLines(path: string): Promise<number> {
  const file = await open(path, "r+").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw new RerankerError("IO", `Cannot read ${path}: ${error.message}`, { cause: error });
  });
  if (!file) return 0;
  try {
    let lines = 0;
    let end = 0; // just after the last newline
    let position = 0;
    const buffer = Buffer.alloc(1 << 16);
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, position);
      if (bytesRead === 0) break;
      for (let at = buffer.indexOf(10); at >= 0 && at < bytesRead; at = buffer.indexOf(10, at + 1)) {
        lines++;
        end = position + at + 1;
      }
      position += bytesRead;
    }
    await file.truncate(end);
    return lines;
  } finally {
    await file.close();
  }
}

// bge-reranker score: a stream of pairs in, a stream of scores out, in bounded memory.
import { stat } from "node:fs/promises";
import type { Command } from "commander";
import { FlagAutoReranker, type Pair, type Reranker, RerankerError } from "../index.js";
import { badLine, type Line, memberText, readLines } from "../records/index.js";
import { addModelOptions, loadOptionsOf, type ModelOptions, UsageError } from "./arguments.js";
import { loadingLine } from "./loading.js";
import { checkOutput, Output } from "./output.js";
import { pairOf } from "./pairs.js";
import { fingerprintOf, type KeptLine, keepWholeLines, type Maker, writeMaker } from "./resume.js";
import { progressLine, write } from "./terminal.js";

interface Options extends ModelOptions {
  readonly pairs: string;
  readonly output?: string;
  readonly resume?: true;
  readonly force?: true;
}

interface Job {
  readonly pair: Pair;
  /** As it is written in the input, and goes to the output, so that scores can be joined to their pairs. */
  readonly id: string | undefined;
}

// Pairs held at once: enough for batches of pairs of like length, few enough for any memory.
const WINDOW = 1024;
const WINDOW_CHARACTERS = 8 * 2 ** 20;

export function addScore(program: Command, signal: AbortSignal): void {
  const command = program
    .command("score")
    .description("Score pairs of query and passage, in the order given")
    .requiredOption("-p, --pairs <file>", 'JSONL {"query": ..., "passage": ...}; - reads standard input')
    .option("-o, --output <file>", "write JSONL here instead of standard output")
    .option("--resume", "keep the scores that --output already has and go on after them")
    .option("-f, --force", "replace an existing --output")
    .option("--json", "accepted for symmetry: the output is always JSONL");
  addModelOptions(command)
    .addHelpText(
      "after",
      `
Each line out is {"score": ...}, with the "id" of the line in, as it is written there, when it has one. Several --cutoff-layers give
{"scores": [...]}, in ascending order of the layers.
What made --output, model and options, is kept beside it in .NAME.resume.json, for --resume to compare.

Examples:
  $ bge-reranker score --pairs pairs.jsonl --output scores.jsonl --resume
  $ cat pairs.jsonl | bge-reranker score -p - --normalize > scores.jsonl`,
    )
    .action((options: Options) => score(options, signal));
}

async function score(options: Options, signal: AbortSignal): Promise<void> {
  const { pairs, output: path, resume, force } = options;
  if (resume && path === undefined) throw new UsageError("--resume needs --output");
  if (resume && force) throw new UsageError("--resume keeps what --force replaces: give one of them");
  if (path !== undefined) await checkOutput(path, [pairs], resume === true || force === true);
  const lines = readLines(pairs, { signal });
  const first = await lines.next(); // an input that cannot be read is told before anything is loaded or opened
  try {
    const { onProgress, end } = loadingLine(options.quiet);
    await using reranker = await FlagAutoReranker.fromFinetuned(options.model, loadOptionsOf(options, { signal, onProgress })).finally(end);
    const maker = path === undefined ? undefined : await makerOf(reranker, options);
    const kept = path !== undefined && maker && resume && (await exists(path)) ? await keepWholeLines(path, maker) : [];
    if (path !== undefined && maker && kept.length === 0 && (await isPlain(path))) await writeMaker(path, maker);
    const output = path === undefined ? undefined : new Output(path, kept.length > 0 ? "a" : "w");
    const print = output ? (text: string) => output.write(text) : (text: string) => write(process.stdout, text);
    await scoreAll(reranker, print, kept, withFirst(first, lines), options, signal).finally(() => output?.close());
  } finally {
    await lines.return(undefined);
  }
}

async function* withFirst(first: IteratorResult<Line>, rest: AsyncIterable<Line>): AsyncGenerator<Line> {
  if (first.done) return;
  yield first.value;
  yield* rest;
}

/** Nothing is written beside a device or a pipe. */
async function isPlain(path: string): Promise<boolean> {
  const stats = await stat(path).catch(() => undefined);
  return stats === undefined || stats.isFile();
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** What decides the scores of a run. */
async function makerOf({ model }: Reranker, options: Options): Promise<Maker> {
  const { normalize, maxLength, queryMaxLength, queryInstruction, passageInstruction, prompt } = options;
  const { cutoffLayers, compressLayers, compressRatio, headSelection, calibration } = options;
  return {
    model: model.name ?? model.path,
    fingerprint: await fingerprintOf(model.path),
    options: {
      "--normalize": normalize,
      "--max-length": maxLength,
      "--query-max-length": queryMaxLength,
      "--query-instruction": queryInstruction,
      "--passage-instruction": passageInstruction,
      "--prompt": prompt,
      "--cutoff-layers": cutoffLayers,
      "--compress-layers": compressLayers,
      "--compress-ratio": compressRatio,
      "--head-selection": headSelection,
      "--calibration": calibration,
    },
  };
}

type Print = (text: string) => Promise<void>;

async function scoreAll(
  reranker: Reranker,
  print: Print,
  kept: readonly KeptLine[],
  lines: AsyncIterable<Line>,
  options: Options,
  signal: AbortSignal,
): Promise<void> {
  const started = Date.now();
  let count = 0;
  let computed = 0;
  let window: Job[] = [];
  let characters = 0;
  const progress = progressLine("scoring", process.stderr, options.quiet);
  const flush = async () => {
    const scores = await reranker.computeScore(
      window.map(({ pair }) => pair),
      { signal },
    );
    await print(window.map((job, i) => `${outputOf(job, i, scores)}\n`).join(""));
    computed += window.length;
    window = [];
    characters = 0;
    const rate = (computed / (Date.now() - started)) * 1000;
    progress.update(0, 0, `${count} pairs, ${rate.toFixed(1)} pairs/s`);
  };
  try {
    for await (const line of lines) {
      const job = parseJob(line);
      const before = kept[count++];
      if (before) {
        throwIfOtherPair(job, before, line, options);
        continue;
      }
      window.push(job);
      characters += job.pair[0].length + job.pair[1].length;
      if (window.length === WINDOW || characters >= WINDOW_CHARACTERS) await flush();
    }
    if (window.length > 0) await flush();
    if (count < kept.length)
      throw new RerankerError(
        "IO",
        `${options.output} holds ${kept.length} scores, and ${options.pairs} ${count} pairs: it was made from another file`,
      );
    if (computed === 0 && kept.length === 0) await print(""); // an empty input has an empty output
  } finally {
    progress.end();
  }
}

/** The pairs that were scored before must be those of the input. */
function throwIfOtherPair({ id }: Job, before: KeptLine, line: Line, { output }: Options): void {
  if (id === before.id) return;
  throw badLine(
    line,
    `has the id ${id ?? "of none"}, and the score in ${output} is of ${before.id ?? "none"}: it was made from another file`,
  );
}

function outputOf(job: Job, i: number, scores: readonly number[] | readonly (readonly number[])[]): string {
  const id = job.id === undefined ? "" : `"id":${job.id},`;
  if (typeof scores[0] === "number") return `{${id}"score":${JSON.stringify(scores[i])}}`;
  return `{${id}"scores":${JSON.stringify(scores.map((layer) => (layer as readonly number[])[i]))}}`;
}

function parseJob(line: Line): Job {
  return { pair: pairOf(line), id: memberText(line.text, "id") };
}

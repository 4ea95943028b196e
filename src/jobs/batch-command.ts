// The action of `bge-reranker batch`: loads the model, shows how far it is, says what was done.
import { FlagAutoReranker } from "../index.js";
import { type BatchProgress, type BatchResult, runBatch } from "./batch.js";
import type { CommandLine } from "./command-line.js";
import { type BatchCommandOptions, inputWishesOf, jobWishesOf, outputOf } from "./input-options.js";
import { describeRate, formatTime, plainLine } from "./rates.js";

export async function runBatchCommand(
  inputs: readonly string[],
  options: BatchCommandOptions,
  signal: AbortSignal,
  line: CommandLine,
): Promise<void> {
  const input = inputWishesOf(inputs, options, line);
  const { isFile, format } = outputOf(options.output, options.format, line);
  const only = parseShard(options.shard, line);
  if (isFile && only) throw new line.UsageError("--shard needs a folder as --output: one file is merged from all parts");
  if (isFile && options.planOnly) throw new line.UsageError("--plan-only needs a folder as --output");
  const { onProgress, end } = line.loadingLine(options.quiet);
  const load = line.loadOptionsOf(options, { signal, onProgress });
  await using reranker = await FlagAutoReranker.fromFinetuned(options.model, load).finally(end);
  const progress = line.progressLine("scoring", undefined, options.quiet);
  const plain = plainLine(process.stderr, options.quiet);
  const started = performance.now();
  try {
    const wishes = await jobWishesOf(reranker, load, input, format, options.shardRows);
    const result = await runBatch(wishes, reranker, {
      output: options.output,
      isFile,
      only,
      resume: options.resume ?? false,
      force: options.force ?? false,
      planOnly: options.planOnly ?? false,
      signal,
      onCount: (path) => progress.update(0, 1, `counting ${path}`),
      onProgress: (state) => {
        const note = noteOf(state, (performance.now() - started) / 1000);
        progress.update(state.doneRows, state.totalRows, note);
        plain(`${state.doneRows} of ${state.totalRows} rows, ${note}`);
      },
    });
    progress.end();
    await line.write(process.stdout, options.json ? `${JSON.stringify(result)}\n` : explain(result, (performance.now() - started) / 1000));
  } finally {
    progress.end();
  }
}

function parseShard(text: string | undefined, { UsageError }: CommandLine): { index: number; count: number } | undefined {
  if (text === undefined) return undefined;
  const [, index = "", count = ""] = /^(\d+)\/(\d+)$/.exec(text) ?? [];
  if (count === "" || Number(index) >= Number(count)) {
    throw new UsageError(`--shard is i/n with i from 0 to n-1, such as 0/4 to 3/4, got \`${text}\``);
  }
  return { index: Number(index), count: Number(count) };
}

function noteOf({ newRows, doneRows, totalRows, pairs, tokens, shard, shards }: BatchProgress, seconds: number): string {
  const left = newRows > 0 ? (seconds / newRows) * (totalRows - doneRows) : 0;
  return `part ${shard + 1} of ${shards}, ${describeRate(pairs, tokens, seconds)}, ${formatTime(left)} left`;
}

function explain({ output, shards, made, skipped, complete, work, computedOn }: BatchResult, seconds: number): string {
  const number = (value: number) => value.toLocaleString("en");
  const parts = `${made} of ${shards} ${shards === 1 ? "part" : "parts"} made${skipped > 0 ? `, ${skipped} kept` : ""}`;
  const same = work.pairs - work.computedPairs;
  const lines = [
    `${output}: ${parts}; ${complete ? "complete" : "not complete yet"}`,
    ...(made > 0
      ? [
          `${number(work.rows)} rows, ${number(work.pairs)} pairs${same > 0 ? ` (${number(same)} equal to another)` : ""} in ${seconds.toFixed(1)} s: ${describeRate(work.computedPairs, work.tokens, seconds)}`,
        ]
      : []),
    ...(computedOn.length > 1 ? [`computed on ${computedOn.join(", ")}: scores of quantized models may differ by hundredths`] : []),
    ...(work.truncatedPairs > 0 ? [`${number(work.truncatedPairs)} pairs were cut to fit`] : []),
  ];
  return `${lines.join("\n")}\n`;
}

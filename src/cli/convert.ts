// bge-reranker convert and quantize: files in, GGUF out.
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { type ConvertOptions, type ConvertResult, convert, findCheckpoint, quantize, type RerankClass } from "../index.js";
import { importanceOf, pairsFor, quantizeCalibrated } from "./importance.js";
import { loadingLine } from "./loading.js";
import { checkOutput } from "./output.js";
import { formatBytes, progressLine, write } from "./terminal.js";

interface ConvertCommandOptions {
  readonly output?: string;
  readonly outtype: string;
  readonly tensorType?: Record<string, string>;
  readonly lora?: string;
  readonly calibrate?: string;
  readonly class?: RerankClass;
  readonly name?: string;
  readonly revision?: string;
  readonly force?: true;
  readonly json?: true;
  readonly quiet?: true;
}

const CALIBRATE =
  'JSONL {"query": ..., "passage": ...} like what will be scored: types of less than 8 bits then round best what these pairs use (an importance matrix)';

export function addConvert(program: Command, signal: AbortSignal): void {
  program
    .command("convert")
    .description("Convert a Hugging Face checkpoint to a GGUF file")
    .argument("<source>", "checkpoint folder, Hugging Face id or short name (downloaded if it is not in the cache)")
    .option("-o, --output <file>", "the new file (default: NAME-TYPE.gguf, in the folder or, for an id, here)")
    .option("--outtype <type>", "type of the weights: f32, f16, bf16, q8_0, q4_k ...", "f16")
    .option("--tensor-type <name=type>", "another type for weights whose GGUF name matches, such as attn_v=f16 (repeatable)", addTensorType)
    .option("--lora <folder>", "LoRA adapter to merge")
    .option("--calibrate <file>", CALIBRATE)
    .addOption(
      new Option(
        "--class <class>",
        "use of a language model: decoder-only-base for FlagLLMReranker's fine-tunes on Qwen (default: what the checkpoint says)",
      ).choices(["decoder-only-base", "cross-encoder"]),
    )
    .option("--name <name>", "name stored in the file")
    .option("--revision <name>", "branch, tag or commit on the hub (default: main)")
    .option("-f, --force", "replace an existing file")
    .option("--json", "print what was written as JSON")
    .option("-q, --quiet", "no progress on standard error")
    .addHelpText(
      "after",
      `
Examples:
  $ bge-reranker convert ./bge-reranker-v2-m3 --outtype q8_0
  $ bge-reranker convert ./bge-reranker-v2-gemma --lora ./my-adapter -o tuned.gguf
  $ bge-reranker convert ./bge-reranker-v2-m3 --outtype q4_k --calibrate pairs.jsonl`,
    )
    .action((source: string, options: ConvertCommandOptions) => runConvert(source, options, signal));
}

async function runConvert(source: string, options: ConvertCommandOptions, signal: AbortSignal): Promise<void> {
  if (options.output !== undefined) await checkOutput(options.output, [options.calibrate], options.force === true);
  const pairs = await pairsFor(options.outtype, options.calibrate, signal);
  const download = loadingLine(options.quiet);
  const folder = await findCheckpoint(source, { revision: options.revision, signal, onProgress: download.onProgress }).finally(
    download.end,
  );
  const output = options.output ?? (await outputBeside(source, folder, options.outtype));
  const progress = progressLine("converting", process.stderr, options.quiet);
  const convertTo = (own: ConvertOptions) =>
    convert(folder, {
      lora: options.lora,
      class: options.class,
      name: options.name,
      signal,
      onProgress: ({ done, total, tensor }) => progress.update(done, total, `${formatBytes(done)}  ${tensor}`),
      ...own,
    }).finally(() => progress.end());
  const whole = { output, outtype: options.outtype, tensorTypes: options.tensorType, overwrite: options.force };
  const result = pairs === undefined ? await convertTo(whole) : await quantizeCalibrated(convertTo, folder, whole, pairs, options, signal);
  if (options.json) return write(process.stdout, `${JSON.stringify(result, null, 2)}\n`);
  if (!options.quiet) process.stderr.write(explain(result));
  await write(process.stdout, `${result.path}\n`);
}

function addTensorType(value: string, previous: Record<string, string> = {}): Record<string, string> {
  const at = value.lastIndexOf("=");
  if (at < 1) throw new InvalidArgumentError("Expected NAME=TYPE, such as attn_v=f16.");
  return { ...previous, [value.slice(0, at)]: value.slice(at + 1) };
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Nothing is written into the Hugging Face cache: a repository's file goes into the current folder. */
async function outputBeside(source: string, folder: string, outtype: string): Promise<string | undefined> {
  return (await exists(source)) || folder === source
    ? undefined
    : join(process.cwd(), `${source.split("/").at(-1)}-${outtype.toUpperCase()}.gguf`);
}

function explain(result: ConvertResult): string {
  const lines = [
    `${result.name}: ${result.class}${result.form === null ? "" : ` (${result.form})`}, ${result.architecture}, ${result.tensorCount} tensors, ${formatBytes(result.sizeBytes)}`,
  ];
  for (const file of result.ignoredFiles) lines.push(`  read ${result.files.join(", ")}; ${file} beside it is of an earlier save`);
  for (const fallback of result.fallbacks) lines.push(`  ${JSON.stringify(fallback)}`);
  if (result.adapted.length > 0) lines.push(`  ${result.adapted.length} tensors changed by the LoRA adapter`);
  return `${lines.join("\n")}\n`;
}

interface QuantizeCommandOptions {
  readonly calibrate?: string;
  readonly force?: true;
  readonly json?: true;
  readonly quiet?: true;
}

export function addQuantize(program: Command, signal: AbortSignal): void {
  program
    .command("quantize")
    .description("Copy a GGUF file with weights of another type")
    .argument("<input>", "GGUF file")
    .argument("<output>", "the new file")
    .argument("<type>", "type of the weights: q8_0, q6_k, q4_k ...")
    .option("--calibrate <file>", CALIBRATE)
    .option("-f, --force", "replace an existing file")
    .option("--json", "print what was written as JSON")
    .option("-q, --quiet", "no progress on standard error")
    .addHelpText(
      "after",
      `
Examples:
  $ bge-reranker quantize model-f16.gguf model-q8_0.gguf q8_0
  $ bge-reranker quantize model-f16.gguf model-q4_k.gguf q4_k --calibrate pairs.jsonl`,
    )
    .action((input: string, output: string, type: string, options: QuantizeCommandOptions) =>
      runQuantize(input, output, type, options, signal),
    );
}

async function runQuantize(input: string, output: string, type: string, options: QuantizeCommandOptions, signal: AbortSignal) {
  await checkOutput(output, [input, options.calibrate], options.force === true);
  const pairs = await pairsFor(type, options.calibrate, signal);
  const importance = pairs && (await importanceOf(input, pairs, options, signal));
  const progress = progressLine("quantizing", process.stderr, options.quiet);
  const result = await quantize(input, output, type, {
    importance,
    overwrite: options.force,
    signal,
    onProgress: ({ done, total, tensor }) => progress.update(done, total, `${formatBytes(done)}  ${tensor}`),
  }).finally(() => progress.end());
  if (options.json) return write(process.stdout, `${JSON.stringify(result, null, 2)}\n`);
  if (!options.quiet) process.stderr.write(`${formatBytes(result.inputSizeBytes)} -> ${formatBytes(result.sizeBytes)} as ${result.type}\n`);
  await write(process.stdout, `${result.path}\n`);
}

// Options that several commands share, and the parsing of their values. What a value may be is Reranker's to say.
import { readFileSync } from "node:fs";
import { type Command, InvalidArgumentError, Option } from "commander";
import { type Calibration, type LoadOptions, parseCalibration, RerankerError } from "../index.js";

/** A mistake on the command line found after parsing: exit 2. */
export class UsageError extends Error {}

export function parseInteger(value: string): number {
  if (!/^-?\d+$/.test(value)) throw new InvalidArgumentError("Expected an integer.");
  return Number(value);
}

/** Any number, also below 0. */
export function parseScore(value: string): number {
  const number = Number(value);
  if (value.trim() === "" || !Number.isFinite(number)) throw new InvalidArgumentError("Expected a number.");
  return number;
}

export function parseNumber(value: string): number {
  const number = Number(value);
  if (value.trim() === "" || !(number >= 0)) throw new InvalidArgumentError("Expected a number of at least 0.");
  return number;
}

function parseIntegers(value: string): number[] {
  return value.split(",").map((part) => parseInteger(part.trim()));
}

export function readCalibration(path: string): Calibration {
  try {
    return parseCalibration(JSON.parse(readFileSync(path, "utf8")));
  } catch (cause) {
    throw new RerankerError("IO", `${path} is no calibration: ${(cause as Error).message}`, { cause });
  }
}

function parseNames(value: string): string[] {
  return value.split(",").map((part) => part.trim());
}

/** What a command's parsed options hold of the shared ones. */
export interface ModelOptions {
  readonly model: string;
  readonly devices?: string[];
  readonly threads?: number;
  readonly outtype?: string;
  readonly revision?: string;
  readonly cacheDir?: string;
  readonly maxLength?: number;
  readonly queryMaxLength?: number;
  readonly truncation?: string;
  readonly batchSize?: number;
  readonly maxMemory?: string;
  readonly prefixCacheSize?: string;
  readonly normalize?: true;
  readonly queryInstruction?: string;
  readonly passageInstruction?: string;
  readonly prompt?: string;
  readonly instruction?: string;
  readonly cutoffLayers?: number[];
  readonly compressLayers?: number[];
  readonly compressRatio?: number;
  readonly headSelection?: string;
  readonly calibration?: string;
  readonly quiet?: true;
}

export function addModelOptions(command: Command): Command {
  command
    .option("-m, --model <model>", "a .gguf file, a checkpoint folder, a Hugging Face id or a short name such as v2-m3", "default")
    .option("--normalize", "scores from 0 to 1 instead of logits")
    .option("--max-memory <bytes>", "most memory of the model and its batches, such as 2GB");
  return addLoadOptions(command).option("-q, --quiet", "no progress on standard error");
}

/** Where and how a model runs, and the defaults of calls on it. */
export function addLoadOptions(command: Command): Command {
  return command
    .option("--devices <names>", "cpu, cuda:0, vulkan:0, metal, or several with commas (default: the best present)", parseNames)
    .option("--threads <n>", "CPU threads (default: one for each physical core)", parseInteger)
    .option("--max-length <n>", "most tokens of a pair (default: the model's own, mostly 512)", parseInteger)
    .option("--query-max-length <n>", "most tokens of the query (default: 3/4 of --max-length)", parseInteger)
    .addOption(
      new Option("--truncation <rule>", "what too long a pair loses (default: as the model's official code)").choices([
        "only_second",
        "longest_first",
      ]),
    )
    .option("--batch-size <n>", "most pairs computed at once (default: 128)", parseInteger)
    .option("--prefix-cache-size <bytes>", "memory for what was computed of queries (LLM rerankers); 0 keeps none (default: 64MB)")
    .option("--query-instruction <text>", "prefix of the query")
    .option("--passage-instruction <text>", "prefix of every document")
    .option("--instruction <text>", "what the model is to look for (Qwen3-Reranker, mxbai-rerank v2)")
    .option("--prompt <text>", "question put after the document (LLM rerankers)")
    .option("--cutoff-layers <layers>", "layers to read scores after, such as 28 (layerwise, lightweight)", parseIntegers)
    .option("--compress-ratio <n>", "document tokens merged into one (lightweight)", parseInteger)
    .option("--compress-layers <layers>", "layers before which tokens are merged (lightweight)", parseIntegers)
    .addOption(new Option("--head-selection <how>", "head of a cutoff layer (lightweight)").choices(["rank", "layer"]))
    .option("--calibration <file>", "normalized scores are probabilities, by a file that `calibrate` made")
    .option("--outtype <type>", "type of the weights when a checkpoint is converted: f32, f16, q8_0 ...")
    .option("--revision <name>", "branch, tag or commit of a model on the hub (default: main)")
    .option("--cache-dir <folder>", "folder for converted models");
}

export function loadOptionsOf(options: ModelOptions, more: Pick<LoadOptions, "signal" | "onProgress">): LoadOptions {
  return {
    devices: options.devices,
    threads: options.threads,
    outtype: options.outtype,
    revision: options.revision,
    cacheDir: options.cacheDir,
    normalize: options.normalize,
    maxLength: options.maxLength,
    queryMaxLength: options.queryMaxLength,
    truncation: options.truncation as LoadOptions["truncation"],
    batchSize: options.batchSize,
    maxMemory: options.maxMemory,
    prefixCacheSize: options.prefixCacheSize,
    queryInstructionForRerank: options.queryInstruction,
    passageInstructionForRerank: options.passageInstruction,
    instruction: options.instruction,
    prompt: options.prompt,
    cutoffLayers: options.cutoffLayers,
    compressLayers: options.compressLayers,
    compressRatio: options.compressRatio,
    headSelection: options.headSelection as LoadOptions["headSelection"],
    calibration: options.calibration === undefined ? undefined : readCalibration(options.calibration),
    ...more,
  };
}

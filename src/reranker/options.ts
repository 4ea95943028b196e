// The options of loading and of each call: what they do, and which values they take whatever the model.

import * as is from "../checks.js";
import { parseBytes } from "../gguf/memory.js";
import { gemma2 } from "../models/gemma2.js";
import type { RerankClass, Truncation } from "../models/index.js";
import { minicpm } from "../models/minicpm.js";
import type { Progress } from "../sources/progress.js";
import { type Calibration, parseCalibration } from "./calibration.js";
import { checkTextSource, type TextSource } from "./documents.js";
import { compileInstruction } from "./instruction.js";
import { type CacheOptions, checkCache } from "./score-cache.js";

/** How the texts of a pair become token ids. `undefined` and `null` mean: as given at load, else the default. */
export interface EncodeOptions {
  /**
   * Most tokens of a pair; the document loses its end to fit. Models with a prompt read up to this plus twice the separator and
   * prompt, as the reference does. mxbai-rerank v2 counts query and document alone; models with a chat template count all of it, and
   * lose the end of what stands before its closing part.
   * @default 512; 8192 for Qwen3-Reranker and mxbai-rerank v2; but where the file says otherwise (`reranker.max_length`), as the embedded model does
   */
  readonly maxLength?: number | null | undefined;
  /**
   * Most tokens of the query, its instruction included.
   * @default 3/4 of `maxLength`, rounded down; with `truncation: "longest_first"` no limit of its own
   */
  readonly queryMaxLength?: number | null | undefined;
  /**
   * What a pair loses that is longer than `maxLength`. `"only_second"`: the query is cut to `queryMaxLength`, then only the document
   * loses its end, as in FlagEmbedding. `"longest_first"`: first the longer text loses its end, as in sentence-transformers. Encoders.
   * @default as the file says: what the model's official code does
   */
  readonly truncation?: Truncation | null | undefined;
  /**
   * What the model is to look for, in its own words: "Retrieve passages that answer the question". Qwen3-Reranker (with "" none),
   * and mxbai-rerank v2.
   * @default as the file says: Qwen3-Reranker's web search, none for mxbai-rerank v2
   */
  readonly instruction?: string | null | undefined;
  /** Text after the document that asks the question (the three LLM classes). See `RERANK_PROMPTS`. */
  readonly prompt?: string | null | undefined;
  /**
   * false: special tokens spelled out in the texts, such as `</s>`, are read as plain text.
   * @default true, as in the reference
   */
  readonly parseSpecialTokens?: boolean | null | undefined;
}

/** Options of `computeScore`, also given at load as the defaults of later calls. */
export interface ScoreOptions extends EncodeOptions {
  /**
   * true: scores are the sigmoid of the logits, 0 to 1.
   * @default false
   */
  readonly normalize?: boolean | null | undefined;
  /**
   * Normalized scores are probabilities of relevance as `calibrate` learned them, instead of sigmoids; `normalize` need not be given.
   * For the model, cutoff layer and compress ratio that it was made with. `normalize: false` in a call still gives logits.
   */
  readonly calibration?: Calibration | null | undefined;
  /**
   * Most pairs computed at once; fewer are taken when their tokens ask for it. Scores do not depend on it.
   * @default 128
   */
  readonly batchSize?: number | null | undefined;
  /**
   * Most tokens computed at once: lower takes less memory. A longer pair is computed alone.
   * @default chosen from the call
   */
  readonly maxBatchTokens?: number | null | undefined;
  /**
   * Layers after which to read a score; later ones are not run. Layerwise and lightweight models. Several give one list of
   * scores each, in ascending order of the layers.
   * @default the last layer
   */
  readonly cutoffLayers?: number | readonly number[] | null | undefined;
  /**
   * Layers before which the document's tokens are merged. Lightweight models; a layer from the cutoff on, or 0, merges nothing.
   * @default [8]
   */
  readonly compressLayers?: number | readonly number[] | null | undefined;
  /** @deprecated The reference's old name of `compressLayers`. */
  readonly compressLayer?: number | readonly number[] | null | undefined;
  /**
   * Document tokens merged into one. Lightweight models are trained with 1, 2, 4 and 8.
   * @default 1: none
   */
  readonly compressRatio?: number | null | undefined;
  /**
   * Head that scores a cutoff layer of a lightweight model: `"rank"`, the n-th head for the n-th cutoff asked, as the reference
   * does; `"layer"`, the head trained for the layer.
   * @default "rank"
   */
  readonly headSelection?: "rank" | "layer" | null | undefined;
  /**
   * true: attention scores of a lightweight model are capped, as Gemma 2 was trained; the reference leaves the cap out.
   * @default as the file says: false
   */
  readonly attentionSoftcap?: boolean | null | undefined;
  /** Rejects with `signal.reason`; looked at between batches. */
  readonly signal?: AbortSignal | null | undefined;
  /** Called as batches are done. */
  readonly onProgress?: ((progress: Progress) => void) | null | undefined;
}

/** A stage of a cascade: all documents left are scored after `layer`, and the best `keep` go on. */
export interface CascadeStage {
  readonly layer: number;
  readonly keep: number;
}

/** Options of `rerank`. */
export interface RerankOptions extends ScoreOptions {
  /** One layer. */
  readonly cutoffLayers?: number | readonly [number] | null | undefined;
  /** Return only the best so many. */
  readonly topN?: number | null | undefined;
  /** Leave out documents that score less: a logit, or 0 to 1 with `normalize` or `calibration`. */
  readonly minScore?: number | null | undefined;
  /**
   * What happens to a text that is too long: `"truncate"` reads its beginning and says so, `"chunk"` scores overlapping windows
   * of a document, cut at sentences, and keeps the best, `"window"` does so with windows of tokens, as the own code of bce-reranker
   * (encoders), `"error"` rejects with `TRUNCATED` before computing.
   * @default "truncate"
   */
  readonly overflow?: "truncate" | "chunk" | "window" | "error" | null | undefined;
  /**
   * Most windows of one document with `overflow: "chunk"` or `"window"`; text after the last window is not read.
   * @default 32, and 4096 with `"window"`
   */
  readonly maxChunks?: number | null | undefined;
  /**
   * Part of a window that the next one repeats, with `overflow: "chunk"`.
   * @default 0.125
   */
  readonly chunkOverlap?: number | null | undefined;
  /**
   * Tokens of a window that the next one repeats, with `overflow: "window"`; never more than a quarter of it.
   * @default 80
   */
  readonly windowOverlap?: number | null | undefined;
  /**
   * Early exits: after each stage only the best documents go on to later layers, and the rest are not returned. Layerwise and
   * lightweight models. The scores of the documents that stay are those of a run without a cascade.
   */
  readonly cascade?: readonly CascadeStage[] | null | undefined;
}

/** Options of `rerank` over documents that arrive one after another. */
export type StreamOptions = Omit<RerankOptions, "topN" | "cascade">;

/** Options of `rerankTop`. */
export interface RerankTopOptions extends Omit<RerankOptions, "topN" | "cascade" | "onProgress"> {
  /** Most results. */
  readonly keep: number;
  /** Milliseconds until the last score counts. */
  readonly budgetMs: number;
}

/** Options of `load` and `fromFinetuned`: where and how the model runs, and the defaults of later calls. */
export interface LoadOptions extends ScoreOptions {
  /**
   * `"cpu"`, `"cuda:0"`, `"metal"`, `"vulkan:0"`; with an array each call's pairs are shared out. See docs/devices.md.
   * @default the first CUDA or Vulkan GPU whose package is installed and which runs, else `"cpu"`
   */
  readonly devices?: string | readonly string[] | null | undefined;
  /**
   * CPU threads.
   * @default one for each physical core
   */
  readonly threads?: number | null | undefined;
  /** Accepted as in the reference, without effect: weights are computed in the precision of the file. See `outtype`. */
  readonly useFp16?: boolean | null | undefined;
  /** Accepted as in the reference, without effect. The three LLM classes. */
  readonly useBf16?: boolean | null | undefined;
  /**
   * Type of the weights when a checkpoint, from a folder or the hub, is converted on first use: `"f32"`, `"f16"`, `"bf16"`, `"q8_0"` ...
   * @default "f32", which keeps the checkpoint's scores
   */
  readonly outtype?: string | null | undefined;
  /**
   * Branch, tag or commit of a model on the hub.
   * @default "main"
   */
  readonly revision?: string | null | undefined;
  /**
   * Folder for converted models.
   * @default `$BGE_RERANKER_CACHE`, else `bge-reranker` in the user's cache folder
   */
  readonly cacheDir?: string | null | undefined;
  /** LoRA adapter folder merged into the weights while a checkpoint folder is converted. The three LLM classes. */
  readonly peftPath?: string | null | undefined;
  /** Prefix of every query. null: none. @default none for encoders, `"A: "` for the three LLM classes */
  readonly queryInstructionForRerank?: string | null | undefined;
  /** How instruction and query are joined: two slots, as in Python's `str.format`. @default "{}{}" */
  readonly queryInstructionFormat?: string | null | undefined;
  /** Prefix of every document. null: none. @default none for encoders, `"B: "` for the three LLM classes */
  readonly passageInstructionForRerank?: string | null | undefined;
  /** @default "{}{}" */
  readonly passageInstructionFormat?: string | null | undefined;
  /**
   * Layers above this one are not loaded, which saves their memory, and are no legal cutoffs. Layerwise and lightweight models.
   * @default all are loaded
   */
  readonly maxLayer?: number | null | undefined;
  /**
   * Coarser arithmetic of the CPU kernels. `"fast"`: beside quantised weights, scales of 64 inputs where the chip has VNNI or ARM's
   * dot product and no AMX; about 1.13 times as fast with twice the rounding error. `"row-int8"`: 8-bit weights and activations with a
   * scale a row, whatever the file has; faster still. Scores move in the third digit, and by as much as documents differ where a few
   * channels are far larger than the others.
   * @default "native": the precision of the file; activations beside quantised weights have 8 bits and a scale for 32 inputs, with AMX those of bf16
   */
  readonly weightMode?: "native" | "fast" | "row-int8" | null | undefined;
  /**
   * Most memory the model may take on each device: weights, tokenizer, the work of calls and the prefix cache. Bytes, or text such as `"2GB"`
   * (2 × 1000³) and `"2GiB"` (2 × 1024³). It is held against an estimate before anything is loaded, and batches are kept
   * small enough. Not in it: the rest of the process, the texts of the calls, and converting a checkpoint on first use.
   * @default no limit
   */
  readonly maxMemory?: number | string | null | undefined;
  /**
   * Milliseconds after the last call until the weights are released, as Ollama's `keep_alive`. The next call reads them again,
   * from the file as it was, and takes longer by that. `tokenize` and `encodePair` need no weights. 0: after every call.
   * @default kept until `dispose()`
   */
  readonly keepAliveMs?: number | null | undefined;
  /**
   * Keeps scores of pairs: one asked for again, with the same options, is not computed again and is the same to the bit. `stats()`
   * counts hits. With several devices of different kinds it is the score that one of them gave.
   * @default none
   */
  readonly cache?: CacheOptions | null | undefined;
  /**
   * Memory for what language models computed of instruction and query, so that a call with the same query and new documents
   * computes the documents alone, and one with a new query what follows the instruction. Bytes, or text such as `"64MB"`; 0: none.
   * Scores are the same to the bit. `stats()` counts hits. Within `maxMemory`, of which it takes at most a quarter of what a pair
   * leaves. On the CPU; encoders and GPUs have none.
   * @default "64MB": some 280 tokens of Qwen3-Reranker-0.6B, 1700 of bge-reranker-v2-gemma, 90 of the minicpm and gemma2 rerankers
   */
  readonly prefixCacheSize?: number | string | null | undefined;
}

/** The part of `LoadOptions` that says what stands before queries and documents. */
export type InstructionOptions = Pick<
  LoadOptions,
  "queryInstructionForRerank" | "queryInstructionFormat" | "passageInstructionForRerank" | "passageInstructionFormat"
>;

/** Prompts the models were trained with, for `prompt`: `yesNo` is the default of gemma and minicpm, `answer` of lightweight. */
export const RERANK_PROMPTS = {
  yesNo: minicpm.prompts.answer,
  answer: gemma2.prompts.answer,
  sameMeaning: gemma2.prompts["same-meaning"],
  sameQuestion: gemma2.prompts["same-question"],
  contradiction: gemma2.prompts.contradiction,
} as const;

/** The reference's name of each class; what FlagEmbedding never had is a `Reranker`, sentence-transformers' CrossEncoder. */
export const CLASS_NAMES = {
  "encoder-only-base": "FlagReranker",
  "decoder-only-base": "FlagLLMReranker",
  "decoder-only-layerwise": "LayerWiseFlagLLMReranker",
  "decoder-only-lightweight": "LightWeightFlagLLMReranker",
  "cross-encoder": "Reranker",
} as const satisfies Record<RerankClass, string>;

const encodeChecks = {
  maxLength: is.integer(1),
  queryMaxLength: is.integer(0),
  truncation: is.oneOf("only_second", "longest_first"),
  prompt: is.string,
  instruction: is.string,
  parseSpecialTokens: is.boolean,
} as const satisfies Record<keyof EncodeOptions, is.Check>;

const scoreChecks = {
  ...encodeChecks,
  normalize: is.boolean,
  calibration: (_, value) => parseCalibration(value),
  batchSize: is.integer(1),
  maxBatchTokens: is.integer(1),
  cutoffLayers: is.integers,
  compressLayers: is.integers,
  compressLayer: is.integers,
  compressRatio: is.integer(1),
  headSelection: is.oneOf("rank", "layer"),
  attentionSoftcap: is.boolean,
  signal: is.abortSignal,
  onProgress: is.callback,
} as const satisfies Record<keyof ScoreOptions, is.Check>;

const rerankChecks = {
  ...scoreChecks,
  topN: is.integer(1),
  minScore: is.finite,
  field: is.string,
  text: is.callback,
  overflow: is.oneOf("truncate", "chunk", "window", "error"),
  maxChunks: is.integer(1, 4096), // a document's windows are held in memory together
  chunkOverlap: is.fraction(0, 0.9),
  windowOverlap: is.integer(0),
  cascade: checkCascade,
} as const satisfies Record<keyof RerankOptions | keyof TextSource, is.Check>;

const instructionChecks = {
  queryInstructionForRerank: is.string,
  queryInstructionFormat: checkFormat,
  passageInstructionForRerank: is.string,
  passageInstructionFormat: checkFormat,
} as const satisfies Record<keyof InstructionOptions, is.Check>;

const loadChecks = {
  ...scoreChecks,
  ...instructionChecks,
  devices: is.names,
  threads: is.integer(1, 1024),
  useFp16: is.boolean,
  useBf16: is.boolean,
  outtype: is.string,
  revision: is.string,
  cacheDir: is.string,
  peftPath: is.string,
  maxLayer: is.integer(1),
  weightMode: is.oneOf("native", "fast", "row-int8"),
  maxMemory: parseBytes,
  keepAliveMs: is.integer(0),
  cache: checkCache,
  prefixCacheSize: parsePrefixCacheSize,
} as const satisfies Record<keyof LoadOptions, is.Check>;

/** Options of FlagEmbedding that have no meaning here. */
const NOT_NEEDED: Readonly<Record<string, string>> = {
  trustRemoteCode: "It is not needed: no code of a model repository is ever run.",
  passageMaxLength: "The reference accepts and ignores it; `maxLength` limits the pair.",
  useDataloader: "It is not needed: batches are made natively.",
  numWorkers: "It is not needed: batches are made natively.",
  modelClass: "It is an option of FlagAutoReranker.fromFinetuned.",
  device: "Give `devices` at load.",
  keepAlive: "Did you mean `keepAliveMs`?",
  cacheSize: "Give `cache: { maxBytes }` or `cache: { maxEntries }`.",
  prefixCache: "Give `prefixCacheSize`.",
  topK: "Did you mean `topN`?",
  topn: "Did you mean `topN`?",
};

/** Throws on an unknown option, a wrong type or a value that no model takes. */
export function checkLoadOptions(options: LoadOptions): void {
  is.checkOptions("load", options, loadChecks, (name) => (name in rerankChecks ? `It is an option of rerank().` : NOT_NEEDED[name]));
  throwIfContradictory(options);
}

export function checkInstructions(options: InstructionOptions): void {
  is.checkOptions("withInstructions", options, instructionChecks, (name) => (name in loadChecks ? "It is given at load." : undefined));
}

export function checkScoreOptions(options: ScoreOptions): void {
  is.checkOptions("computeScore", options, scoreChecks, elsewhere("rerank()"));
  throwIfContradictory(options);
}

export function checkEncodeOptions(options: EncodeOptions): void {
  is.checkOptions("encodePair", options, encodeChecks, elsewhere("computeScore() and rerank()"));
}

export function checkRerankOptions(options: RerankOptions & TextSource): void {
  is.checkOptions("rerank", options, rerankChecks, elsewhere("rerank()"));
  checkTextSource(options);
  throwIfContradictory(options);
}

/** @returns The options, `keep` and `budgetMs` checked; the others are for checkRerankOptions. */
export function checkTopOptions<O extends RerankTopOptions>(options: O): O {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`Expected the options of rerankTop to be an object with \`keep\` and \`budgetMs\`, got \`${is.show(options)}\``);
  }
  is.integer(1)("keep", options.keep);
  is.finite("budgetMs", options.budgetMs);
  if (options.budgetMs <= 0) throw new RangeError(`Expected \`budgetMs\` to be above 0, got \`${options.budgetMs}\``);
  const given = options as RerankOptions;
  for (const name of ["topN", "cascade", "onProgress"] as const) {
    if ((given[name] ?? null) !== null) throw new TypeError(`\`${name}\` is no option of rerankTop, which has \`keep\` and \`budgetMs\``);
  }
  return options;
}

export const DEFAULT_PREFIX_CACHE = "64MB";

/** @returns Bytes. */
export function parsePrefixCacheSize(name: string, value: unknown): number {
  return value === 0 || value === "0" ? 0 : parseBytes(name, value);
}

function checkFormat(name: string, value: unknown): void {
  is.string(name, value);
  compileInstruction(name, value as string, null);
}

function checkCascade(name: string, value: unknown): void {
  if (!Array.isArray(value)) throw new TypeError(`Expected \`${name}\` to be an array of { layer, keep }, got \`${is.show(value)}\``);
  for (const stage of value) {
    if (typeof stage !== "object" || stage === null)
      throw new TypeError(`Expected \`${name}\` to hold { layer, keep }, got \`${is.show(stage)}\``);
    is.checkOptions(`a stage of \`${name}\``, stage, { layer: is.integer(1), keep: is.integer(1) }, () => undefined);
    is.integer(1)(`${name}.layer`, stage.layer);
    is.integer(1)(`${name}.keep`, stage.keep);
  }
}

function throwIfContradictory(options: ScoreOptions): void {
  if (options.normalize === false && (options.calibration ?? null) !== null) {
    throw new TypeError("`normalize: false` asks for logits and `calibration` for probabilities: give one of them");
  }
  if ((options.compressLayers ?? null) !== null && (options.compressLayer ?? null) !== null) {
    throw new TypeError("`compressLayer` is the old name of `compressLayers`: give one of them");
  }
}

function elsewhere(where: string): (name: string) => string | undefined {
  return (name) => {
    if (name in loadChecks && !(name in scoreChecks)) return "It is given at load.";
    return name in rerankChecks ? `It is an option of ${where}.` : NOT_NEEDED[name];
  };
}

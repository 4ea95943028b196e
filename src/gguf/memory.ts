// What a model takes in memory, from its file's header alone, and what a limit leaves for computing.

import type { GgufHeader, GgufTensor, ModelSpec } from "../addon/native.js";
import { show } from "../checks.js";
import { RerankerError } from "../errors.js";
import type { ModelFacts } from "./model-facts.js";

// K, M, G and T are powers of 1000; Ki, Mi, Gi and Ti of 1024 (IEC 80000-13).
const UNITS = ["", "k", "m", "g", "t"];

/**
 * Bytes of a number or of a text such as `"2GB"`, `"1.5 GiB"`.
 *
 * @throws {TypeError | RangeError} Anything else.
 */
export function parseBytes(name: string, value: unknown): number {
  const problem = `Expected \`${name}\` to be bytes, or text such as "2GB" or "1.5GiB", got \`${show(value)}\``;
  if (typeof value !== "string" && typeof value !== "number") throw new TypeError(problem);
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?$/i.exec(String(value).trim());
  if (!match || (match[3] && !match[2])) throw new RangeError(problem);
  const bytes = Math.floor(Number(match[1]) * (match[3] ? 1024 : 1000) ** UNITS.indexOf((match[2] ?? "").toLowerCase()));
  if (bytes < 1 || !Number.isSafeInteger(bytes)) throw new RangeError(problem);
  return bytes;
}

/** Where a model runs, as far as its memory goes. */
export interface Placement {
  /** Whether our CPU kernels compute, which hold linear layers in their own layout. */
  readonly kernels: boolean;
  readonly weightMode: ModelSpec["weightMode"];
  /** Layers above this one are not loaded; 0 = all. */
  readonly maxLayer: number;
}

/** Bytes that stay while a model is loaded. */
export interface ResidentBytes {
  readonly weights: number;
  readonly tokenizer: number;
}

// Tensors that are looked up row by row, where the file is mapped; all other matrices are linear layers.
const TABLES = new Set(["token_embd.weight", "position_embd.weight", "token_types.weight", "relative_embd.weight", "reranker.head.weight"]);
// Of an output matrix at most one row is read.
const NOT_LOADED = new Set(["output.weight", "rope_freqs.weight"]);
// Pieces and merges as text, as trie nodes and hash slots: what a vocabulary of 250,000 takes, divided.
const BYTES_PER_PIECE = 160;
const BYTES_PER_MERGE = 120;

export function residentBytes(header: GgufHeader, placement: Placement): ResidentBytes {
  const lengthOf = (key: string) => {
    const value = header.metadata[key]?.value;
    return typeof value === "object" && value !== null ? value.length : 0;
  };
  return {
    weights: header.tensors.filter((tensor) => isLoaded(tensor, placement.maxLayer)).reduce((sum, t) => sum + loadedBytes(t, placement), 0),
    tokenizer: lengthOf("tokenizer.ggml.tokens") * BYTES_PER_PIECE + lengthOf("tokenizer.ggml.merges") * BYTES_PER_MERGE,
  };
}

function isLoaded({ name }: GgufTensor, maxLayer: number): boolean {
  const layer = /^blk\.(\d+)\./.exec(name)?.[1];
  return !NOT_LOADED.has(name) && (maxLayer === 0 || layer === undefined || Number(layer) < maxLayer);
}

// Bytes of 32 weights in panels of 8 bits, and in those of native/cpu/low-bit.h: their bits, factors and scales.
const PANEL_BYTES: Readonly<Record<string, number>> = {
  Q4_0: 19,
  Q4_1: 20,
  Q4_K: 20,
  Q5_0: 23,
  Q5_1: 24,
  Q5_K: 24,
  Q6_K: 28,
  Q2_K: 10.5,
  Q3_K: 14.25,
  IQ1_S: 6.25,
  IQ1_M: 7.25,
  IQ2_XXS: 9.25,
  IQ2_XS: 10.25,
  IQ2_S: 10.25,
  IQ3_XXS: 13.25,
  IQ3_S: 14.25,
  IQ4_NL: 18,
  IQ4_XS: 18,
  MXFP4: 18,
  Q8_0: 36,
};

/**
 * Panels of native/cpu/pack.cpp: floats as they are, 8-bit weights with a scale, F32, for every 32 inputs or for every row,
 * types of fewer bits a little larger than in the file, and all others as in the file. Rows are padded to whole blocks.
 */
function loadedBytes({ name, type, shape, sizeBytes }: GgufTensor, { kernels, weightMode }: Placement): number {
  const [inputs = 1, outputs = 1] = shape;
  if (!kernels || outputs === 1 || TABLES.has(name)) return sizeBytes;
  if (weightMode === "row-int8") return outputs * (Math.ceil(inputs / 64) * 64 + 4);
  const bytes = PANEL_BYTES[type];
  return bytes ? outputs * Math.ceil(inputs / 32) * bytes : sizeBytes;
}

// Scratch of the kernels' threads and what a graph holds beside its activations.
const WORK_BASE = 16 << 20;

/**
 * Bytes to compute `tokens` at once, the longest pair of them `longest` long.
 *
 * Float32 rows live at once in the widest place of a layer: around attention (state, queries, keys and values, the rotated
 * ones, the result) or in the feed-forward. Without our kernels gate and up stand apart, and so does every attention score.
 */
export function workBytes(
  tokens: number,
  longest: number,
  {
    hiddenSize: h,
    feedForwardSize: f,
    headCount,
    querySize: q,
    keySize: k,
  }: Pick<ModelFacts, "hiddenSize" | "feedForwardSize" | "headCount" | "querySize" | "keySize">,
  kernels: boolean,
): number {
  if (tokens === 0) return 0;
  const width = kernels ? Math.max(2 * h + 3 * q + 3 * k, 3 * h + f) : Math.max(2 * h + 4 * q + 4 * k, 3 * h + 3 * f);
  return WORK_BASE + tokens * width * 4 + (kernels ? 0 : 2 * headCount * longest ** 2 * 4);
}

/** What a limit leaves, for the engine. */
export type MemoryBudget = Pick<ModelSpec, "maxGraphTokens" | "maxStateBytes" | "maxPrefixBytes">;

/** Without a limit: the engine's own bounds, and the prefix cache as it was asked for. */
export function unlimited(prefixBytes: number): MemoryBudget {
  return { maxGraphTokens: 0, maxStateBytes: 0, maxPrefixBytes: prefixBytes };
}

/**
 * Shares out a limit: what stays, then a quarter of the rest for the states of cascades, the others for computing. The prefix
 * cache has at most a quarter of what a pair leaves.
 *
 * @param pairTokens - A pair of this length must fit.
 * @param prefixBytes - Wanted for the prefix cache.
 * @throws {RerankerError} `OUT_OF_MEMORY` when it does not, naming need and limit.
 */
export function budgetWithin(
  limit: number,
  resident: ResidentBytes,
  pairTokens: number,
  facts: ModelFacts,
  kernels: boolean,
  prefixBytes: number,
): MemoryBudget {
  const rest = limit - resident.weights - resident.tokenizer;
  const maxStateBytes = facts.cutoffLayers.length > 0 ? Math.max(0, Math.floor(rest / 4)) : 0;
  let maxPrefixBytes = 0;
  const spare = (tokens: number) => rest - maxStateBytes - maxPrefixBytes - workBytes(tokens, tokens, facts, kernels);
  const fits = (tokens: number) => spare(tokens) >= 0;
  if (!fits(pairTokens)) {
    const work = workBytes(pairTokens, pairTokens, facts, kernels);
    const share = facts.cutoffLayers.length > 0 ? 4 / 3 : 1;
    const need = resident.weights + resident.tokenizer + work * share;
    throw new RerankerError(
      "OUT_OF_MEMORY",
      `This model needs about ${formatMemory(need)}: ${formatMemory(resident.weights)} of weights, ${formatMemory(resident.tokenizer)} of tokenizer and ` +
        `${formatMemory(work * share)} to compute pairs of ${pairTokens} tokens; \`maxMemory\` is ${formatMemory(limit)}. ` +
        "Raise it, lower `maxLength`, or take a smaller type of weights (q8_0)",
    );
  }
  maxPrefixBytes = Math.min(prefixBytes, Math.floor(spare(pairTokens) / 4));
  let tokens = pairTokens;
  for (let step = 2 ** 20; step >= 1; step /= 2) if (fits(tokens + step)) tokens += step;
  return { maxGraphTokens: tokens, maxStateBytes, maxPrefixBytes };
}

function formatMemory(bytes: number): string {
  return bytes < 1e9 ? `${Math.ceil(bytes / 1e6)} MB` : `${(Math.ceil(bytes / 1e7) / 100).toFixed(2)} GB`;
}

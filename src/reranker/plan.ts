// What a rerank call would compute, without computing it: tokens, cuts, batches, memory.
import type { EncodeSpec, NativeModel, NativeModelInfo } from "../addon/native.js";
import { workBytes } from "../gguf/memory.js";
import type { ModelFacts } from "../gguf/model-facts.js";
import type { TextSpan } from "./overflow.js";
import { Pace } from "./pace.js";
import { type Pair, packPairs, shareOut } from "./scoring.js";

/** One pair that would be scored: a document, or one window of it with `overflow: "chunk"`. */
export interface PlannedPair {
  /** Place of the document. */
  readonly index: number;
  /** Tokens the model would read, the query and special tokens included. */
  readonly tokens: number;
  /** Whether the query or this text would be cut. With `overflow: "error"` the call would reject. */
  readonly truncated: boolean;
  readonly queryTruncated: boolean;
  readonly chunk?: TextSpan;
}

export interface PlannedBatch {
  readonly device: string;
  readonly pairs: number;
  /** Tokens computed: those of a query that the batch shares count once. */
  readonly tokens: number;
}

export interface RerankPlan {
  readonly pairs: readonly PlannedPair[];
  /** In the order they would run on each device. A cascade's later stages, which are smaller, are not listed. */
  readonly batches: readonly PlannedBatch[];
  /** Sum over the pairs, and what is left to compute once queries are shared. */
  readonly totalTokens: number;
  readonly computedTokens: number;
  readonly truncatedCount: number;
  /** On the device that needs most. `work` is an estimate of what the largest batch takes beside the weights. */
  readonly memory: { readonly weightsBytes: number; readonly workBytes: number };
}

/** A pair as the native side lays it out. */
export interface LaidOutPair {
  readonly index: number;
  readonly tokens: number;
  /** Tokens up to the document, which equal queries of a batch share. */
  readonly queryTokens: number;
  readonly cut: number;
  readonly chunk?: TextSpan;
}

export interface BatchLimits {
  readonly batchSize: number;
  /** 0: the engine's own. */
  readonly maxBatchTokens: number;
  readonly sharePrefix: boolean;
}

// As in native/engine.cpp.
const CPU_BATCH_TOKENS = 1024;
const GPU_BATCH_TOKENS = 4096;
const PAIRS_WITHOUT_KERNELS = 32;
// Of the texts of one native call.
const CHARACTERS_AT_ONCE = 1 << 20;

/**
 * Lays out pairs, a group at a time and off the JS thread.
 *
 * @param items - With instructions.
 */
export async function layOut(
  model: NativeModel,
  items: readonly { readonly index: number; readonly pair: Pair; readonly chunk?: TextSpan }[],
  spec: EncodeSpec,
  signal: AbortSignal | undefined,
): Promise<LaidOutPair[]> {
  const pace = new Pace(signal);
  const out: LaidOutPair[] = [];
  signal?.throwIfAborted();
  for (let start = 0; start < items.length; ) {
    let size = 0;
    let end = start;
    while (end < items.length && (end === start || size < CHARACTERS_AT_ONCE)) size += (items[end++]?.pair[1].length ?? 0) + 16;
    const group = items.slice(start, end);
    const sizes = await model.measure({
      ...spec,
      ...(await packPairs(
        model,
        group.map(({ pair }) => pair),
        pace,
      )),
    });
    for (const [i, { index, chunk }] of group.entries()) {
      const [tokens, queryTokens, cut] = [sizes.tokens[i] ?? 0, sizes.queryLengths[i] ?? 0, sizes.truncated[i] ?? 0];
      out.push({ index, tokens, queryTokens, cut, ...(chunk && { chunk }) });
    }
    signal?.throwIfAborted();
    if (pace.isDue) await pace.rest();
    start = end;
  }
  return out;
}

/** @param devices - The loaded models' own facts, one a device. */
export function planRerank(
  pairs: readonly LaidOutPair[],
  limits: BatchLimits,
  facts: ModelFacts,
  devices: readonly NativeModelInfo[],
): RerankPlan {
  // Scoring, which does not know the tokens yet, shares out by the length of the texts: much the same.
  const shares = shareOut(pairs, ({ tokens }) => tokens, devices.length);
  const batches = devices.flatMap((info, i) => splitBatches(shares[i] ?? [], limits, info));
  const planned = pairs.map(({ index, tokens, cut, chunk }) => ({
    index,
    tokens,
    truncated: cut !== 0,
    queryTruncated: (cut & 1) !== 0,
    ...(chunk && { chunk }),
  }));
  return {
    pairs: planned,
    batches,
    totalTokens: sum(pairs.map((pair) => pair.tokens)),
    computedTokens: sum(batches.map((batch) => batch.tokens)),
    truncatedCount: planned.filter((pair) => pair.truncated).length,
    memory: {
      weightsBytes: Math.max(...devices.map((info) => info.weightsSizeBytes)),
      workBytes: Math.max(0, ...devices.map((info) => largestWork(batches, pairs, info, facts))),
    },
  };
}

/** Longest first, filled up to the budget: TokenBudget of native/batch.cpp, for pairs that all have the same query. */
function splitBatches(pairs: readonly LaidOutPair[], limits: BatchLimits, info: NativeModelInfo): PlannedBatch[] {
  const own = info.device === "cpu" ? CPU_BATCH_TOKENS : GPU_BATCH_TOKENS;
  const maxTokens = Math.min(...[own, limits.maxBatchTokens, info.maxGraphTokens].filter((tokens) => tokens > 0));
  const maxPairs = Math.min(limits.batchSize, info.isa === "" ? PAIRS_WITHOUT_KERNELS : Number.POSITIVE_INFINITY);
  const batches: { device: string; pairs: number; tokens: number }[] = [];
  for (const pair of [...pairs].sort((a, b) => b.tokens - a.tokens)) {
    const last = batches.at(-1);
    const more = pair.tokens - (limits.sharePrefix ? pair.queryTokens : 0);
    if (last && last.tokens < maxTokens && last.tokens + more <= maxTokens && last.pairs < maxPairs) {
      last.tokens += more;
      last.pairs++;
    } else {
      batches.push({ device: info.device, pairs: 1, tokens: pair.tokens });
    }
  }
  return batches;
}

function largestWork(batches: readonly PlannedBatch[], pairs: readonly LaidOutPair[], info: NativeModelInfo, facts: ModelFacts): number {
  const tokens = Math.max(0, ...batches.filter(({ device }) => device === info.device).map((batch) => batch.tokens));
  const longest = pairs.reduce((most, pair) => Math.max(most, pair.tokens), 0);
  return workBytes(tokens, Math.min(longest, tokens), facts, info.isa !== "");
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0);
}

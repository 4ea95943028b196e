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
  /** Sum over the pairs, and what is left to compute once queries are shared in a batch. What the prefix cache spares is not taken off. */
  readonly totalTokens: number;
  readonly computedTokens: number;
  readonly truncatedCount: number;
  /** On the device that needs most. `work` is an estimate of what the largest batch takes beside the weights. */
  readonly memory: {
    readonly weightsBytes: number;
    readonly workBytes: number;
    /** Most that the prefix cache takes. */
    readonly prefixCacheBytes: number;
  };
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
export async function planRerank(
  pairs: readonly LaidOutPair[],
  limits: BatchLimits,
  facts: ModelFacts,
  devices: readonly NativeModelInfo[],
  signal: AbortSignal | undefined,
): Promise<RerankPlan> {
  const pace = new Pace(signal);
  // Scoring, which does not know the tokens yet, shares out by the length of the texts: much the same.
  const shares = devices.length > 1 ? shareOut(pairs, ({ tokens }) => tokens, devices.length) : [pairs];
  const batches: PlannedBatch[] = [];
  for (const [i, info] of devices.entries()) await splitBatches(shares[i] ?? [], limits, info, batches, pace);
  const planned: PlannedPair[] = [];
  let totalTokens = 0;
  let truncatedCount = 0;
  let longest = 0;
  await pace.times(pairs.length, (i) => {
    const { index, tokens, cut, chunk } = pairs[i] as LaidOutPair;
    planned.push({ index, tokens, truncated: cut !== 0, queryTruncated: (cut & 1) !== 0, ...(chunk && { chunk }) });
    totalTokens += tokens;
    truncatedCount += cut === 0 ? 0 : 1;
    longest = Math.max(longest, tokens);
  });
  const largestOf = ({ device }: NativeModelInfo) => largest(batches, (batch) => (batch.device === device ? batch.tokens : 0));
  const workOf = (info: NativeModelInfo) => workBytes(largestOf(info), Math.min(longest, largestOf(info)), facts, info.isa !== "");
  return {
    pairs: planned,
    batches,
    totalTokens,
    computedTokens: batches.reduce((sum, batch) => sum + batch.tokens, 0),
    truncatedCount,
    memory: {
      weightsBytes: largest(devices, (info) => info.weightsSizeBytes),
      workBytes: largest(devices, workOf),
      prefixCacheBytes: largest(devices, (info) => info.maxPrefixBytes),
    },
  };
}

/** Longest first, filled up to the budget: TokenBudget of native/batch.cpp, for pairs that all have the same query. */
async function splitBatches(
  pairs: readonly LaidOutPair[],
  limits: BatchLimits,
  info: NativeModelInfo,
  batches: PlannedBatch[],
  pace: Pace,
): Promise<void> {
  const own = info.device === "cpu" ? CPU_BATCH_TOKENS : GPU_BATCH_TOKENS;
  const maxTokens = Math.min(...[own, limits.maxBatchTokens, info.maxGraphTokens].filter((tokens) => tokens > 0));
  const maxPairs = Math.min(limits.batchSize, info.isa === "" ? PAIRS_WITHOUT_KERNELS : Number.POSITIVE_INFINITY);
  const order = await longestFirst(pairs, pace);
  let last: { device: string; pairs: number; tokens: number } | undefined;
  await pace.times(order.length, (i) => {
    const pair = pairs[order[i] as number] as LaidOutPair;
    const more = pair.tokens - (limits.sharePrefix ? pair.queryTokens : 0);
    if (last && last.tokens < maxTokens && last.tokens + more <= maxTokens && last.pairs < maxPairs) {
      last.tokens += more;
      last.pairs++;
    } else {
      last = { device: info.device, pairs: 1, tokens: pair.tokens };
      batches.push(last);
    }
  });
}

/** Places of the pairs, those of one length in order: counted, since to sort a million takes a second. */
async function longestFirst(pairs: readonly LaidOutPair[], pace: Pace): Promise<Int32Array> {
  const tokensOf = (i: number) => (pairs[i] as LaidOutPair).tokens;
  let longest = 0;
  await pace.times(pairs.length, (i) => {
    longest = Math.max(longest, tokensOf(i));
  });
  const next = new Int32Array(longest + 2); // where the next pair of a length goes, longer ones before it
  await pace.times(pairs.length, (i) => {
    const at = longest - tokensOf(i) + 1;
    next[at] = (next[at] as number) + 1;
  });
  for (let at = 1; at < next.length; at++) next[at] = (next[at] as number) + (next[at - 1] as number);
  const order = new Int32Array(pairs.length);
  await pace.times(pairs.length, (i) => {
    const at = longest - tokensOf(i);
    order[next[at] as number] = i;
    next[at] = (next[at] as number) + 1;
  });
  return order;
}

function largest<T>(items: readonly T[], sizeOf: (item: T) => number): number {
  return items.reduce((most, item) => Math.max(most, sizeOf(item)), 0);
}

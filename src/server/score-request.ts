// Scoring a request: its pairs in slices, through the turns of its model, and their results in the order of the answer.
import type { Reranker, RerankOptions } from "../index.js";
import type { Ticket } from "./admission.js";
import type { ScoredDocument } from "./answers.js";
import { snakeCase } from "./fields.js";
import { fromLibrary, HttpError } from "./http-error.js";
import { fitTexts } from "./lengths.js";
import { withReadEnds } from "./read-end.js";
import type { RerankRequest, Texts } from "./request.js";
import type { Lease } from "./served-models.js";
import type { Slice } from "./turns.js";

// One batch of the engine (native/engine.cpp): a slice fills about one.
const CPU_SLICE = 1024;
const OTHER_SLICE = 4096;
const BYTES_PER_TOKEN = 4;

export interface Scored {
  readonly results: readonly ScoredDocument[];
  /** Of all pairs, as the model read them. */
  readonly tokens: number;
  readonly truncated: number;
}

/**
 * What a request will cost, before anything is tokenised.
 *
 * @param maxLength - Tokens a pair is cut to; undefined: not known before the model is loaded.
 */
export function estimateTokens(request: RerankRequest, maxLength = 512): number {
  const limit = request.options.overflow === "chunk" ? Number.POSITIVE_INFINITY : (request.options.maxLength ?? maxLength);
  return request.documents.reduce((sum, _, i) => sum + estimatePair(request, i, limit), 0);
}

function estimatePair({ queries, documents }: Texts, i: number, limit: number): number {
  const bytes = Buffer.byteLength(queries[queries.length > 1 ? i : 0] ?? "") + Buffer.byteLength(documents[i] ?? "");
  return Math.min(limit, Math.ceil(bytes / BYTES_PER_TOKEN) + 4);
}

/** @throws {HttpError} What the caller or the model did wrong; the signal's reason. */
export async function scoreRequest(
  request: RerankRequest,
  lease: Lease,
  ticket: Ticket,
  signal: AbortSignal,
  onSlice: (tokens: number) => void,
): Promise<Scored> {
  const { turns } = lease;
  try {
    const reranker = request.instructions ? lease.reranker.withInstructions(request.instructions) : lease.reranker;
    const { texts, options, cut } = await fitTexts(request, reranker, signal);
    const slices = sliceRequest(request, texts, options, reranker, signal);
    const estimated = slices.reduce((sum, slice) => sum + slice.tokens, 0) || 1;
    const counted = slices.map((slice) => ({
      ...slice,
      run: async () => {
        onSlice(slice.tokens);
        const scored = await slice.run();
        ticket.done((slice.tokens / estimated) * ticket.tokens);
        return scored;
      },
    }));
    const scored = (await turns.run(counted, signal)).flat().map((each) => (cut.has(each.index) ? { ...each, truncated: true } : each));
    const combined = combine(request, scored);
    if (!request.returnDetails || options.overflow === "chunk" || request.truncationSide === "left") return combined;
    return { ...combined, results: await withReadEnds(combined.results, texts, options, reranker, signal) };
  } catch (error) {
    throw error === signal.reason ? error : fromLibrary(error, (option) => snakeCase(option));
  }
}

function combine(request: RerankRequest, scored: readonly ScoredDocument[]): Scored {
  if (scored.some(({ score }) => !Number.isFinite(score))) throw new HttpError(500, "A score is not a finite number");
  const pairwise = request.dialect === "score" || request.dialect === "tei-predict";
  const ordered = [...scored].sort((a, b) => (pairwise ? 0 : b.logit - a.logit) || a.index - b.index);
  return {
    results: ordered.filter(({ score }) => score >= (request.minScore ?? Number.NEGATIVE_INFINITY)).slice(0, request.topN),
    tokens: scored.reduce((sum, each) => sum + each.tokens, 0),
    truncated: scored.filter((each) => each.truncated).length,
  };
}

interface Item {
  readonly index: number;
  readonly query: string;
  readonly document: string;
}

function sliceRequest(
  request: RerankRequest,
  { queries, documents }: Texts,
  options: RerankOptions,
  reranker: Reranker,
  signal: AbortSignal,
): Slice<ScoredDocument[]>[] {
  const { model } = reranker;
  const items = documents.map((document, index): Item => ({ index, query: queries[queries.length > 1 ? index : 0] ?? "", document }));
  // A cascade ranks all documents against each other, and a refusal is to come before anything is computed.
  const whole = (options.cascade ?? []).length > 0 || options.overflow === "error";
  const most = whole ? Number.POSITIVE_INFINITY : model.device === "cpu" ? CPU_SLICE : OTHER_SLICE;
  const limit = options.overflow === "chunk" ? Number.POSITIVE_INFINITY : (options.maxLength ?? model.maxLength);
  const slices: { tokens: number; items: Item[] }[] = [];
  for (const item of items) {
    const tokens = estimatePair({ queries, documents }, item.index, limit);
    const last = slices.at(-1);
    if (last && last.tokens + tokens <= most) {
      last.tokens += tokens;
      last.items.push(item);
    } else slices.push({ tokens, items: [item] });
  }
  // Scores are 0 to 1 unless the body says otherwise: by the model's calibration, or else by the sigmoid.
  const normalize = request.normalize ?? (model.calibrated ? undefined : true);
  const callOptions = { ...options, normalize, signal, ...(whole && topNOf(request)) };
  return slices.map(({ tokens, items }) => ({ tokens, run: () => runSlice(items, callOptions, reranker) }));
}

/** A cascade refuses to return more documents than it keeps; without one the best are picked from all. */
function topNOf({ topN, documents, options }: RerankRequest): RerankOptions {
  return topN !== undefined && topN < documents.length && (options.cascade ?? []).length > 0 ? { topN } : {};
}

async function runSlice(items: readonly Item[], options: RerankOptions, reranker: Reranker): Promise<ScoredDocument[]> {
  const byQuery = groupByQuery(items);
  const groups = [...byQuery].map(async ([query, group]) => {
    const results = await reranker.rerank(
      query,
      group.map(({ document }) => document),
      options,
    );
    return results.map(({ document: _, ...result }): ScoredDocument => ({ ...result, index: group[result.index]?.index ?? result.index }));
  });
  return (await Promise.all(groups)).flat();
}

function groupByQuery(items: readonly Item[]): Map<string, Item[]> {
  const groups = new Map<string, Item[]>();
  for (const item of items) {
    const group = groups.get(item.query);
    if (group) group.push(item);
    else groups.set(item.query, [item]);
  }
  return groups;
}

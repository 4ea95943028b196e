// Scoring a request: its slices through the turns of its model, and their results in the order of the answer.
import { setMaxListeners } from "node:events";
import type { RerankOptions } from "../index.js";
import type { Ticket } from "./admission.js";
import type { ScoredDocument } from "./answers.js";
import { snakeCase } from "./fields.js";
import { fromLibrary, HttpError } from "./http-error.js";
import { fitTexts } from "./lengths.js";
import { withReadEnds } from "./read-end.js";
import type { RerankRequest } from "./request.js";
import type { Lease } from "./served-models.js";
import { sliceTexts } from "./slices.js";

export interface Scored {
  readonly results: readonly ScoredDocument[];
  /** Of all pairs, as the model read them. */
  readonly tokens: number;
  readonly truncated: number;
}

/**
 * @param onSlice - Called when a slice begins, and when it is done.
 * @throws {HttpError} What the caller or the model did wrong; the signal's reason.
 */
export async function scoreRequest(
  request: RerankRequest,
  lease: Lease,
  ticket: Ticket,
  signal: AbortSignal,
  onSlice: () => void,
): Promise<Scored> {
  const failing = new AbortController(); // a slice that fails ends the others
  const ending = AbortSignal.any([signal, failing.signal]);
  setMaxListeners(0, ending);
  try {
    const reranker = request.instructions ? lease.reranker.withInstructions(request.instructions) : lease.reranker;
    const { texts, options, cut } = await fitTexts(request, reranker, signal);
    // Scores are 0 to 1 unless the body says otherwise: by the model's calibration, or else by the sigmoid.
    const normalize = request.normalize === false ? false : reranker.model.calibrated ? undefined : true;
    const slices = sliceTexts(texts, { ...options, normalize, signal: ending, ...topNOf(request) }, reranker);
    const estimated = slices.reduce((sum, slice) => sum + slice.tokens, 0) || 1;
    const counted = slices.map(({ tokens, run }) => ({
      tokens,
      run: async () => {
        onSlice();
        const scored = await run();
        onSlice();
        ticket.done((tokens / estimated) * ticket.tokens);
        return scored;
      },
    }));
    const scored = (await lease.turns.run(counted, signal)).flat();
    const combined = combine(
      request,
      scored.map((each) => (cut.has(each.index) ? { ...each, truncated: true } : each)),
    );
    if (!request.returnDetails || options.overflow === "chunk" || request.truncationSide === "left") return combined;
    return { ...combined, results: await withReadEnds(combined.results, texts, options, reranker, signal) };
  } catch (error) {
    failing.abort();
    throw error === signal.reason ? error : fromLibrary(error, snakeCase);
  }
}

/** Pairs of different queries stand in the order given; documents of one query best first. */
function combine(request: RerankRequest, scored: readonly ScoredDocument[]): Scored {
  if (scored.some(({ score }) => !Number.isFinite(score))) throw new HttpError(500, "A score is not a finite number");
  const best = [...scored].sort((a, b) => b.logit - a.logit || a.index - b.index);
  const results = best.filter(({ score }) => score >= (request.minScore ?? Number.NEGATIVE_INFINITY)).slice(0, request.topN);
  const pairwise = request.dialect === "score" || request.dialect === "tei-predict";
  return {
    results: pairwise ? results.sort((a, b) => a.index - b.index) : results,
    tokens: scored.reduce((sum, each) => sum + each.tokens, 0),
    truncated: scored.filter((each) => each.truncated).length,
  };
}

/** A cascade refuses to return more documents than it keeps; without one the best are picked from all. */
function topNOf({ topN, documents, options }: RerankRequest): RerankOptions {
  return topN !== undefined && topN < documents.length && (options.cascade ?? []).length > 0 ? { topN } : {};
}

// How far logits are from others of the same pairs, and how well they rank.
import { evaluate } from "../../lib/index.js";
import { compareLogits, kendallTau } from "../statistics.mjs";

/** @returns Root mean square and largest difference, the first also in standard deviations of the reference's logits. */
export function errorOf(logits, reference) {
  const { rmsDelta, maxDelta, referenceSpread } = compareLogits(logits, reference);
  return { rms: rmsDelta, max: maxDelta, rmsOfSpread: rmsDelta / referenceSpread, spread: referenceSpread };
}

/** Kendall's tau of the order within a query, on average over the queries that have an order. */
export function orderOf(pairs, logits, reference) {
  const taus = [...byQuery(pairs).values()]
    .map((places) =>
      kendallTau(
        places.map((i) => logits[i]),
        places.map((i) => reference[i]),
      ),
    )
    .filter(Number.isFinite);
  return taus.length === 0 ? null : taus.reduce((sum, tau) => sum + tau, 0) / taus.length;
}

/** nDCG@10 over the judged queries; null where there are none. */
export function ndcgOf(pairs, logits) {
  const qrels = new Map(pairs.filter(({ qrels }) => qrels.size > 0).map(({ queryId, qrels }) => [queryId, qrels]));
  if (qrels.size === 0) return null;
  const run = new Map();
  for (const [query, places] of byQuery(pairs)) run.set(query, new Map(places.map((i) => [pairs[i].documentId, logits[i]])));
  return evaluate(run, qrels, { metrics: ["nDCG@10"] }).means["nDCG@10"];
}

function byQuery(pairs) {
  const places = new Map();
  for (const [i, { queryId }] of pairs.entries()) places.set(queryId, [...(places.get(queryId) ?? []), i]);
  return places;
}

// Isotonic regression: the curve that fits labelled logits best and never falls, by pooling adjacent violators.
import type { CalibrationCurve } from "../reranker/calibration.js";
import type { LabelledLogit } from "./thresholds.js";

interface Pool {
  readonly first: number;
  readonly last: number;
  readonly sum: number;
  readonly count: number;
}

/**
 * @returns The ends of each level stretch.
 * @see scikit-learn's IsotonicRegression, which pools equal logits first and draws lines between the points, as here.
 */
export function fitIsotonic(examples: readonly LabelledLogit[]): Extract<CalibrationCurve, { kind: "isotonic" }> {
  const pools: Pool[] = [];
  for (const pool of equalLogits(examples)) {
    let merged = pool;
    for (let before = pools.at(-1); before && before.sum / before.count >= merged.sum / merged.count; before = pools.at(-1)) {
      pools.pop();
      merged = { first: before.first, last: merged.last, sum: before.sum + merged.sum, count: before.count + merged.count };
    }
    pools.push(merged);
  }
  const ends = pools.flatMap(({ first, last, sum, count }) => {
    const score = sum / count;
    return first === last
      ? [{ logit: first, score }]
      : [
          { logit: first, score },
          { logit: last, score },
        ];
  });
  return { kind: "isotonic", logits: ends.map(({ logit }) => logit), scores: ends.map(({ score }) => score) };
}

function equalLogits(examples: readonly LabelledLogit[]): Pool[] {
  const pools: Pool[] = [];
  for (const { logit, relevant } of [...examples].sort((a, b) => a.logit - b.logit)) {
    const last = pools.at(-1);
    const label = relevant ? 1 : 0;
    if (last?.first === logit) pools[pools.length - 1] = { ...last, sum: last.sum + label, count: last.count + 1 };
    else pools.push({ first: logit, last: logit, sum: label, count: 1 });
  }
  return pools;
}

// Judged pairs by their logits: what each threshold lets through.

/** A judged pair, scored. */
export interface LabelledLogit {
  readonly logit: number;
  readonly relevant: boolean;
}

/** One step of a precision-recall curve: all pairs at or above a logit. */
export interface ThresholdFigures {
  readonly logit: number;
  readonly precision: number;
  readonly recall: number;
  readonly pairs: number;
}

/** Precision and recall over every threshold that makes a difference, from the highest logit down. */
export function thresholdFigures(examples: readonly LabelledLogit[]): ThresholdFigures[] {
  const sorted = [...examples].sort((a, b) => b.logit - a.logit);
  const relevantCount = sorted.filter(({ relevant }) => relevant).length;
  const figures: ThresholdFigures[] = [];
  let found = 0;
  for (const [i, { logit, relevant }] of sorted.entries()) {
    if (relevant) found++;
    if (sorted[i + 1]?.logit === logit) continue; // equal logits fall on one side together
    figures.push({ logit, precision: found / (i + 1), recall: found / relevantCount, pairs: i + 1 });
  }
  return figures;
}

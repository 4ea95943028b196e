// The report of `calibrate`.
import { type Calibration, calibratedScore, type LabelledLogit } from "../../index.js";
import { formatNumber } from "./page.js";
import type { Report, Section } from "./report.js";
import { distributionSection, percent, thresholdSection } from "./scores.js";

const GROUPS = 10; // of scores, each a tenth wide

export function calibrateReport(calibration: Calibration, examples: readonly LabelledLogit[]): Report {
  const { model, cutoffLayer, compressRatio, threshold, wantedPrecision, pairs, relevantPairs } = calibration;
  const chosen = threshold && { score: threshold.logit, precision: threshold.precision, recall: threshold.recall };
  return {
    title: `Calibration of ${model ?? "a model without a name"}`,
    facts: [
      ["pairs", `${pairs}, of which ${relevantPairs} relevant`],
      ...(cutoffLayer === null ? [] : [["cutoff layer", String(cutoffLayer)] as const]),
      ...(compressRatio === null ? [] : [["compress ratio", String(compressRatio)] as const]),
      ["wanted precision", percent(wantedPrecision)],
      ["threshold", threshold ? `score ${formatNumber(threshold.score)}, logit ${formatNumber(threshold.logit)}` : "none is good enough"],
      ...(threshold ? [["found above it", `${percent(threshold.recall)} of the relevant pairs`] as const] : []),
    ],
    sections: [
      distributionSection(examples, threshold?.logit ?? null, "logit"),
      thresholdSection(examples, chosen, wantedPrecision, "logit"),
      reliabilitySection(calibration, examples),
    ],
  };
}

function reliabilitySection(calibration: Calibration, examples: readonly LabelledLogit[]): Section {
  const groups = Array.from({ length: GROUPS }, () => ({ score: 0, relevant: 0, pairs: 0 }));
  for (const { logit, relevant } of examples) {
    const score = calibratedScore(calibration, logit);
    const group = groups[Math.min(GROUPS - 1, Math.floor(score * GROUPS))] as { score: number; relevant: number; pairs: number };
    group.score += score;
    group.relevant += relevant ? 1 : 0;
    group.pairs++;
  }
  return {
    heading: "Whether scores are probabilities",
    note: "Pairs in groups of like scores, larger dots for more of them: on the dashed line, as many are relevant as the score says. These are the pairs that the calibration was made from; others may lie farther off.",
    chart: {
      kind: "reliability",
      bins: groups
        .filter(({ pairs }) => pairs > 0)
        .map(({ score, relevant, pairs }) => ({ score: score / pairs, relevant: relevant / pairs, pairs })),
    },
  };
}

// Sections on scores of judged pairs, for the reports of `eval` and `calibrate`.
import { type LabelledLogit, type ThresholdFigures, thresholdFigures } from "../../index.js";
import type { Bin, Section, Step } from "./report.js";

const BINS = 48;
const MOST_STEPS = 400; // of a curve: more cannot be told apart

/** @param threshold - Marked, where there is one. @param x - What the scores are: logits or scores from 0 to 1. */
export function distributionSection(examples: readonly LabelledLogit[], threshold: number | null, x: string): Section {
  const relevant = examples.filter((example) => example.relevant).length;
  return {
    heading: "Scores of relevant documents and of the others",
    note: `${relevant} relevant pairs and ${examples.length - relevant} others, each kind as parts of its own. The less the two overlap, the better a threshold separates them.`,
    chart: { kind: "distribution", x, bins: binsOf(examples), threshold },
  };
}

export function binsOf(examples: readonly LabelledLogit[]): Bin[] {
  const [low, high] = examples.reduce(
    ([least, most], { logit }) => [Math.min(least, logit), Math.max(most, logit)],
    [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
  );
  const width = (high - low) / BINS || 1;
  const bins = Array.from({ length: BINS }, (_, i) => ({ from: low + i * width, to: low + (i + 1) * width, relevant: 0, others: 0 }));
  for (const { logit, relevant } of examples) {
    const bin = bins[Math.min(BINS - 1, Math.floor((logit - low) / width))] as { relevant: number; others: number };
    bin[relevant ? "relevant" : "others"]++;
  }
  return bins;
}

/** @param chosen - The threshold to mark; null: none is good enough. */
export function thresholdSection(examples: readonly LabelledLogit[], chosen: Step | null, wanted: number, x: string): Section {
  const figures = thresholdFigures(examples);
  return {
    heading: "Precision and recall over thresholds",
    note: chosen
      ? `The marked threshold is the lowest with a precision of ${percent(wanted)}: it finds most.`
      : `No threshold reaches a precision of ${percent(wanted)} on these pairs.`,
    chart: { kind: "thresholds", x, steps: thin(figures).map(stepOf), chosen },
  };
}

/** The lowest threshold of a precision. */
export function chooseStep(examples: readonly LabelledLogit[], precision: number): Step | null {
  const found = thresholdFigures(examples).findLast((figures) => figures.precision >= precision && figures.recall > 0);
  return found ? stepOf(found) : null;
}

function stepOf({ logit, precision, recall }: ThresholdFigures): Step {
  return { score: logit, precision, recall };
}

function thin<T>(steps: readonly T[]): readonly T[] {
  if (steps.length <= MOST_STEPS) return steps;
  return Array.from({ length: MOST_STEPS }, (_, i) => steps[Math.round((i * (steps.length - 1)) / (MOST_STEPS - 1))] as T);
}

export function percent(part: number): string {
  return `${Number((100 * part).toFixed(1))}%`;
}

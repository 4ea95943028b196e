// Platt scaling: the sigmoid that fits labelled logits best, by Newton's method with backtracking.
import type { CalibrationCurve } from "../reranker/calibration.js";
import type { LabelledLogit } from "./thresholds.js";

const MAX_STEPS = 100;
const MIN_STEP = 1e-10;
const RIDGE = 1e-12;
const ENOUGH = 1e-8; // of the gradient, on logits scaled to about 1

/**
 * @returns A slope of at least 0: where the fit would fall, scores say nothing about relevance, and the curve is level.
 * @see Lin, Lin and Weng, A Note on Platt's Probabilistic Outputs for Support Vector Machines (2007), algorithm 1: labels are
 *   pulled in from 0 and 1 by the number of pairs, so that separable pairs have a fit too.
 */
export function fitPlatt(examples: readonly LabelledLogit[]): Extract<CalibrationCurve, { kind: "platt" }> {
  const relevantCount = examples.filter(({ relevant }) => relevant).length;
  const otherCount = examples.length - relevantCount;
  const high = (relevantCount + 1) / (relevantCount + 2);
  const low = 1 / (otherCount + 2);
  const scale = examples.reduce((most, { logit }) => Math.max(most, Math.abs(logit)), 1);
  const points = examples.map(({ logit, relevant }) => ({ x: logit / scale, target: relevant ? high : low }));
  const fit = minimize(points, Math.log((relevantCount + 1) / (otherCount + 1)));
  if (fit.slope > 0) return { kind: "platt", slope: fit.slope / scale, intercept: fit.intercept };
  const mean = points.reduce((sum, { target }) => sum + target, 0) / points.length;
  return { kind: "platt", slope: 0, intercept: Math.log(mean / (1 - mean)) };
}

interface Point {
  readonly x: number;
  readonly target: number;
}

interface Line {
  readonly slope: number;
  readonly intercept: number;
}

function minimize(points: readonly Point[], intercept: number): Line {
  let line: Line = { slope: 0, intercept };
  let loss = lossOf(points, line);
  for (let step = 0; step < MAX_STEPS; step++) {
    const { gradient, direction } = newton(points, line);
    if (Math.abs(gradient.slope) < ENOUGH && Math.abs(gradient.intercept) < ENOUGH) break;
    const descent = gradient.slope * direction.slope + gradient.intercept * direction.intercept;
    let size = 1;
    for (; size >= MIN_STEP; size /= 2) {
      const next = { slope: line.slope + size * direction.slope, intercept: line.intercept + size * direction.intercept };
      const nextLoss = lossOf(points, next);
      if (nextLoss >= loss + 1e-4 * size * descent) continue;
      line = next;
      loss = nextLoss;
      break;
    }
    if (size < MIN_STEP) break;
  }
  return line;
}

function newton(points: readonly Point[], line: Line): { gradient: Line; direction: Line } {
  let [gs, gi, ss, si, ii] = [0, 0, RIDGE, 0, RIDGE];
  for (const { x, target } of points) {
    const p = 1 / (1 + Math.exp(-(line.slope * x + line.intercept)));
    const weight = p * (1 - p);
    gs += (p - target) * x;
    gi += p - target;
    ss += weight * x * x;
    si += weight * x;
    ii += weight;
  }
  const determinant = ss * ii - si * si;
  const direction = { slope: -(ii * gs - si * gi) / determinant, intercept: -(ss * gi - si * gs) / determinant };
  return { gradient: { slope: gs, intercept: gi }, direction };
}

/** Cross entropy, written so that large logits do not overflow. */
function lossOf(points: readonly Point[], { slope, intercept }: Line): number {
  return points.reduce((sum, { x, target }) => {
    const z = slope * x + intercept;
    return sum + (z >= 0 ? (1 - target) * z + Math.log1p(Math.exp(-z)) : -target * z + Math.log1p(Math.exp(z)));
  }, 0);
}

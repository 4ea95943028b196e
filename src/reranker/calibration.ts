// Calibrations: what a model's logits mean on somebody's own data. Made by eval/calibrate.ts, applied to every score here.
import { show } from "../checks.js";
import { shown } from "../errors.js";

/** From a logit to the probability that a document is relevant; never falls as the logit grows. */
export type CalibrationCurve =
  /** sigmoid(slope · logit + intercept). */
  | { readonly kind: "platt"; readonly slope: number; readonly intercept: number }
  /** Lines between points, level beyond the first and last; both ascending, of equal length. */
  | { readonly kind: "isotonic"; readonly logits: readonly number[]; readonly scores: readonly number[] };

/** A calibration as `calibrate` makes it: plain JSON, a few hundred bytes to a few kilobytes. */
export interface Calibration {
  readonly format: "bge-reranker-calibration";
  readonly version: 1;
  /** The model it was made with; null when its file has no name. */
  readonly model: string | null;
  /** Cutoff layer and compress ratio it was made with; null where the model has none. */
  readonly cutoffLayer: number | null;
  readonly compressRatio: number | null;
  readonly curve: CalibrationCurve;
  /** null: no threshold reaches the wanted precision. */
  readonly threshold: CalibrationThreshold | null;
  readonly wantedPrecision: number;
  /** What it was made from. */
  readonly pairs: number;
  readonly relevantPairs: number;
}

/** The lowest logit whose documents, and all better ones, have the wanted precision. Figures are of the pairs it was made from. */
export interface CalibrationThreshold {
  readonly logit: number;
  /** The calibrated score of that logit. */
  readonly score: number;
  readonly precision: number;
  readonly recall: number;
  /** Pairs at or above it. */
  readonly pairs: number;
}

/** The probability that a document with this logit is relevant. */
export function calibratedScore({ curve }: Pick<Calibration, "curve">, logit: number): number {
  return curve.kind === "platt" ? 1 / (1 + Math.exp(-(curve.slope * logit + curve.intercept))) : interpolate(curve, logit);
}

function interpolate({ logits, scores }: Extract<CalibrationCurve, { kind: "isotonic" }>, logit: number): number {
  let low = 0;
  let high = logits.length - 1;
  if (logit <= (logits[low] as number)) return scores[low] as number;
  if (logit >= (logits[high] as number)) return scores[high] as number;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((logits[middle] as number) <= logit) low = middle;
    else high = middle;
  }
  const part = (logit - (logits[low] as number)) / ((logits[high] as number) - (logits[low] as number));
  return (scores[low] as number) + part * ((scores[high] as number) - (scores[low] as number));
}

/**
 * Checks what was read from a calibration file.
 *
 * @throws {TypeError} It is no calibration of this version; the message names the field.
 */
export function parseCalibration(value: unknown): Calibration {
  const fault = faultOf(value);
  if (fault !== undefined) throw new TypeError(`Expected \`calibration\` to be what calibrate() makes: ${fault}`);
  return value as Calibration;
}

function faultOf(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null) return `got \`${show(value)}\``;
  const given = value as Partial<Record<keyof Calibration, unknown>>;
  if (given.format !== "bge-reranker-calibration") return `its \`format\` is ${shown(given.format)}`;
  if (given.version !== 1) return `its \`version\` is ${shown(given.version)}, and this release reads 1`;
  if (given.model !== null && typeof given.model !== "string") return "its `model` is neither a name nor null";
  for (const key of ["cutoffLayer", "compressRatio"] as const) {
    if (given[key] !== null && !Number.isInteger(given[key])) return `its \`${key}\` is neither an integer nor null`;
  }
  return curveFault(given.curve) ?? thresholdFault(given.threshold);
}

function curveFault(value: unknown): string | undefined {
  const curve = (value ?? {}) as { kind?: unknown; slope?: unknown; intercept?: unknown; logits?: unknown; scores?: unknown };
  if (curve.kind === "platt") {
    const sound = Number.isFinite(curve.slope) && (curve.slope as number) >= 0 && Number.isFinite(curve.intercept);
    return sound ? undefined : "its curve needs a `slope` of at least 0 and an `intercept`";
  }
  if (curve.kind !== "isotonic") return `its curve is of the kind ${shown(curve.kind)}`;
  const { logits, scores } = curve;
  if (!ascends(logits, true) || !ascends(scores, false)) return "the `logits` and `scores` of its curve do not ascend";
  if (logits.length !== scores.length) return "the `logits` and `scores` of its curve differ in number";
  return (scores[0] as number) >= 0 && (scores.at(-1) as number) <= 1 ? undefined : "the `scores` of its curve are not from 0 to 1";
}

function ascends(value: unknown, strictly: boolean): value is readonly number[] {
  if (!Array.isArray(value) || value.length === 0 || !value.every(Number.isFinite)) return false;
  return value.every((each, i) => i === 0 || (strictly ? each > value[i - 1] : each >= value[i - 1]));
}

function thresholdFault(value: unknown): string | undefined {
  if (value === null) return undefined;
  const logit = (value as { logit?: unknown } | undefined)?.logit;
  return Number.isFinite(logit) ? undefined : "its `threshold` is neither null nor has a `logit`";
}

/** What scores of a call depend on, beside the texts. */
export interface CalibratedCall {
  readonly model: string | null;
  readonly cutoffLayer: number | null;
  readonly compressRatio: number | null;
}

/** @throws {RangeError} The calibration was made with another model, layer or ratio, whose logits mean something else. */
export function throwIfForeignCalibration(calibration: Calibration, call: CalibratedCall): void {
  for (const key of ["model", "cutoffLayer", "compressRatio"] as const) {
    const [made, used] = [calibration[key], call[key]];
    if (made === used || (key === "model" && (made === null || used === null))) continue;
    throw new RangeError(`The calibration was made with ${key} ${shown(made)}, and this call has ${shown(used)}: calibrate for it`);
  }
}

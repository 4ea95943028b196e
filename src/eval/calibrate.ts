// Calibration of a reranker from labelled pairs: a threshold for a wanted precision, and a curve from logits to probabilities.
import { abortSignal, callback, checkOptions, fraction, oneOf, show } from "../checks.js";
import { type Calibration, type CalibrationThreshold, calibratedScore } from "../reranker/calibration.js";
import type { ScoreOptions } from "../reranker/options.js";
import type { Reranker } from "../reranker/reranker.js";
import type { Progress } from "../sources/progress.js";
import { fitIsotonic } from "./isotonic.js";
import { fitPlatt } from "./platt.js";
import { type LabelledLogit, thresholdFigures } from "./thresholds.js";

/** A pair that somebody has judged. */
export interface LabelledPair {
  readonly query: string;
  readonly document: string;
  readonly relevant: boolean;
}

export interface FitOptions {
  /**
   * Of the documents at or above the threshold, the part that shall be relevant, above 0 to 1.
   * @default 0.9
   */
  readonly precision?: number | undefined;
  /**
   * `"platt"` fits a sigmoid, which a few dozen pairs suffice for; `"isotonic"` any curve that does not fall, for a thousand pairs
   * or more.
   * @default "platt"
   */
  readonly method?: "platt" | "isotonic" | undefined;
}

export interface CalibrateOptions extends FitOptions {
  /** How the pairs are scored, as in the calls that the calibration is for: `cutoffLayers`, `compressRatio`, `maxLength` ... */
  readonly scoring?: Omit<ScoreOptions, "normalize" | "calibration" | "signal" | "onProgress"> | undefined;
  /** Called with the logits, in the order of the pairs, once all are scored: what plots and other fits are made of. */
  readonly onScored?: ((examples: readonly LabelledLogit[]) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** What a calibration says of where it comes from. */
export type CalibrationSource = Pick<Calibration, "model" | "cutoffLayer" | "compressRatio">;

/**
 * Scores labelled pairs and fits a calibration for calls with the same options. Keep it as JSON; give it to `rerank`,
 * `computeScore` or `load` as `calibration`.
 *
 * @example
 * const calibration = await calibrate(reranker, pairs, { precision: 0.95 });
 * if (!calibration.threshold) console.log("no threshold separates these pairs so well");
 * await writeFile("calibration.json", JSON.stringify(calibration));
 *
 * @throws {RangeError} Fewer than two pairs, or all of them relevant, or none.
 */
export async function calibrate(reranker: Reranker, pairs: readonly LabelledPair[], options: CalibrateOptions = {}): Promise<Calibration> {
  const { scoring, signal, onProgress, onScored, ...fit } = options;
  checkFit(options);
  const relevant = pairs.map((pair, i) => labelOf(pair, i));
  throwIfOneSided(relevant);
  const texts = pairs.map(({ query, document }) => [query, document] as const);
  const source = reranker.calibratedCall({ ...scoring });
  const logits = await reranker.computeScore(texts, { ...scoring, normalize: false, signal, onProgress });
  if (typeof logits[0] !== "number") throw new RangeError("A calibration is of one cutoff layer: name one in `scoring.cutoffLayers`");
  const examples = (logits as number[]).map((logit, i) => ({ logit, relevant: relevant[i] === true }));
  onScored?.(examples);
  return fitCalibration(examples, fit, source);
}

/**
 * Fits a calibration to pairs that were scored before.
 *
 * @param examples - Logits, not normalized scores.
 * @param source - The model, and its cutoff layer and compress ratio, that the logits are of.
 * @throws {RangeError} Fewer than two pairs, all of them relevant, or none; a logit that is no finite number.
 */
export function fitCalibration(
  examples: readonly LabelledLogit[],
  options: FitOptions = {},
  source: CalibrationSource = { model: null, cutoffLayer: null, compressRatio: null },
): Calibration {
  checkFit(options);
  const { precision = 0.9, method = "platt" } = options;
  throwIfOneSided(examples.map(({ relevant }) => relevant));
  for (const { logit } of examples) {
    if (!Number.isFinite(logit)) throw new RangeError(`Expected logits to be finite numbers, got \`${show(logit)}\``);
  }
  const curve = method === "platt" ? fitPlatt(examples) : fitIsotonic(examples);
  const threshold = findThreshold(examples, precision);
  return {
    format: "bge-reranker-calibration",
    version: 1,
    ...source,
    curve,
    threshold: threshold && { ...threshold, score: calibratedScore({ curve }, threshold.logit) },
    wantedPrecision: precision,
    pairs: examples.length,
    relevantPairs: examples.filter(({ relevant }) => relevant).length,
  };
}

const checks = {
  precision: fraction(Number.MIN_VALUE, 1 + Number.EPSILON),
  method: oneOf("platt", "isotonic"),
  scoring: () => {},
  onScored: callback,
  signal: abortSignal,
  onProgress: callback,
} as const satisfies Record<keyof CalibrateOptions, unknown>;

function checkFit(options: CalibrateOptions): void {
  checkOptions("calibrate", options, checks, () => undefined);
}

function labelOf(pair: LabelledPair, i: number): boolean {
  if (typeof pair?.query === "string" && typeof pair.document === "string" && typeof pair.relevant === "boolean") return pair.relevant;
  throw new TypeError(`Expected pair ${i} to be { query, document, relevant }, two strings and true or false, got \`${show(pair)}\``);
}

function throwIfOneSided(relevant: readonly boolean[]): void {
  const count = relevant.filter(Boolean).length;
  if (count > 0 && count < relevant.length) return;
  throw new RangeError(`Calibrating needs relevant pairs and others, got ${count} relevant of ${relevant.length}`);
}

/** The lowest threshold of the wanted precision: the one that finds most. */
function findThreshold(examples: readonly LabelledLogit[], precision: number): Omit<CalibrationThreshold, "score"> | null {
  return thresholdFigures(examples).findLast((each) => each.precision >= precision && each.recall > 0) ?? null;
}

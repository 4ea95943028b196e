// The one place that decides what an option is for a loaded model. Which value wins: the call's, then the one given at load,
// then the GGUF's metadata, then the profile's default.

import { show } from "../checks.js";
import type { ModelFacts } from "../gguf/model-facts.js";
import { type ClassOption, profiles, type Truncation } from "../models/index.js";
import type { Progress } from "../sources/progress.js";
import { type CalibratedCall, type Calibration, throwIfForeignCalibration } from "./calibration.js";
import type { TextSource } from "./documents.js";
import {
  type CascadeStage,
  CLASS_NAMES,
  checkEncodeOptions,
  checkRerankOptions,
  checkScoreOptions,
  type EncodeOptions,
  type LoadOptions,
  type RerankOptions,
  type ScoreOptions,
} from "./options.js";

/** Of the query alone. */
const NO_LIMIT = 2 ** 31 - 1;

/** Options of one call, decided. */
export interface ScoreSettings {
  readonly maxLength: number;
  readonly queryMaxLength: number;
  readonly truncation: Truncation;
  readonly prompt: string;
  /** null: none. */
  readonly instruction: string | null;
  readonly parseSpecialTokens: boolean;
  readonly normalize: boolean;
  readonly calibration: Calibration | undefined;
  readonly batchSize: number;
  /** 0: chosen by the engine. */
  readonly maxBatchTokens: number;
  /** Ascending, each with the row of the head matrix that scores it; empty for models without cutoffs. */
  readonly cutoffs: readonly { readonly layer: number; readonly head: number }[];
  readonly headSelection: "rank" | "layer";
  readonly compressLayers: readonly number[];
  readonly compressRatio: number;
  readonly attentionSoftcap: boolean;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
}

export interface RerankSettings extends ScoreSettings {
  readonly topN: number;
  readonly minScore: number;
  readonly overflow: "truncate" | "chunk" | "window" | "error";
  readonly maxChunks: number;
  readonly chunkOverlap: number;
  readonly windowOverlap: number;
  readonly cascade: readonly CascadeStage[];
}

/** The settings of a `computeScore` call. */
export function resolveScoreOptions(facts: ModelFacts, atLoad: LoadOptions, options: ScoreOptions): ScoreSettings {
  checkScoreOptions(options);
  return decideScore(facts, atLoad, options);
}

/** The settings of an `encodePair` call. */
export function resolveEncodeOptions(facts: ModelFacts, atLoad: LoadOptions, options: EncodeOptions): ScoreSettings {
  checkEncodeOptions(options);
  return decideScore(facts, atLoad, options);
}

/** The settings of a `rerank` call. */
export function resolveRerankOptions(facts: ModelFacts, atLoad: LoadOptions, options: RerankOptions & TextSource): RerankSettings {
  checkRerankOptions(options);
  throwIfForeign(facts, { cascade: options.cascade });
  const score = decideScore(facts, atLoad, options);
  if (score.cutoffs.length > 1) {
    throw new RangeError(
      `rerank() ranks by one layer, got cutoffLayers \`${show(score.cutoffs.map(({ layer }) => layer))}\`; computeScore() gives the scores of several`,
    );
  }
  const cascade = (options.cascade ?? []).map(({ layer, keep }) => ({ layer, keep })); // the caller's may change while we wait
  const topN = options.topN ?? Number.POSITIVE_INFINITY;
  if (cascade.length > 0 && (options.overflow === "chunk" || options.overflow === "window")) {
    throw new RangeError(`\`cascade\` and \`overflow: "${options.overflow}"\` do not combine: a cascade keeps documents, not windows`);
  }
  if (options.overflow === "window" && facts.layout.kind !== "pair") {
    throw new TypeError(`\`overflow: "window"\` is for encoders; this model is a ${CLASS_NAMES[facts.class]}: use "chunk"`);
  }
  throwIfCascadeDoesNotFit(facts, cascade, score.cutoffs[0]?.layer ?? 0, options.topN ?? 0);
  return {
    ...score,
    topN,
    minScore: options.minScore ?? Number.NEGATIVE_INFINITY,
    overflow: options.overflow ?? "truncate",
    maxChunks: options.maxChunks ?? (options.overflow === "window" ? 4096 : 32),
    chunkOverlap: options.chunkOverlap ?? 0.125,
    windowOverlap: options.windowOverlap ?? 80,
    cascade,
  };
}

/** Decides each option: the call's, the one given at load, the file's, the profile's. */
function decideScore(facts: ModelFacts, atLoad: LoadOptions, options: ScoreOptions): ScoreSettings {
  throwIfForeign(facts, options);
  const maxLength = withinPositions(facts, options.maxLength ?? atLoad.maxLength ?? facts.defaults.maxLength);
  const truncation = options.truncation ?? atLoad.truncation ?? facts.defaults.truncation;
  throwIfBeyondPositions(facts, maxLength);
  if (truncation === "longest_first") throwIfNoRoom(facts, maxLength);
  const headSelection = options.headSelection ?? atLoad.headSelection ?? facts.headSelection;
  const cutoffs = decideCutoffs(facts, headSelection, options.cutoffLayers ?? atLoad.cutoffLayers);
  const compressRatio = options.compressRatio ?? atLoad.compressRatio ?? 1;
  const calibration = decideCalibration(atLoad, options);
  if (calibration) throwIfCalibrationDoesNotFit(facts, calibration, { cutoffs, compressRatio });
  return {
    maxLength,
    queryMaxLength:
      options.queryMaxLength ?? atLoad.queryMaxLength ?? (truncation === "longest_first" ? NO_LIMIT : Math.floor((3 * maxLength) / 4)),
    truncation,
    instruction: options.instruction ?? atLoad.instruction ?? facts.defaults.instruction,
    prompt: options.prompt ?? atLoad.prompt ?? facts.defaults.prompt ?? "",
    parseSpecialTokens: options.parseSpecialTokens ?? atLoad.parseSpecialTokens ?? facts.defaults.parseSpecialTokens,
    normalize: calibration ? false : (options.normalize ?? atLoad.normalize ?? false),
    calibration,
    batchSize: options.batchSize ?? atLoad.batchSize ?? facts.defaults.batchSize,
    maxBatchTokens: options.maxBatchTokens ?? atLoad.maxBatchTokens ?? 0,
    cutoffs,
    headSelection,
    compressRatio,
    compressLayers: compressRatio === 1 ? [] : decideCompressLayers(facts, atLoad, options, cutoffs.at(-1)?.layer ?? 0),
    attentionSoftcap: options.attentionSoftcap ?? atLoad.attentionSoftcap ?? facts.defaults.attentionSoftcap,
    signal: options.signal ?? undefined,
    onProgress: options.onProgress ?? undefined,
  };
}

/** Where the frame comes on top, the whole is kept within the model's positions. Source: mxbai_rerank_v2.py, prepare_predefined_inputs. */
function withinPositions({ layout, contextLength, separatorIds, promptIds }: ModelFacts, maxLength: number): number {
  if (layout.kind !== "prompt" || !layout.frameOnTop) return maxLength;
  const frame = layout.bos.length + (separatorIds?.length ?? 0) + (promptIds?.length ?? 0);
  return Math.max(1, Math.min(maxLength, contextLength - frame));
}

/** Told when options are resolved, not by the first document that is long enough. */
function throwIfBeyondPositions({ positions }: ModelFacts, maxLength: number): void {
  if (positions === null || maxLength <= positions) return;
  throw new RangeError(`Expected \`maxLength\` to be at most ${positions}, the positions that the model has, got \`${maxLength}\``);
}

/** As the fast tokenizers refuse it, which cut nothing then. */
function throwIfNoRoom({ layout }: ModelFacts, maxLength: number): void {
  const specials = layout.kind === "pair" ? layout.before.length + layout.between.length + layout.after.length : 0;
  if (maxLength > specials) return;
  throw new RangeError(`Expected \`maxLength\` to be above ${specials}, the special tokens of a pair, got \`${maxLength}\``);
}

/** A call that asks for logits gets them, whatever was given at load. */
function decideCalibration(atLoad: LoadOptions, options: ScoreOptions): Calibration | undefined {
  return options.normalize === false ? undefined : (options.calibration ?? atLoad.calibration ?? undefined);
}

/** What the logits of a call depend on. */
export function calibratedCall(facts: ModelFacts, settings: Pick<ScoreSettings, "cutoffs" | "compressRatio">): CalibratedCall {
  return {
    model: facts.name,
    cutoffLayer: settings.cutoffs.at(-1)?.layer ?? null,
    compressRatio: facts.options.includes("compressRatio") ? settings.compressRatio : null,
  };
}

function throwIfCalibrationDoesNotFit(
  facts: ModelFacts,
  calibration: Calibration,
  settings: Pick<ScoreSettings, "cutoffs" | "compressRatio">,
): void {
  if (settings.cutoffs.length > 1) throw new RangeError("A calibration is of one cutoff layer: ask for the scores of that layer alone");
  throwIfForeignCalibration(calibration, calibratedCall(facts, settings));
}

function decideCutoffs(
  facts: ModelFacts,
  headSelection: "rank" | "layer",
  given: number | readonly number[] | null | undefined,
): ScoreSettings["cutoffs"] {
  const last = facts.cutoffLayers.at(-1);
  if (last === undefined) return [];
  const asked = given ?? last;
  const layers = ascending(asked);
  if (layers.length === 0 || layers.some((layer) => !facts.cutoffLayers.includes(layer))) {
    throw new RangeError(`Expected \`cutoffLayers\` to be ${describeCutoffs(facts)}, got \`${show(asked)}\``);
  }
  return layers.map((layer, rank) => ({ layer, head: headOf(facts, headSelection, layer, rank) }));
}

/** Row of the head matrix for a cutoff. */
export function headOf(facts: ModelFacts, select: "rank" | "layer", layer: number, rank: number): number {
  if (facts.scoreHeadCount === 1) return 0; // one head shared by every layer
  return select === "rank" ? rank : facts.cutoffLayers.indexOf(layer);
}

function decideCompressLayers(facts: ModelFacts, atLoad: LoadOptions, options: ScoreOptions, lastCutoff: number): readonly number[] {
  const asked = options.compressLayers ?? options.compressLayer ?? atLoad.compressLayers ?? atLoad.compressLayer;
  const layers = ascending(asked ?? [8]);
  if (asked && layers.some((layer) => layer < 0 || layer > facts.layerCount)) {
    throw new RangeError(`Expected \`compressLayers\` to be integers from 0 to ${facts.layerCount}, got \`${show(asked)}\``);
  }
  return layers.filter((layer) => layer > 0 && layer < lastCutoff);
}

function ascending(layers: number | readonly number[]): readonly number[] {
  return [...new Set(typeof layers === "number" ? [layers] : layers)].sort((a, b) => a - b);
}

function describeCutoffs(facts: ModelFacts): string {
  const [first, second] = facts.cutoffLayers;
  const step = (second ?? 0) - (first ?? 0);
  return `integers from ${first} to ${facts.cutoffLayers.at(-1)}${step > 1 ? ` in steps of ${step}` : ""}`;
}

function throwIfCascadeDoesNotFit(facts: ModelFacts, cascade: readonly CascadeStage[], lastLayer: number, topN: number): void {
  let before: CascadeStage = { layer: 0, keep: Number.POSITIVE_INFINITY };
  for (const stage of cascade) {
    const got = `got \`${show(cascade)}\``;
    if (!facts.cutoffLayers.includes(stage.layer))
      throw new RangeError(`Expected \`cascade\` layers to be ${describeCutoffs(facts)}, ${got}`);
    if (stage.layer <= before.layer || stage.layer >= lastLayer) {
      throw new RangeError(`Expected \`cascade\` layers to ascend and to lie below the last cutoff, ${lastLayer}, ${got}`);
    }
    if (stage.keep > before.keep) throw new RangeError(`Expected \`cascade\` to keep fewer documents at each stage, ${got}`);
    before = stage;
  }
  if (topN > before.keep) {
    throw new RangeError(`Expected \`topN\` to be at most ${before.keep}, what the cascade keeps, got \`${topN}\``);
  }
}

/** An option that the loaded class does not have is an error: ignoring it would give scores nobody asked for. */
export function throwIfForeign(facts: ModelFacts, options: LoadOptions & Pick<RerankOptions, "cascade">): void {
  const given = new Map<ClassOption, unknown>([
    ["prompt", options.prompt],
    ["instruction", options.instruction],
    ["cutoffLayers", options.cutoffLayers ?? options.maxLayer],
    ["compressLayers", options.compressLayers ?? options.compressLayer],
    ["compressRatio", options.compressRatio],
    ["headSelection", options.headSelection],
    ["attentionSoftcap", options.attentionSoftcap],
    ["cascade", options.cascade],
  ]);
  for (const [name, value] of given) {
    if (value === undefined || value === null || facts.options.includes(name)) continue;
    const shown = name === "cutoffLayers" && (options.cutoffLayers ?? null) === null ? "maxLayer" : name;
    throw new TypeError(
      `\`${shown}\` is an option of ${classesWith(name)}; this model is a ${CLASS_NAMES[facts.class]}, got \`${show(value)}\``,
    );
  }
  if ((options.queryMaxLength ?? null) !== null && facts.template) {
    throw new TypeError(
      `\`queryMaxLength\` is no option of models with a chat template, which cut the end of the whole, got \`${options.queryMaxLength}\``,
    );
  }
  if ((options.truncation ?? null) !== null && facts.layout.kind !== "pair") {
    throw new TypeError(
      `\`truncation\` is an option of encoders; this model, a ${CLASS_NAMES[facts.class]}, cuts ${facts.template ? "the end of the whole" : "the document"}`,
    );
  }
  const decoderOnly = options.useBf16 ? "useBf16" : typeof options.peftPath === "string" ? "peftPath" : undefined;
  if (decoderOnly && facts.class === "encoder-only-base") {
    throw new TypeError(`\`${decoderOnly}\` is an option of ${classesWith("prompt")}; this model is a ${CLASS_NAMES[facts.class]}`);
  }
}

function classesWith(option: ClassOption): string {
  if (option === "instruction") return "Qwen3-Reranker and mxbai-rerank v2";
  const forms = profiles.flatMap((profile) => profile.forms ?? [profile]).filter((form) => form.options.includes(option));
  const classes = [...new Set(forms.map((form) => CLASS_NAMES[form.class]))];
  return classes.length > 1 ? `${classes.slice(0, -1).join(", ")} and ${classes.at(-1)}` : classes.join();
}

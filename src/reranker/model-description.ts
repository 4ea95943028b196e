// RerankerModel: what `reranker.model` tells its user.

import { type RerankClass, type Truncation, templateText } from "../models/index.js";
import type { LoadedModel } from "./load.js";
import { CLASS_NAMES } from "./options.js";

/** Facts of a loaded model. */
export interface RerankerModel {
  /** Such as `bge-reranker-v2-m3`; null when the file does not say. */
  readonly name: string | null;
  readonly class: RerankClass;
  /** The class that loads it: `FlagReranker` ... */
  readonly className: (typeof CLASS_NAMES)[RerankClass];
  readonly architecture: string;
  /** The GGUF file. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly layers: number;
  readonly hiddenSize: number;
  readonly headCount: number;
  readonly vocabularySize: number;
  /** Tokens the model was made for. */
  readonly contextLength: number;
  /** Tokens a pair is cut to, where a call does not say: as given at load, else the file's or 512. */
  readonly maxLength: number;
  /** Most tokens one pair may have; null when positions have no hard limit. */
  readonly maxTokens: number | null;
  /** What a pair loses that is too long; null for models with a prompt or a template, which have one rule. */
  readonly truncation: Truncation | null;
  /** Legal cutoff layers, ascending; empty for classes without cutoffs. */
  readonly cutoffLayers: readonly number[];
  readonly scoreHeadCount: number;
  readonly headSelection: "rank" | "layer" | null;
  /** Compression the model was trained with; null for classes without. */
  readonly compress: { readonly ratios: readonly number[]; readonly layers: readonly number[] } | null;
  readonly prompt: string | null;
  /** What the model looks for, where it can be told; null: none, or it cannot. */
  readonly instruction: string | null;
  /** How a language model is used: `qwen3-reranker`, `zerank`, `mxbai-v2`, `flag-llm`, `pair-classifier`; null for the others. */
  readonly form: string | null;
  /** The chat template, with `{instruction}`, `{query}` and `{document}` in their places; null: the model has none. */
  readonly template: string | null;
  readonly queryInstruction: string | null;
  readonly passageInstruction: string | null;
  /** Whether scores are probabilities by the `calibration` given at load, where a call does not say. */
  readonly calibrated: boolean;
  /** Tensors by type: `{ F32: 100, Q8_0: 72 }`. */
  readonly tensorTypes: Readonly<Record<string, number>>;
  readonly device: string;
  readonly devices: readonly string[];
  /** Instruction set of the CPU kernels in use; null on other devices. */
  readonly isa: string | null;
  /** Memory the weights take on each device. */
  readonly weightsSizeBytes: number;
  /** Most memory that the prefix cache takes on each device; 0: there is none. */
  readonly prefixCacheBytes: number;
  /** Options that were accepted without effect, and why. */
  readonly notes: readonly string[];
}

export function describeLoaded({ facts, options, path, models }: LoadedModel): RerankerModel {
  const [{ info }] = models;
  const withCutoffs = facts.cutoffLayers.length > 0;
  return {
    name: facts.name,
    class: facts.class,
    className: CLASS_NAMES[facts.class],
    architecture: facts.architecture,
    path,
    sizeBytes: facts.sizeBytes,
    layers: facts.layerCount,
    hiddenSize: facts.hiddenSize,
    headCount: facts.headCount,
    vocabularySize: info.vocabularySize,
    contextLength: facts.contextLength,
    maxLength: options.maxLength ?? facts.defaults.maxLength,
    maxTokens: info.contextLength || null,
    truncation: facts.layout.kind === "pair" ? (options.truncation ?? facts.defaults.truncation) : null,
    cutoffLayers: facts.cutoffLayers,
    scoreHeadCount: facts.scoreHeadCount,
    headSelection: withCutoffs ? (options.headSelection ?? facts.headSelection) : null,
    compress: facts.compress,
    prompt: options.prompt ?? facts.defaults.prompt,
    instruction: options.instruction ?? facts.defaults.instruction,
    form: facts.form,
    template: facts.template && templateText(facts.template, "{instruction}", "{query}", "{document}"),
    queryInstruction: options.queryInstructionForRerank === undefined ? facts.defaults.queryInstruction : options.queryInstructionForRerank,
    passageInstruction:
      options.passageInstructionForRerank === undefined ? facts.defaults.documentInstruction : options.passageInstructionForRerank,
    calibrated: (options.calibration ?? null) !== null,
    tensorTypes: facts.tensorTypes,
    device: info.device,
    devices: models.map((model) => model.info.device),
    isa: info.isa || null,
    weightsSizeBytes: info.weightsSizeBytes,
    prefixCacheBytes: info.maxPrefixBytes,
    notes: precisionNotes(options, Object.keys(facts.tensorTypes)),
  };
}

function precisionNotes(options: LoadedModel["options"], types: readonly string[]): readonly string[] {
  const given = (["useFp16", "useBf16"] as const).filter((name) => options[name] === true);
  return given.map((name) => `${name} has no effect: weights are computed in the precision of the file (${types.join(", ")})`);
}

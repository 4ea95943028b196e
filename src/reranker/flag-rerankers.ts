// FlagEmbedding's class names, each a thin name over Reranker that loads its own class only.

import { show } from "../checks.js";
import { RerankerError } from "../errors.js";
import type { RerankClass } from "../models/index.js";
import { type LoadedModel, openModel } from "./load.js";
import { CLASS_NAMES, type LoadOptions } from "./options.js";
import { Reranker } from "./reranker.js";

/** Encoder classifiers: bge-reranker-base, bge-reranker-large, bge-reranker-v2-m3 and their fine-tunes. */
export class FlagReranker extends Reranker {
  /** As `Reranker.load`; a file of another class is `MODEL_UNSUPPORTED`. */
  static override async load(modelNameOrPath: string, options: LoadOptions = {}): Promise<FlagReranker> {
    return new FlagReranker(await openModel(modelNameOrPath, options, "encoder-only-base"));
  }
}

/** A language model scored by its "Yes": bge-reranker-v2-gemma. */
export class FlagLLMReranker extends Reranker {
  /** As `Reranker.load`; a file of another class is `MODEL_UNSUPPORTED`. */
  static override async load(modelNameOrPath: string, options: LoadOptions = {}): Promise<FlagLLMReranker> {
    return new FlagLLMReranker(await openModel(modelNameOrPath, options, "decoder-only-base"));
  }
}

/** A score head on many layers: bge-reranker-v2-minicpm-layerwise. */
export class LayerWiseFlagLLMReranker extends Reranker {
  /** As `Reranker.load`; a file of another class is `MODEL_UNSUPPORTED`. */
  static override async load(modelNameOrPath: string, options: LoadOptions = {}): Promise<LayerWiseFlagLLMReranker> {
    return new LayerWiseFlagLLMReranker(await openModel(modelNameOrPath, options, "decoder-only-layerwise"));
  }
}

/**
 * Score heads and token compression: bge-reranker-v2.5-gemma2-lightweight. By default the n-th cutoff asked meets the n-th
 * head, as in the reference; `headSelection: "layer"` takes the head trained for the layer.
 */
export class LightWeightFlagLLMReranker extends Reranker {
  /** As `Reranker.load`; a file of another class is `MODEL_UNSUPPORTED`. */
  static override async load(modelNameOrPath: string, options: LoadOptions = {}): Promise<LightWeightFlagLLMReranker> {
    return new LightWeightFlagLLMReranker(await openModel(modelNameOrPath, options, "decoder-only-lightweight"));
  }
}

export interface AutoOptions extends LoadOptions {
  /** Class the file must be of. @default what the file says */
  readonly modelClass?: RerankClass | null | undefined;
}

/** Picks the class by what the file says. */
export class FlagAutoReranker {
  /** @throws {TypeError} Always. */
  constructor() {
    throw new TypeError("FlagAutoReranker is not made with `new`: use `await FlagAutoReranker.fromFinetuned(modelNameOrPath, options)`");
  }

  /**
   * Loads a model as the class it is of. The names of the reference's table are not needed: a fine-tuned model of any name works.
   *
   * @throws {RerankerError} `MODEL_UNSUPPORTED` when `modelClass` is given and the file is of another class.
   */
  static async fromFinetuned(modelNameOrPath: string, options: AutoOptions = {}): Promise<Reranker> {
    const { modelClass, ...loadOptions } = options;
    if (modelClass !== undefined && modelClass !== null && !(typeof modelClass === "string" && Object.hasOwn(CLASS_NAMES, modelClass))) {
      throw new RangeError(`Expected \`modelClass\` to be one of ${Object.keys(CLASS_NAMES).join(", ")}, got \`${show(modelClass)}\``);
    }
    return rerankerOf(await openModel(modelNameOrPath, loadOptions, modelClass ?? undefined));
  }
}

/** @internal */
export function rerankerOf(loaded: LoadedModel): Reranker {
  const { class: name } = loaded.facts;
  switch (name) {
    case "encoder-only-base":
      return new FlagReranker(loaded);
    case "decoder-only-base":
      return new FlagLLMReranker(loaded);
    case "decoder-only-layerwise":
      return new LayerWiseFlagLLMReranker(loaded);
    case "decoder-only-lightweight":
      return new LightWeightFlagLLMReranker(loaded);
    case "cross-encoder":
      return new Reranker(loaded);
    default:
      throw new RerankerError("MODEL_UNSUPPORTED", `Unknown class ${name satisfies never}`);
  }
}

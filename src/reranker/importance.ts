// What goes into a model's weight matrices when it reads pairs, for `quantize`.
import { loadNative, type NativeAddon } from "../addon/native.js";
import * as is from "../checks.js";
import type { Importance } from "../convert/importance.js";
import type { Progress } from "../sources/progress.js";
import { machine, openModel } from "./load.js";
import { Reranker } from "./reranker.js";
import type { Pair } from "./scoring.js";

export interface ImportanceOptions {
  /** What the pairs are called; kept in files that are quantised with the result. */
  readonly dataset?: string | undefined;
  /** Longest pair in tokens. Default: the model's. */
  readonly maxLength?: number | undefined;
  /** Default: one for each physical core. */
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with the pairs read. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

const optionChecks = {
  dataset: is.string,
  maxLength: is.integer(1),
  threads: is.integer(1),
  signal: is.abortSignal,
  onProgress: is.callback,
} as const satisfies Record<keyof ImportanceOptions, unknown>;

/**
 * Reads pairs on the CPU and keeps the mean squares of what goes into each weight matrix. A few hundred pairs like those that the
 * model will score are enough.
 *
 * @param path - A GGUF file of F32, F16 or BF16 weights, which is quantised later.
 *
 * @example
 * const importance = await measureImportance("model-f16.gguf", pairs);
 * await quantize("model-f16.gguf", "model-q4_k.gguf", "q4_k", { importance });
 *
 * @throws {RangeError} No pair. @throws {TypeError} A pair that is not two strings.
 */
export async function measureImportance(path: string, pairs: readonly Pair[], options: ImportanceOptions = {}): Promise<Importance> {
  is.name("path", path);
  is.checkOptions("measureImportance", options, optionChecks, () => undefined);
  if (!Array.isArray(pairs) || pairs.length === 0) throw new RangeError("An importance matrix needs pairs to measure it on");
  const { dataset, maxLength, threads, signal, onProgress } = options;
  const loaded = await openModel(path, { devices: "cpu", maxLength, threads, signal }, undefined, { ...machine, addon: watching });
  await using reranker = new Reranker(loaded);
  await reranker.computeScore(pairs, { signal, onProgress });
  const [model] = loaded.models;
  return { inputs: new Map(Object.entries(model.importance())), pairs: pairs.length, dataset };
}

/** The addon, whose models keep what goes into their weights. */
function watching(): NativeAddon {
  const addon = loadNative();
  return Object.create(addon, {
    loadModel: { value: (path, spec) => addon.loadModel(path, { ...spec, watched: true }) } satisfies { value: NativeAddon["loadModel"] },
  });
}

// What a checkpoint folder holds, before anything is converted.
import type { RerankClass } from "../models/index.js";
import { countParameters, readCheckpoint, throwIfHeadDiffers } from "./checkpoint.js";
import { quantity } from "./config.js";
import type { TensorPlan } from "./tensor-plan.js";

/** What a checkpoint folder holds, found without reading its weights. */
export interface CheckpointDescription {
  readonly name: string;
  /** As config.json says it, such as `XLMRobertaForSequenceClassification`. */
  readonly checkpoint: string;
  readonly architecture: string;
  readonly class: RerankClass;
  readonly layerCount: number;
  readonly hiddenSize: number;
  readonly headCount: number;
  readonly contextLength: number;
  readonly vocabularySize: number;
  readonly cutoffLayers: readonly number[];
  readonly parameterCount: number;
  /** Number of source tensors by type. */
  readonly tensorTypes: Readonly<Record<string, number>>;
  readonly files: readonly string[];
  readonly sizeBytes: number;
  readonly dropped: TensorPlan["dropped"];
}

/** @throws {RerankerError} `CONVERT_FAILED` as `convert` would. */
export async function describeCheckpoint(source: string): Promise<CheckpointDescription> {
  const checkpoint = await readCheckpoint(source);
  await throwIfHeadDiffers(checkpoint);
  const { config, name, plan, weights } = checkpoint;
  const sources = plan.tensors.flatMap((tensor) => tensor.parts.map((part) => part.source));
  const tensorTypes: Record<string, number> = {};
  for (const { dtype } of sources) tensorTypes[dtype] = (tensorTypes[dtype] ?? 0) + 1;
  const start = config.quantities.get("start_layer");
  const layerCount = quantity(config, "n_layer");
  const step = config.quantities.get("layer_step") ?? 1;
  const cutoffLayers: number[] = [];
  for (let layer = start ?? Number.POSITIVE_INFINITY; layer <= layerCount; layer += step) cutoffLayers.push(layer);
  return {
    name,
    checkpoint: config.name,
    architecture: config.profile.architecture,
    class: checkpoint.form.form.class,
    layerCount,
    hiddenSize: quantity(config, "n_embd"),
    headCount: quantity(config, "n_head"),
    contextLength: quantity(config, "n_ctx_train"),
    vocabularySize: quantity(config, "n_vocab"),
    cutoffLayers,
    parameterCount: countParameters(plan),
    tensorTypes,
    files: weights.files.map((file) => file.name),
    sizeBytes: sources.reduce((sum, tensor) => sum + tensor.sizeBytes, 0),
    dropped: plan.dropped,
  };
}

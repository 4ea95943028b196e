// Hugging Face checkpoint folder -> GGUF, driven by the tables in models/. Every tensor is accounted for, and the file
// appears only when it is whole.
import { rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { loadNative, type NativeAddon, type TensorType, type TokenizerSpec } from "../addon/native.js";
import { createOutput, outputError } from "../files/output-file.js";
import type { RerankClass } from "../models/index.js";
import { readVocabulary } from "../tokenizer/vocabulary.js";
import { countParameters, readCheckpoint, throwIfUntied } from "./checkpoint.js";
import { type CheckpointConfig, quantity } from "./config.js";
import { emptyPadPosition } from "./late-metadata.js";
import { buildMetadata, type MetadataEntry, type PromptIds, padVocabulary } from "./metadata.js";
import type { TensorPlan } from "./tensor-plan.js";
import { type TypeFallback, writableType } from "./tensor-type.js";
import type { ArrivingWeights } from "./weight-file.js";
import { writeModel } from "./write-model.js";

export interface ConvertProgress {
  /** Bytes of weights read so far, and in all. */
  readonly done: number;
  readonly total: number;
  /** GGUF name of the tensor that was worked on last. */
  readonly tensor: string;
}

export interface ConvertOptions {
  /** Path of the new file. Default: `<name>-<OUTTYPE>.gguf` in the source folder. */
  readonly output?: string | undefined;
  /**
   * Type of the weight matrices: f32, f16, bf16, q8_0, q6_k, q4_k ... Norms, biases, score heads and small tables stay F32.
   *
   * Default f16: half the size of the published F32 weights, with 11 significant bits per weight where bf16 has 8, so that
   * scores move in the third or fourth decimal only.
   */
  readonly outtype?: string | undefined;
  /**
   * Weight matrices of another type: `{ "blk\\.[01]\\.attn_": "f16" }` gives those whose GGUF name the regular expression matches
   * that type. The first that matches decides.
   */
  readonly tensorTypes?: Readonly<Record<string, string>> | undefined;
  /** Folder of a peft LoRA adapter to merge. */
  readonly lora?: string | undefined;
  /** Name stored in the file. Default: the folder's, or the repository's in the Hugging Face cache. */
  readonly name?: string | undefined;
  /** Replace an existing file; without it that is an error. */
  readonly overwrite?: boolean | undefined;
  readonly onProgress?: ((progress: ConvertProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ConvertResult {
  readonly path: string;
  readonly name: string;
  readonly architecture: string;
  readonly class: RerankClass;
  readonly outtype: TensorType;
  readonly sizeBytes: number;
  readonly tensorCount: number;
  readonly parameterCount: number;
  /** SHA-256 of the source's weight files, one after the other in name order. */
  readonly sourceSha256: string;
  /** Source tensors left out, with the reason. */
  readonly dropped: TensorPlan["dropped"];
  /** Tensors that could not have the type asked for. */
  readonly fallbacks: readonly TypeFallback[];
  /** Tensors changed by the LoRA adapter. */
  readonly adapted: readonly string[];
}

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

/**
 * Converts a Hugging Face checkpoint folder to one GGUF file.
 *
 * @throws {RangeError} An `outtype` that does not exist or cannot be written, or `tensorTypes` that match nothing.
 * @throws {RerankerError} `CONVERT_FAILED` naming the tensor or the field of config.json, `IO` when the file exists, the disk
 *   is full or writing fails. Nothing is left behind then, nor after an abort.
 */
export async function convert(source: string, options: ConvertOptions = {}): Promise<ConvertResult> {
  return convertCheckpoint(source, undefined, options);
}

/**
 * Converts a checkpoint while its weights arrive. The file is that which `convert` writes.
 *
 * @param source - Folder with config.json and the tokenizer, but not yet the weights.
 */
export async function convertArriving(source: string, weights: ArrivingWeights, options: ConvertOptions): Promise<ConvertResult> {
  return convertCheckpoint(source, weights, options);
}

async function convertCheckpoint(source: string, arriving: ArrivingWeights | undefined, options: ConvertOptions): Promise<ConvertResult> {
  options.signal?.throwIfAborted();
  const addon = await loadNative();
  const types = addon.tensorTypes();
  const wanted = writableType(options.outtype ?? "f16", types);
  const checkpoint = await readCheckpoint(source, { name: options.name, lora: options.lora, files: arriving?.files });
  const output = resolve(options.output ?? join(source, `${checkpoint.name}-${wanted.name}.gguf`));

  const file = await createOutput(output, options.overwrite ?? false);
  try {
    const vocabulary = await readVocabulary(source);
    const padded = padVocabulary(vocabulary.metadata, quantity(checkpoint.config, "n_vocab"));
    const promptIds = await encodePrompts(addon, checkpoint.config, padded, vocabulary.spec, `${file.temporaryPath}.vocabulary`);
    const padPosition = emptyPadPosition(checkpoint.config);
    const metadata = buildMetadata({ ...checkpoint, type: wanted.name, vocabulary: padded, promptIds, padPosition });
    const planned = async (sizeBytes: number) => arriving?.planned(output, sizeBytes);
    const written = await writeModel(addon, checkpoint, metadata, wanted, types, file.temporaryPath, options, planned);
    await file.commit();
    return { path: output, ...written };
  } catch (error) {
    throw outputError(error, options.signal);
  } finally {
    await file.discard();
  }
}

/** @throws {RerankerError} `CONVERT_FAILED` as `convert` would. */
export async function describeCheckpoint(source: string): Promise<CheckpointDescription> {
  const checkpoint = await readCheckpoint(source);
  await throwIfUntied(checkpoint);
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
    class: config.profile.class,
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

/** Encodes the fixed texts with the very tokenizer that will read the file, from a GGUF of the vocabulary alone. */
async function encodePrompts(
  addon: NativeAddon,
  { profile }: CheckpointConfig,
  vocabulary: readonly MetadataEntry[],
  spec: TokenizerSpec,
  path: string,
): Promise<PromptIds | undefined> {
  if (profile.layout.kind !== "prompt") return undefined;
  try {
    addon.writeGgufHeader(path, [["general.architecture", "string", profile.architecture], ...vocabulary], []);
    const tokenizer = addon.loadTokenizer(path, spec);
    const scored = profile.score.kind === "token-logit" ? [...tokenizer.encode(profile.score.token, false)] : undefined;
    return {
      separator: [...tokenizer.encode(profile.layout.separator, true)],
      prompt: [...tokenizer.encode(profile.defaults.prompt ?? "", true)],
      tokenId: scored?.[0],
    };
  } finally {
    await rm(path, { force: true });
  }
}

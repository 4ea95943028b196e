// Hugging Face checkpoint folder -> GGUF, driven by the tables in models/. Every tensor is accounted for, and the file
// appears only when it is whole.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, rm, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { type CheckpointConfig, quantity, readConfig } from "./convert/config.js";
import { readJsonObject } from "./convert/json.js";
import { buildMetadata, type MetadataEntry, padVocabulary, type PromptIds, SHA256_KEY, SHA256_PLACEHOLDER } from "./convert/metadata.js";
import { createOutput, readAt, throwIfDiskFull, writeAt } from "./convert/output-file.js";
import { type RowEdit, type RowJob, streamRows } from "./convert/row-stream.js";
import { type PlannedTensor, planTensors, reservedPositions, type TensorPlan } from "./convert/tensor-plan.js";
import { rowBytes, type TypeFallback, tensorTypeChooser, writableType } from "./convert/tensor-type.js";
import { transformRows } from "./convert/transforms.js";
import { RerankerError } from "./errors.js";
import { type LoraAdapter, readLora } from "./lora.js";
import type { RerankClass } from "./models/index.js";
import { type GgufTensor, loadNative, type NativeAddon, type TensorType, type TensorTypeInfo, type TokenizerSpec } from "./native.js";
import { readSafetensorsFolder, type SafeTensorSet } from "./safetensors.js";
import { readVocabulary } from "./vocabulary.js";

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
 * @throws {RangeError} An `outtype` that does not exist or cannot be written.
 * @throws {RerankerError} `CONVERT_FAILED` naming the tensor or the field of config.json, `IO` when the file exists, the disk
 *   is full or writing fails. Nothing is left behind then, nor after an abort.
 */
export async function convert(source: string, options: ConvertOptions = {}): Promise<ConvertResult> {
  options.signal?.throwIfAborted();
  const addon = await loadNative();
  const types = addon.tensorTypes();
  const wanted = writableType(options.outtype ?? "f16", types);
  const checkpoint = await readCheckpoint(source, options);
  const output = resolve(options.output ?? join(source, `${checkpoint.name}-${wanted.name}.gguf`));

  const file = await createOutput(output, options.overwrite ?? false);
  try {
    const vocabulary = await readVocabulary(source);
    const padded = padVocabulary(vocabulary.metadata, quantity(checkpoint.config, "n_vocab"));
    const promptIds = await encodePrompts(addon, checkpoint.config, padded, vocabulary.spec, `${file.temporaryPath}.vocabulary`);
    const padPosition = await readPadPosition(addon, checkpoint);
    const metadata = buildMetadata({ ...checkpoint, type: wanted.name, vocabulary: padded, promptIds, padPosition });
    const written = await writeModel(addon, checkpoint, metadata, wanted, types, file.temporaryPath, options);
    await file.commit();
    return { path: output, ...written };
  } finally {
    await file.discard();
  }
}

/** @throws {RerankerError} `CONVERT_FAILED` as `convert` would. */
export async function describeCheckpoint(source: string): Promise<CheckpointDescription> {
  const { config, name, plan, weights } = await readCheckpoint(source, {});
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
    files: weights.files.map((file) => basename(file)),
    sizeBytes: sources.reduce((sum, tensor) => sum + tensor.sizeBytes, 0),
    dropped: plan.dropped,
  };
}

interface Checkpoint {
  readonly config: CheckpointConfig;
  readonly name: string;
  readonly weights: SafeTensorSet;
  readonly plan: TensorPlan;
  readonly lora: LoraAdapter | undefined;
}

async function readCheckpoint(source: string, { name, lora: adapter }: ConvertOptions): Promise<Checkpoint> {
  const isFolder = await stat(source).then((stats) => stats.isDirectory(), () => false);
  if (!isFolder) throw new RerankerError("MODEL_NOT_FOUND", `\`${source}\` is no folder; give the folder of a Hugging Face checkpoint.`);
  const json = await readJsonObject(join(source, "config.json"));
  if (!json) {
    throw new RerankerError("MODEL_NOT_FOUND", `\`${source}\` has no config.json; give the folder of a complete Hugging Face checkpoint.`);
  }
  const config = readConfig(json);
  const weights = await readSafetensorsFolder(source);
  const plan = planTensors(config, weights.tensors);
  await throwIfUntied(config, weights);
  const lora = adapter === undefined ? undefined : await readLora(adapter);
  const shapes = new Map(plan.tensors.flatMap((tensor) => tensor.parts.map((part) => [part.source.name, part.source.shape])));
  lora?.check((tensor) => shapes.get(tensor));
  return { config, name: name ?? checkpointName(resolve(source)), weights, plan, lora };
}

/** The folder's name, or the repository's when the folder is a snapshot in the Hugging Face cache. */
function checkpointName(folder: string): string {
  const parts = folder.split(/[\\/]/);
  const repository = parts.at(-2) === "snapshots" ? /^models--(?:.+--)?(.+)$/.exec(parts.at(-3) ?? "")?.[1] : undefined;
  return repository ?? (basename(folder) || "model");
}

/** transformers ignores a stored head when config.json ties it; otherwise the head counts, and only an equal one is the same model. */
async function throwIfUntied({ checkpoint, tiedEmbeddings, name }: CheckpointConfig, { tensors }: SafeTensorSet): Promise<void> {
  if (!checkpoint.tied || tiedEmbeddings) return;
  const head = tensors.get(checkpoint.tied.name);
  const table = tensors.get(checkpoint.tied.to);
  const sameKind = head && table && head.dtype === table.dtype && head.sizeBytes === table.sizeBytes;
  if (sameKind && (await hashOf(head)) === (await hashOf(table))) return;
  throw new RerankerError(
    "CONVERT_FAILED",
    `config.json says \`tie_word_embeddings: false\`, and \`${checkpoint.tied.name}\` ${head ? "differs from" : "is missing beside"} \`${checkpoint.tied.to}\`. ` +
      `${name} rerankers score with the embedding table; a head of its own is not supported.`,
  );
}

async function hashOf({ path, offset, sizeBytes }: { readonly path: string; readonly offset: number; readonly sizeBytes: number }): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path, { start: offset, end: offset + sizeBytes - 1 })) hash.update(piece as Buffer);
  return hash.digest("hex");
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

/** The position a literal padding token gets. The table that tokens use begins behind it. */
async function readPadPosition(addon: NativeAddon, { config, plan }: Checkpoint): Promise<Float32Array | undefined> {
  if (reservedPositions(config) === 0) return undefined;
  const source = plan.tensors.find((tensor) => tensor.transform === "drop-reserved-positions")?.parts[0];
  if (!source) return undefined;
  const width = source.source.sizeBytes / (source.source.shape[0] ?? 1);
  const file = await open(source.source.path, "r");
  try {
    const row = await readAt(file, width, source.source.offset + config.padTokenId * width, `\`${source.source.name}\``);
    const floats = await addon.convertRows(row, source.sourceType, "F32", source.source.shape.at(-1) ?? 1);
    return new Float32Array(floats.slice().buffer);
  } finally {
    await file.close();
  }
}

async function writeModel(
  addon: NativeAddon,
  checkpoint: Checkpoint,
  metadata: readonly MetadataEntry[],
  wanted: TensorTypeInfo,
  types: readonly TensorTypeInfo[],
  path: string,
  options: ConvertOptions,
): Promise<Omit<ConvertResult, "path">> {
  const { config, plan, weights, lora, name } = checkpoint;
  const chooser = tensorTypeChooser(config.profile, wanted, types);
  const tensors = plan.tensors.map((tensor) => ({ name: tensor.name, type: chooser.choose(tensor.name, tensor.shape), shape: tensor.shape }));
  const header = addon.writeGgufHeader(path, metadata, tensors);
  const last = header.tensors.at(-1);
  const sizeBytes = last ? alignUp(last.offset + last.sizeBytes, header.alignment) : header.dataOffset;
  await throwIfDiskFull(path, sizeBytes);

  const opened = new OpenFiles();
  const abort = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, abort.signal]) : abort.signal;
  const hashing = hashFiles(weights.files, signal);
  hashing.catch(() => undefined); // awaited below; until then a failure must not count as unhandled
  try {
    const target = await opened.open(path, "r+");
    const jobs = rowJobs(addon, checkpoint, header.tensors, types, opened, target);
    await streamRows(addon, jobs, { signal: options.signal, onBytes: progressOf(plan, options.onProgress) });
    const sourceSha256 = await hashing;
    await patchHash(target, header.dataOffset, sourceSha256);
    await target.truncate(sizeBytes);
    await target.sync();
    return {
      name,
      architecture: config.profile.architecture,
      class: config.profile.class,
      outtype: wanted.name,
      sizeBytes,
      tensorCount: tensors.length,
      parameterCount: countParameters(plan),
      sourceSha256,
      dropped: plan.dropped,
      fallbacks: chooser.fallbacks,
      adapted: lora?.targets ?? [],
    };
  } finally {
    abort.abort();
    await opened.close();
  }
}

async function* rowJobs(
  addon: NativeAddon,
  { plan, lora, config }: Checkpoint,
  targets: readonly GgufTensor[],
  types: readonly TensorTypeInfo[],
  opened: OpenFiles,
  target: FileHandle,
): AsyncGenerator<RowJob> {
  const headSize = config.quantities.get("n_embd_head") ?? 1;
  for (const [i, tensor] of plan.tensors.entries()) {
    const { type, offset } = targets[i] as GgufTensor;
    const targetRowBytes = rowBytes(type, tensor.columns, types);
    const transform = transformRows(tensor.transform, headSize);
    for (const part of tensor.parts) {
      const sourceRowBytes = rowBytes(part.sourceType, tensor.columns, types);
      const merge: RowEdit | undefined = await lora?.editOf(part.source.name, addon);
      yield {
        tensor: tensor.name,
        source: await opened.open(part.source.path, "r"),
        sourceOffset: part.source.offset + part.firstRow * sourceRowBytes,
        sourceType: part.sourceType,
        sourceRowBytes,
        target,
        targetOffset: offset + part.targetRow * targetRowBytes,
        targetType: type,
        targetRowBytes,
        rows: part.rows,
        columns: tensor.columns,
        firstRow: part.firstRow,
        edits: merge ? [merge, ...transform.edits] : transform.edits,
        ...(transform.reorder ? { reorder: transform.reorder } : {}),
      };
    }
  }
}

/** Handles by path, closed together. */
class OpenFiles {
  readonly #handles = new Map<string, Promise<FileHandle>>();

  open(path: string, flags: string): Promise<FileHandle> {
    let handle = this.#handles.get(path);
    if (!handle) this.#handles.set(path, (handle = open(path, flags)));
    return handle;
  }

  async close(): Promise<void> {
    const closing = [...this.#handles.values()].map(async (handle) => (await handle).close());
    await Promise.allSettled(closing);
  }
}

async function hashFiles(files: readonly string[], signal: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  for (const file of files) {
    for await (const piece of createReadStream(file, { highWaterMark: 1 << 20, signal })) hash.update(piece as Buffer);
  }
  return hash.digest("hex");
}

async function patchHash(file: FileHandle, headerBytes: number, hash: string): Promise<void> {
  // The key stands before the vocabulary, so the first 64 kB hold it.
  const front = await readAt(file, Math.min(headerBytes, 65536), 0, "the header");
  const key = front.indexOf(SHA256_KEY);
  const at = front.indexOf(SHA256_PLACEHOLDER, key);
  if (key < 0 || at < 0) throw new RerankerError("CONVERT_FAILED", `The header just written has no \`${SHA256_KEY}\`.`);
  await writeAt(file, Buffer.from(hash), at);
}

function progressOf(plan: TensorPlan, onProgress: ConvertOptions["onProgress"]): (bytes: number, tensor: string) => void {
  const total = plan.tensors.flatMap((tensor) => tensor.parts).reduce((sum, { source, rows }) => sum + (source.sizeBytes / sourceRows(source.shape)) * rows, 0);
  let done = 0;
  return (bytes, tensor) => {
    done += bytes;
    onProgress?.({ done, total, tensor });
  };
}

function sourceRows(shape: readonly number[]): number {
  return shape.length > 1 ? (shape[0] ?? 1) : 1;
}

function countParameters(plan: TensorPlan): number {
  return plan.tensors.reduce((sum, tensor: PlannedTensor) => sum + tensor.shape.reduce((product, n) => product * n, 1), 0);
}

function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}

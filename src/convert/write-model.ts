// The weights of a conversion: from the checkpoint's files to the tensors' places in the GGUF.
import { type FileHandle, open } from "node:fs/promises";
import type { GgufTensor, NativeAddon, TensorTypeInfo } from "../addon/native.js";
import { throwIfDiskFull } from "../files/output-file.js";
import type { MetadataEntry } from "../gguf/metadata-entry.js";
import { together } from "../together.js";
import { type Checkpoint, countParameters, throwIfHeadDiffers } from "./checkpoint.js";
import { hashWeights, patchMetadata, readPadPosition } from "./late-metadata.js";
import type { ConvertOptions, ConvertResult } from "./options.js";
import { type RowEdit, type RowJob, streamRows } from "./row-stream.js";
import type { PlannedPart, PlannedTensor, TensorPlan } from "./tensor-plan.js";
import { rowBytes, tensorTypeChooser, typeExceptions } from "./tensor-type.js";
import { transformRows } from "./transforms.js";
import type { WeightFile, WeightReader } from "./weight-file.js";

/**
 * Header, then every tensor at its offset, then the metadata that only the weights tell.
 *
 * @param planned - Called with the size of the file when its layout is known, before weights are read.
 */
export async function writeModel(
  addon: NativeAddon,
  checkpoint: Checkpoint,
  metadata: readonly MetadataEntry[],
  wanted: TensorTypeInfo,
  types: readonly TensorTypeInfo[],
  path: string,
  options: ConvertOptions,
  planned: (sizeBytes: number) => Promise<void>,
): Promise<Omit<ConvertResult, "path">> {
  const { config, plan, weights, lora, name } = checkpoint;
  const chooser = tensorTypeChooser(config.profile, wanted, types, typeExceptions(options.tensorTypes ?? {}, types));
  const tensors = plan.tensors.map((tensor) => ({
    name: tensor.name,
    type: chooser.choose(tensor.name, tensor.shape),
    shape: tensor.shape,
  }));
  chooser.throwIfUnused();
  const header = addon.writeGgufHeader(path, metadata, tensors);
  await throwIfDiskFull(path, header.fileSizeBytes);
  await planned(header.fileSizeBytes);

  const readers = new Readers();
  const target = await open(path, "r+");
  try {
    const jobs = rowJobs(addon, checkpoint, header.tensors, types, readers, target);
    const onBytes = progressOf(plan, types, options.onProgress);
    const [sourceSha256, padPosition] = await together(options.signal, [
      (signal) => hashWeights(weights.files, signal),
      (signal) => readPadPosition(addon, checkpoint, signal),
      (signal) => throwIfHeadDiffers(checkpoint, signal),
      (signal) => streamRows(addon, jobs, { signal, onBytes }),
    ]);
    for (const file of weights.files) await file.verified();
    await patchMetadata(target, header.dataOffset, sourceSha256, padPosition);
    await target.truncate(header.fileSizeBytes);
    await target.sync();
    return {
      name,
      architecture: config.profile.architecture,
      class: checkpoint.form.form.class,
      form: checkpoint.form.form.form ?? null,
      outtype: wanted.name,
      sizeBytes: header.fileSizeBytes,
      tensorCount: tensors.length,
      parameterCount: countParameters(plan),
      sourceSha256,
      dropped: plan.dropped,
      files: weights.files.map((file) => file.name),
      ignoredFiles: weights.ignored,
      fallbacks: chooser.fallbacks,
      adapted: lora?.targets ?? [],
    };
  } finally {
    await target.close();
    await readers.close();
  }
}

/** Jobs in the order of the weight files, which is the order in which a download brings them. */
async function* rowJobs(
  addon: NativeAddon,
  { plan, lora, config, weights }: Checkpoint,
  targets: readonly GgufTensor[],
  types: readonly TensorTypeInfo[],
  readers: Readers,
  target: FileHandle,
): AsyncGenerator<RowJob> {
  const headSize = config.quantities.get("n_embd_head") ?? 1;
  for (const { tensor, part, index } of inFileOrder(plan, weights.files)) {
    const { type, offset } = targets[index] as GgufTensor;
    const targetRowBytes = rowBytes(type, tensor.columns, types);
    const transform = transformRows(tensor.transform, headSize);
    const sourceRowBytes = rowBytes(part.sourceType, tensor.columns, types);
    const { adaptedAs = part.source.name } = part;
    const merge: RowEdit | undefined = adaptedAs === null ? undefined : await lora?.editOf(adaptedAs, addon);
    const edits = merge ? [merge, ...transform.edits] : [...transform.edits];
    if (tensor.transform === "label-difference") edits.push(minus(await otherLabel(addon, part, tensor.columns, sourceRowBytes, merge)));
    yield {
      tensor: tensor.name,
      source: await readers.open(part.source.file),
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
      edits,
      ...(transform.reorder ? { reorder: transform.reorder } : {}),
    };
  }
}

/** The row of the output that says "irrelevant", as an adapter leaves it. */
async function otherLabel(
  addon: NativeAddon,
  { source, sourceType, firstRow }: PlannedPart,
  columns: number,
  rowBytes: number,
  merge: RowEdit | undefined,
): Promise<Float32Array> {
  const row = 1 - firstRow;
  const reader = await source.file.open();
  try {
    const bytes = await reader.read(rowBytes, source.offset + row * rowBytes);
    const values = new Float32Array(new Uint8Array(await addon.convertRows(bytes, sourceType, "F32", columns)).buffer);
    merge?.(values, row, columns);
    return values;
  } finally {
    await reader.close();
  }
}

function minus(other: Float32Array): RowEdit {
  return (values) => {
    for (let i = 0; i < values.length; i++) values[i] = (values[i] as number) - (other[i] as number);
  };
}

interface PlacedPart {
  readonly tensor: PlannedTensor;
  readonly part: PlannedPart;
  /** Of the tensor, in the plan. */
  readonly index: number;
}

function inFileOrder({ tensors }: TensorPlan, files: readonly WeightFile[]): PlacedPart[] {
  const order = new Map(files.map((file, i) => [file, i]));
  const place = ({ part }: PlacedPart) => order.get(part.source.file) ?? 0;
  return tensors
    .flatMap((tensor, index) => tensor.parts.map((part) => ({ tensor, part, index })))
    .sort((a, b) => place(a) - place(b) || a.part.source.offset - b.part.source.offset);
}

/** One reader for each file, closed together. */
class Readers {
  readonly #readers = new Map<WeightFile, Promise<WeightReader>>();

  open(file: WeightFile): Promise<WeightReader> {
    let reader = this.#readers.get(file);
    if (!reader) {
      reader = file.open();
      this.#readers.set(file, reader);
    }
    return reader;
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.#readers.values()].map(async (reader) => (await reader).close()));
  }
}

function progressOf(
  plan: TensorPlan,
  types: readonly TensorTypeInfo[],
  onProgress: ConvertOptions["onProgress"],
): (bytes: number, tensor: string) => void {
  const total = plan.tensors
    .flatMap(({ parts, columns }) => parts.map(({ sourceType, rows }) => rows * rowBytes(sourceType, columns, types)))
    .reduce((sum, bytes) => sum + bytes, 0);
  let done = 0;
  return (bytes, tensor) => {
    done += bytes;
    onProgress?.({ done, total, tensor });
  };
}

// The weights of a conversion: from the checkpoint's files to the tensors' places in the GGUF.
import { type FileHandle, open } from "node:fs/promises";
import type { GgufTensor, NativeAddon, TensorTypeInfo } from "../addon/native.js";
import { throwIfDiskFull } from "../files/output-file.js";
import type { MetadataEntry } from "../gguf/metadata-entry.js";
import { together } from "../together.js";
import { type Checkpoint, countParameters, throwIfUntied } from "./checkpoint.js";
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
    const onBytes = progressOf(plan, options.onProgress);
    const [sourceSha256, padPosition] = await together(options.signal, [
      (signal) => hashWeights(weights.files, signal),
      (signal) => readPadPosition(addon, checkpoint, signal),
      (signal) => throwIfUntied(checkpoint, signal),
      (signal) => streamRows(addon, jobs, { signal, onBytes }),
    ]);
    for (const file of weights.files) await file.verified();
    await patchMetadata(target, header.dataOffset, sourceSha256, padPosition);
    await target.truncate(header.fileSizeBytes);
    await target.sync();
    return {
      name,
      architecture: config.profile.architecture,
      class: config.profile.class,
      outtype: wanted.name,
      sizeBytes: header.fileSizeBytes,
      tensorCount: tensors.length,
      parameterCount: countParameters(plan),
      sourceSha256,
      dropped: plan.dropped,
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
    const merge: RowEdit | undefined = await lora?.editOf(part.source.name, addon);
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
      edits: merge ? [merge, ...transform.edits] : transform.edits,
      ...(transform.reorder ? { reorder: transform.reorder } : {}),
    };
  }
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

function progressOf(plan: TensorPlan, onProgress: ConvertOptions["onProgress"]): (bytes: number, tensor: string) => void {
  const total = plan.tensors
    .flatMap((tensor) => tensor.parts)
    .reduce((sum, { source, rows }) => sum + (source.sizeBytes / sourceRows(source.shape)) * rows, 0);
  let done = 0;
  return (bytes, tensor) => {
    done += bytes;
    onProgress?.({ done, total, tensor });
  };
}

function sourceRows(shape: readonly number[]): number {
  return shape.length > 1 ? (shape[0] ?? 1) : 1;
}

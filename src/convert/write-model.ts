// The weights of a conversion: from the checkpoint's files to the tensors' places in the GGUF.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { ConvertOptions, ConvertResult } from "../convert.js";
import { RerankerError } from "../errors.js";
import type { GgufTensor, NativeAddon, TensorTypeInfo } from "../native.js";
import { type Checkpoint, countParameters } from "./checkpoint.js";
import { type MetadataEntry, SHA256_KEY, SHA256_PLACEHOLDER } from "./metadata.js";
import { readAt, throwIfDiskFull, writeAt } from "./output-file.js";
import { type RowEdit, type RowJob, streamRows } from "./row-stream.js";
import type { TensorPlan } from "./tensor-plan.js";
import { rowBytes, tensorTypeChooser } from "./tensor-type.js";
import { transformRows } from "./transforms.js";

/** Header, then every tensor at its offset, then the hash of the source in its place. */
export async function writeModel(
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
  const tensors = plan.tensors.map((tensor) => ({
    name: tensor.name,
    type: chooser.choose(tensor.name, tensor.shape),
    shape: tensor.shape,
  }));
  const header = addon.writeGgufHeader(path, metadata, tensors);
  await throwIfDiskFull(path, header.fileSizeBytes);

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
    if (!handle) {
      handle = open(path, flags);
      this.#handles.set(path, handle);
    }
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

// Streams tensors in chunks of whole rows: read, edit in float32, convert, write at the target's offset. Several chunks
// are in flight at once, so memory is bounded by a few of them whatever the size of the model.

import type { FileHandle } from "node:fs/promises";
import { availableParallelism } from "node:os";
import type { NativeAddon, TensorType } from "../addon/native.js";
import { RerankerError } from "../errors.js";
import { writeAt } from "../files/output-file.js";
import { together } from "../together.js";
import type { WeightReader } from "./weight-file.js";

/** Elements of a chunk: 16 MB as float32. */
const CHUNK_ELEMENTS = 4 * 1024 * 1024;
const MAX_LANES = 4;

/** Changes float32 rows in place; `firstRow` counts within the tensor they come from. */
export type RowEdit = (values: Float32Array, firstRow: number, columns: number) => void;

/** Rows of one tensor on their way from one file to another. */
export interface RowJob {
  readonly tensor: string;
  readonly source: WeightReader;
  /** Bytes from the start of the file to the first row. */
  readonly sourceOffset: number;
  readonly sourceType: TensorType;
  readonly sourceRowBytes: number;
  readonly target: FileHandle;
  readonly targetOffset: number;
  readonly targetType: TensorType;
  readonly targetRowBytes: number;
  readonly rows: number;
  readonly columns: number;
  /** One a column: by what the quantiser of the target's type weighs errors. */
  readonly importance?: Float32Array | undefined;
  /** Number of the first row within the source tensor, for `edits`. */
  readonly firstRow: number;
  /** In order, all in float32. */
  readonly edits: readonly RowEdit[];
  /** Moves whole rows within groups of `size`: row i of a group comes from row `from(i)`. */
  readonly reorder?: { readonly size: number; readonly from: (row: number) => number };
}

export interface StreamOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called with the source bytes done since the last call. */
  readonly onBytes: (bytes: number, tensor: string) => void;
}

export async function streamRows(addon: NativeAddon, jobs: AsyncIterable<RowJob>, options: StreamOptions): Promise<void> {
  const chunks = chunksOf(jobs);
  const lane = async (signal: AbortSignal) => {
    for (;;) {
      signal.throwIfAborted();
      const next = await chunks.next();
      if (next.done) return;
      await convertChunk(addon, next.value, signal);
      options.onBytes(next.value.rows * next.value.sourceRowBytes, next.value.tensor);
    }
  };
  const lanes = Array.from({ length: Math.min(MAX_LANES, availableParallelism()) }, () => lane);
  await together(options.signal, lanes);
}

async function* chunksOf(jobs: AsyncIterable<RowJob>): AsyncGenerator<RowJob, void, void> {
  for await (const job of jobs) {
    const step = rowsPerChunk(job);
    for (let row = 0; row < job.rows; row += step) {
      yield {
        ...job,
        rows: Math.min(step, job.rows - row),
        firstRow: job.firstRow + row,
        sourceOffset: job.sourceOffset + row * job.sourceRowBytes,
        targetOffset: job.targetOffset + row * job.targetRowBytes,
      };
    }
  }
}

function rowsPerChunk({ columns, reorder }: RowJob): number {
  const group = reorder?.size ?? 1;
  return Math.max(1, Math.floor(CHUNK_ELEMENTS / columns / group)) * group;
}

async function convertChunk(addon: NativeAddon, chunk: RowJob, signal: AbortSignal): Promise<void> {
  let bytes: Uint8Array = await chunk.source.read(chunk.rows * chunk.sourceRowBytes, chunk.sourceOffset, signal);
  let type = chunk.sourceType;
  if (chunk.edits.length > 0) {
    if (type !== "F32") bytes = await convertRows(addon, chunk, bytes, type, "F32");
    type = "F32";
    const values = asFloats(bytes);
    for (const edit of chunk.edits) edit(values, chunk.firstRow, chunk.columns);
    bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  }
  if (chunk.reorder) bytes = reordered(bytes, bytes.byteLength / chunk.rows, chunk.reorder);
  if (type !== chunk.targetType) bytes = await convertRows(addon, chunk, bytes, type, chunk.targetType);
  await writeAt(chunk.target, bytes, chunk.targetOffset);
}

/** The addon does not know which tensor it has in hand; the error should. */
async function convertRows(addon: NativeAddon, chunk: RowJob, bytes: Uint8Array, from: TensorType, to: TensorType): Promise<Uint8Array> {
  try {
    return await addon.convertRows(bytes, from, to, chunk.columns, to === chunk.targetType ? chunk.importance : undefined);
  } catch (cause) {
    throw new RerankerError("CONVERT_FAILED", `Tensor \`${chunk.tensor}\`: ${(cause as Error).message}.`, { cause });
  }
}

/** safetensors and GGUF are little-endian, and so is every platform we run on. */
function asFloats(bytes: Uint8Array): Float32Array {
  if (bytes.byteOffset % 4 === 0) return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  return new Float32Array(new Uint8Array(bytes).buffer);
}

function reordered(bytes: Uint8Array, rowBytes: number, { size, from }: NonNullable<RowJob["reorder"]>): Uint8Array {
  const result = new Uint8Array(bytes.byteLength);
  for (let row = 0; row * rowBytes < bytes.byteLength; row++) {
    const group = row - (row % size);
    const source = (group + from(row % size)) * rowBytes;
    result.set(bytes.subarray(source, source + rowBytes), row * rowBytes);
  }
  return result;
}

// Metadata that comes out of the weights themselves. The header is written before they are read, with placeholders of the same
// size, so that the place of every tensor is known while the weights are still on their way.
import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import type { NativeAddon } from "../addon/native.js";
import { RerankerError } from "../errors.js";
import { readAt, writeAt } from "../files/output-file.js";
import type { Checkpoint } from "./checkpoint.js";
import { type CheckpointConfig, quantity } from "./config.js";
import { PAD_ROW_KEY, SHA256_KEY } from "./metadata.js";
import { reservedPositions } from "./tensor-plan.js";
import { hashInto, type WeightFile } from "./weight-file.js";

/** Our keys stand before the vocabulary and the long ones. */
const FRONT_BYTES = 65536;

/** SHA-256 of the weight files, one after the other in name order. */
export async function hashWeights(files: readonly WeightFile[], signal: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  for (const file of files) await hashInto(hash, file, { signal });
  return hash.digest("hex");
}

/** Stands for the row until it is read; undefined for models without one. */
export function emptyPadPosition(config: CheckpointConfig): Float32Array | undefined {
  return reservedPositions(config) === 0 ? undefined : new Float32Array(quantity(config, "n_embd"));
}

/** The position a literal padding token gets. The table that tokens use begins behind it. */
export async function readPadPosition(
  addon: NativeAddon,
  { config, plan }: Checkpoint,
  signal: AbortSignal,
): Promise<Float32Array | undefined> {
  if (reservedPositions(config) === 0) return undefined;
  const part = plan.tensors.find((tensor) => tensor.transform === "drop-reserved-positions")?.parts[0];
  if (!part) return undefined;
  const { shape, sizeBytes, offset, file } = part.source;
  const width = sizeBytes / (shape[0] ?? 1);
  const reader = await file.open();
  try {
    const row = await reader.read(width, offset + config.padTokenId * width, signal);
    const floats = await addon.convertRows(row, part.sourceType, "F32", shape.at(-1) ?? 1);
    return new Float32Array(new Uint8Array(floats).buffer);
  } finally {
    await reader.close();
  }
}

/** Puts the true values where the header has placeholders. */
export async function patchMetadata(
  file: FileHandle,
  headerBytes: number,
  sha256: string,
  padPosition: Float32Array | undefined,
): Promise<void> {
  const front = await readAt(file, Math.min(headerBytes, FRONT_BYTES), 0, "the header");
  await writeAt(file, Buffer.from(sha256), valueOffset(front, SHA256_KEY, 4 + 8)); // its type, its length
  if (!padPosition) return;
  const bytes = new Uint8Array(padPosition.buffer, padPosition.byteOffset, padPosition.byteLength);
  await writeAt(file, bytes, valueOffset(front, PAD_ROW_KEY, 4 + 4 + 8)); // type of the array, of its elements, their number
}

/** Where the value of a key begins. A GGUF string, and so a key, has its length before it as 64 bits. */
function valueOffset(front: Buffer, key: string, between: number): number {
  const needle = Buffer.concat([Buffer.alloc(8), Buffer.from(key)]);
  needle.writeBigUInt64LE(BigInt(key.length));
  const at = front.indexOf(needle);
  if (at < 0) throw new RerankerError("CONVERT_FAILED", `The header just written has no \`${key}\`.`);
  return at + needle.length + between;
}

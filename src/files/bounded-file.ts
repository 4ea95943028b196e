// Small files of a checkpoint are read whole, so their size is bounded first.
import type { FileHandle } from "node:fs/promises";
import { basename } from "node:path";
import { openRegular } from "./regular-file.js";

const CHUNK_BYTES = 4 << 20;
const MAX_TEXT_BYTES = 64 << 10;

/**
 * @param tooLarge - Makes the error for a file of more than `maxBytes`, from the reason.
 * @returns The file's bytes, or undefined when there is no such file.
 * @throws {RerankerError} `IO` when it cannot be opened, or is no regular file.
 */
export async function readBounded(path: string, maxBytes: number, tooLarge: (why: string) => Error): Promise<Uint8Array | undefined> {
  const what = `\`${basename(path)}\``;
  const file = await openRegular(path, what);
  if (!file) return undefined;
  try {
    const { size } = await file.stat();
    if (size > maxBytes) throw tooLarge(`${what} has ${size} bytes; at most ${maxBytes} are read`);
    return await readWhole(file, size, maxBytes, (why) => tooLarge(`${what} ${why}`));
  } finally {
    await file.close();
  }
}

/** Never more than was allowed, though the file grows meanwhile or does not know its size. */
async function readWhole(
  file: Pick<FileHandle, "read">,
  size: number,
  maxBytes: number,
  tooLarge: (why: string) => Error,
): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let total = 0;
  for (;;) {
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, Math.max(size - total, 0) + 1));
    const { bytesRead } = await file.read(chunk, 0, chunk.length, total);
    if (bytesRead === 0) break;
    total += bytesRead;
    if (total > maxBytes) throw tooLarge(`grew beyond ${maxBytes} bytes while it was read`);
    chunks.push(chunk.subarray(0, bytesRead));
  }
  return Buffer.concat(chunks);
}

/** A short text, or undefined when it cannot be had, for whatever reason. */
export async function readText(path: string): Promise<string | undefined> {
  const bytes = await readBounded(path, MAX_TEXT_BYTES, (why) => new Error(why)).catch(() => undefined);
  return bytes && Buffer.from(bytes).toString("utf8");
}

// The bytes of a data file, decompressed as its name says, a chunk at a time.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { Readable, Transform } from "node:stream";
import { createGunzip } from "node:zlib";
import { RerankerError } from "../errors.js";
import { compressionOf } from "./format.js";
import { createUnzstd } from "./zstd.js";

export interface ReadOptions {
  readonly signal?: AbortSignal | undefined;
  /** Where to begin; only in files that are not compressed. @default 0 */
  readonly startByte?: number | undefined;
  /** Is given the bytes as they are on disk, for a digest. */
  readonly onRawBytes?: ((bytes: Uint8Array) => void) | undefined;
}

/** @param path - `-` reads standard input. @throws {RerankerError} `IO`: not readable, not a regular file, or damaged. */
export async function* readChunks(path: string, options: ReadOptions = {}): AsyncGenerator<Buffer> {
  const { signal, startByte = 0, onRawBytes } = options;
  if (path !== "-") await throwUnlessFile(path);
  const file: Readable = path === "-" ? process.stdin : createReadStream(path, { start: startByte, highWaterMark: 1 << 18 });
  if (onRawBytes) file.on("data", onRawBytes);
  const unpacker = await unpackerFor(path);
  const stream = unpacker ? file.pipe(unpacker) : file;
  if (unpacker) file.once("error", (error) => unpacker.destroy(error));
  try {
    for await (const chunk of stream) {
      signal?.throwIfAborted();
      yield chunk as Buffer;
    }
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    if (error instanceof RerankerError) throw error;
    throw new RerankerError("IO", `Cannot read ${path}: ${(error as Error).message}`, { cause: error });
  } finally {
    file.destroy();
    stream.destroy();
  }
}

/** Folders, pipes and devices would fail late or never end. */
export async function throwUnlessFile(path: string): Promise<void> {
  const stats = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    throw new RerankerError("IO", `Cannot read ${path}: ${cause.message}`, { cause });
  });
  if (!stats.isFile()) throw new RerankerError("IO", `Cannot read ${path}: it is ${stats.isDirectory() ? "a folder" : "no regular file"}`);
}

async function unpackerFor(path: string): Promise<Transform | undefined> {
  const compression = compressionOf(path);
  switch (compression) {
    case "none":
      return undefined;
    case "gzip":
      return createGunzip();
    case "zstd":
      return createUnzstd();
    default:
      return compression satisfies never;
  }
}

// Weight files as the converter reads them: whole on this disk, or still on their way to it.
import type { Hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { RerankerError } from "../errors.js";
import { readAt } from "../files/output-file.js";
import { openRegular } from "../files/regular-file.js";

export interface WeightFile {
  /** File name without its folder. */
  readonly name: string;
  open(): Promise<WeightReader>;
  /** Resolves when a download has been checked against its hash; rejects when it failed. At once for a local file. */
  verified(): Promise<void>;
}

/** An open weight file. Whoever opened it closes it. */
export interface WeightReader {
  /** Of the whole file, also while only a part has arrived. */
  readonly sizeBytes: number;
  /** Waits for bytes that have not arrived yet. */
  read(length: number, position: number, signal?: AbortSignal): Promise<Buffer>;
  close(): Promise<void>;
}

/** Weights that are not whole yet, as the download gives them to the converter. */
export interface ArrivingWeights {
  readonly files: readonly WeightFile[];
  /**
   * To be called when the layout of the new file is known, before weights are read: they come after that.
   *
   * @param path - The new file. @param sizeBytes - Its size when it is whole.
   * @throws {RerankerError} `IO` when it and what is still to come do not fit on the disk together.
   */
  planned(path: string, sizeBytes: number): Promise<void>;
}

export function localFile(path: string): WeightFile {
  const name = basename(path);
  return {
    name,
    async open() {
      const handle = await openRegular(path, `\`${name}\``);
      if (!handle)
        throw new RerankerError("MODEL_NOT_FOUND", `There is no \`${name}\` in \`${dirname(path)}\`; download all weight files.`);
      return localReader(handle, name);
    },
    verified: () => Promise.resolve(),
  };
}

async function localReader(handle: FileHandle, name: string): Promise<WeightReader> {
  const { size } = await handle.stat();
  return {
    sizeBytes: size,
    read: (length, position) => readAt(handle, length, position, `\`${name}\``),
    close: () => handle.close(),
  };
}

const PIECE_BYTES = 1 << 20;

/** Hashes a part of a file, or all of it, in pieces. */
export async function hashInto(
  hash: Hash,
  file: WeightFile,
  { offset = 0, sizeBytes, signal }: { readonly offset?: number; readonly sizeBytes?: number; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  const reader = await file.open();
  try {
    const end = offset + (sizeBytes ?? reader.sizeBytes);
    for (let at = offset; at < end; at += PIECE_BYTES) {
      signal?.throwIfAborted();
      hash.update(await reader.read(Math.min(PIECE_BYTES, end - at), at, signal));
    }
  } finally {
    await reader.close();
  }
}

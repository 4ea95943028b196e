// Zstandard: Node's own from 22.15 on, else fzstd in JavaScript.
import { Transform, type TransformCallback } from "node:stream";
import * as zlib from "node:zlib";

export async function createUnzstd(): Promise<Transform> {
  const native = (zlib as { createZstdDecompress?: () => Transform }).createZstdDecompress;
  return native ? native() : createSlowUnzstd();
}

/** About a third of the native speed; window sizes up to 32 MiB, which is all that `zstd` writes unless `--long` asks for more. */
export async function createSlowUnzstd(): Promise<Transform> {
  const { Decompress } = await import("fzstd");
  const unpack = new Decompress();
  const attempt = (work: () => void, done: TransformCallback) => {
    try {
      work();
      done();
    } catch (error) {
      done(error as Error);
    }
  };
  const stream = new Transform({
    transform: (chunk: Buffer, _, done) => attempt(() => unpack.push(chunk), done),
    // The last push throws when the file ends early.
    flush: (done) => attempt(() => unpack.push(new Uint8Array(), true), done),
  });
  unpack.ondata = (bytes) => {
    if (bytes.length > 0) stream.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  };
  return stream;
}

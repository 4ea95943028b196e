// The digest of a model's file: what two machines compare before they call their scores the same.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { RerankerError } from "../index.js";

export async function fingerprintOf(path: string, signal?: AbortSignal): Promise<string> {
  const digest = createHash("sha256");
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20, ...(signal && { signal }) })) digest.update(chunk as Buffer);
  } catch (cause) {
    if (signal?.aborted) throw signal.reason;
    throw new RerankerError("IO", `Cannot read ${path}: ${(cause as Error).message}`, { cause });
  }
  return digest.digest("hex");
}

// Outputs for storages that take whole objects: written to the system's folder for temporary files, then sent.
import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { PendingOutput } from "./storage.js";

export function temporaryOutput(name: string, send: (path: string) => Promise<void>): PendingOutput {
  const path = join(tmpdir(), `bge-reranker-${process.pid}-${randomBytes(6).toString("hex")}-${basename(name)}`);
  return { path, commit: () => send(path), discard: () => rm(path, { force: true }) };
}

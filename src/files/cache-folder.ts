// Where this user's caches lie on each system.
import { homedir } from "node:os";
import path from "node:path";
import { RerankerError } from "../errors.js";

/**
 * The folder of this package in the user's cache folder. It may not exist yet.
 *
 * @throws {RerankerError} `IO` for a user without a home, as in a container that names a user by number alone.
 */
export function userCacheFolder(): string {
  const { LOCALAPPDATA, XDG_CACHE_HOME } = process.env;
  if (process.platform === "darwin") return path.join(homeFolder(), "Library", "Caches", "bge-reranker");
  if (process.platform === "win32" && LOCALAPPDATA) return path.join(LOCALAPPDATA, "bge-reranker", "Cache");
  return path.join(XDG_CACHE_HOME || path.join(homeFolder(), ".cache"), "bge-reranker");
}

/** @throws {RerankerError} `IO` for a user without one. */
export function homeFolder(): string {
  try {
    return homedir();
  } catch (cause) {
    const message =
      "This user has no home folder to keep a cache in. Set HOME or XDG_CACHE_HOME to a folder, or HF_HOME and BGE_RERANKER_CACHE for models";
    throw new RerankerError("IO", message, { cause });
  }
}

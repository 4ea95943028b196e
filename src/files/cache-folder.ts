// Where this user's caches lie on each system.
import { homedir } from "node:os";
import path from "node:path";
import { RerankerError } from "../errors.js";

/**
 * The folder of this package in the user's cache folder. It may not exist yet.
 *
 * @throws {RerankerError} `IO` for a user without a home.
 */
export function userCacheFolder(): string {
  const { LOCALAPPDATA } = process.env;
  if (process.platform === "darwin") return path.join(homeFolder(), "Library", "Caches", "bge-reranker");
  if (process.platform === "win32" && LOCALAPPDATA) return path.join(LOCALAPPDATA, "bge-reranker", "Cache");
  return path.join(cacheHome(), "bge-reranker");
}

/** XDG_CACHE_HOME, which the standard ignores unless it is absolute: code is loaded from below it. */
export function cacheHome(): string {
  const { XDG_CACHE_HOME } = process.env;
  return XDG_CACHE_HOME && path.isAbsolute(XDG_CACHE_HOME) ? XDG_CACHE_HOME : path.join(homeFolder(), ".cache");
}

/** Node asks the system where HOME is not set, and some containers run as a user whom the system does not know. */
function homeFolder(): string {
  let home = "";
  try {
    home = homedir();
  } catch {
    // told below
  }
  if (path.isAbsolute(home)) return home;
  throw new RerankerError(
    "IO",
    "This user has no home folder to keep a cache in. Set HOME or XDG_CACHE_HOME to a folder, or HF_HOME and BGE_RERANKER_CACHE for models",
  );
}

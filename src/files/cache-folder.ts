// Where this user's caches lie on each system.
import { homedir } from "node:os";
import path from "node:path";

/** The folder of this package in the user's cache folder. It may not exist yet. */
export function userCacheFolder(): string {
  const { LOCALAPPDATA, XDG_CACHE_HOME } = process.env;
  if (process.platform === "darwin") return path.join(homedir(), "Library", "Caches", "bge-reranker");
  if (process.platform === "win32" && LOCALAPPDATA) return path.join(LOCALAPPDATA, "bge-reranker", "Cache");
  return path.join(XDG_CACHE_HOME || path.join(homedir(), ".cache"), "bge-reranker");
}

// Only regular files are read: a folder, a pipe or a device would fail late, hang past SIGTERM or never end.
import { constants, type FileHandle, open, stat } from "node:fs/promises";
import { RerankerError } from "../errors.js";

/** What a thing is that is no regular file. */
export function kindOfFile(stats: { isDirectory(): boolean; isFIFO(): boolean; isSocket(): boolean }): string {
  if (stats.isDirectory()) return "a folder";
  return stats.isFIFO() ? "a pipe" : stats.isSocket() ? "a socket" : "a device";
}

/** @throws {RerankerError} `IO`: there is something by that name that is no regular file. */
export async function throwUnlessRegular(path: string): Promise<void> {
  const stats = await stat(path).catch(() => undefined); // what is not there is told by who reads it
  if (stats && !stats.isFile()) throw new RerankerError("IO", `Cannot read \`${path}\`: it is ${kindOfFile(stats)}, no regular file.`);
}

/**
 * Opens a file for reading, looking at what it is before a byte is read. Opening does not wait, as it would for a pipe.
 *
 * @param what - How messages call it.
 * @returns undefined when there is nothing by that name.
 * @throws {RerankerError} `IO`: it cannot be opened, or is no regular file.
 */
export async function openRegular(path: string, what: string): Promise<FileHandle | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    throw new RerankerError("IO", `Cannot read ${what}: ${message}`, { cause });
  }
  try {
    const stats = await file.stat();
    if (stats.isFile()) return file;
    throw new RerankerError("IO", `Cannot read ${what}: it is ${kindOfFile(stats)}, no regular file.`);
  } catch (error) {
    await file.close();
    throw error;
  }
}

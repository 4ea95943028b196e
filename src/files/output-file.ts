// A file that appears whole or not at all: written beside its final place, synced, then renamed.
import { createHash, randomBytes } from "node:crypto";
import { access, type FileHandle, open, readdir, readlink, rename, rm, stat, statfs } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { asRerankerError, RerankerError } from "../errors.js";

export interface OutputFile {
  readonly temporaryPath: string;
  /** Renames the finished temporary file into place. */
  commit(): Promise<void>;
  /** Removes the temporary file, if it is still there. */
  discard(): Promise<void>;
}

export async function createOutput(path: string, overwrite: boolean): Promise<OutputFile> {
  const folder = dirname(path);
  const isFolder = await stat(folder).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
  if (!isFolder) throw new RerankerError("IO", `Folder \`${folder}\` does not exist; create it first.`);
  if (!overwrite && (await exists(path)))
    throw new RerankerError("IO", `\`${path}\` exists; pass \`overwrite: true\` to replace it, or choose another name.`);
  const machine = await machineTag();
  await sweep(folder, machine);
  const temporaryPath = join(folder, `.${basename(path)}.${process.pid}-${machine}.${randomBytes(6).toString("hex")}.tmp`);
  return {
    temporaryPath,
    async commit() {
      await rename(temporaryPath, path);
      await syncFolder(folder);
    },
    discard: () => rm(temporaryPath, { force: true }),
  };
}

/**
 * Where process numbers mean the same: this machine, or this container on it. A folder may be shared with others, whose
 * processes cannot be seen from here.
 */
async function machineTag(): Promise<string> {
  const space = await readlink("/proc/self/ns/pid").catch(() => "");
  return createHash("sha256").update(`${hostname()} ${space}`).digest("hex").slice(0, 8);
}

const TEMPORARY = /^\..+\.(\d+)-([0-9a-f]{8})\.[0-9a-f]{12}\.tmp(\.vocabulary)?$/;

/** Removes what processes left that were killed: temporary files of this machine whose process is gone. */
async function sweep(folder: string, machine: string): Promise<void> {
  const names = await readdir(folder).catch((): string[] => []);
  const left = names.filter((name) => {
    const [, pid, tag] = TEMPORARY.exec(name) ?? [];
    return tag === machine && !isAlive(Number(pid));
  });
  await Promise.all(left.map((name) => rm(join(folder, name), { force: true }).catch(() => undefined)));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0); // sends nothing
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH"; // EPERM: alive, and another user's
  }
}

/**
 * @param inputs - Files that are read to make the output.
 * @throws {RerankerError} `IO` when the output is one of them, by whatever name.
 */
export async function throwIfInput(path: string, inputs: readonly string[]): Promise<void> {
  const there = await stat(path, { bigint: true }).catch(() => undefined);
  if (!there) return;
  for (const input of inputs) {
    const other = await stat(input, { bigint: true }).catch(() => undefined);
    if (other?.dev === there.dev && other.ino === there.ino)
      throw new RerankerError("IO", `\`${path}\` is \`${input}\`, which is read to make it; name another file for the output.`);
  }
}

export async function throwIfDiskFull(path: string, neededBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(path));
  const free = bavail * bsize;
  if (free >= neededBytes) return;
  throw new RerankerError(
    "IO",
    `\`${dirname(path)}\` has ${megabytes(free)} MB free, the file needs ${megabytes(neededBytes)} MB. Make room or choose another output.`,
  );
}

/** What went wrong below us as a RerankerError: system calls by `errno`, native code by its own code. The caller's errors pass. */
export function outputError(error: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted) return signal.reason;
  if (!(error instanceof Error) || !("code" in error)) return error;
  if ("errno" in error || "syscall" in error)
    return new RerankerError("IO", `Reading or writing failed: ${error.message}`, { cause: error });
  return asRerankerError(error, "CONVERT_FAILED");
}

/** Writes all of `bytes`; a plain write may stop short. */
export async function writeAt(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    const { bytesWritten } = await file.write(bytes, done, bytes.byteLength - done, position + done);
    done += bytesWritten;
  }
}

export async function readAt(file: FileHandle, length: number, position: number, what: string): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(buffer, done, length - done, position + done);
    if (bytesRead === 0) throw new RerankerError("IO", `${what} ends early; it changed while it was read.`);
    done += bytesRead;
  }
  return buffer;
}

/** Makes the rename itself durable. Windows has no such call and no need of it. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  await handle.sync().catch(() => undefined); // some file systems refuse
  await handle.close();
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function megabytes(bytes: number): number {
  return Math.ceil(bytes / 1e6);
}

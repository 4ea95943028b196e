// A lock between processes: one file, made by its owner alone, taken over when the owner is gone.
import { randomUUID } from "node:crypto";
import { mkdir, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

// The owner touches the file this often; a lock untouched for the second time belongs to a machine or process that stopped.
const HEARTBEAT_MS = 5_000;
const STALE_MS = 60_000;
/** An owner that was not killed writes its name at once. */
const UNWRITTEN_MS = 2_000;
const POLL_MS = 100;

interface Owner {
  readonly key: string;
  readonly pid: number;
  readonly host: string;
}

/** Runs `work` while no other process holds the lock at `path`. */
export async function withLock<T>(path: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  const release = await acquire(path, signal);
  try {
    return await work();
  } finally {
    await release();
  }
}

async function acquire(path: string, signal: AbortSignal | undefined): Promise<() => Promise<void>> {
  await mkdir(dirname(path), { recursive: true });
  const owner: Owner = { key: randomUUID(), pid: process.pid, host: hostname() };
  while (!(await create(path, owner))) {
    signal?.throwIfAborted();
    const holder = await readOwner(path);
    if (holder === "gone") continue;
    if (await isStale(path, holder)) await removeStale(path, holder, signal);
    else await sleep(POLL_MS, undefined, signal ? { signal } : {}).catch(() => signal?.throwIfAborted());
  }
  const heartbeat = setInterval(() => utimes(path, new Date(), new Date()).catch(() => undefined), HEARTBEAT_MS);
  heartbeat.unref();
  return async () => {
    clearInterval(heartbeat);
    const holder = await readOwner(path);
    if (holder !== "gone" && holder?.key === owner.key) await rm(path, { force: true });
  };
}

/** Only one process can make a file that must not be there. */
async function create(path: string, owner: Owner): Promise<boolean> {
  try {
    await writeFile(path, JSON.stringify(owner), { flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

/** undefined: the file is there, but its owner has not written to it yet. */
async function readOwner(path: string): Promise<Owner | undefined | "gone"> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as Owner;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? "gone" : undefined;
  }
}

async function isStale(path: string, owner: Owner | undefined): Promise<boolean> {
  const stats = await stat(path).catch(() => undefined);
  if (!stats) return false;
  const age = Date.now() - stats.mtimeMs;
  if (age > (owner === undefined ? UNWRITTEN_MS : STALE_MS)) return true;
  return owner?.host === hostname() && !isRunning(owner.pid);
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/**
 * Two waiting processes must not both remove: the slower one would remove the new lock of the faster one. So removing has a
 * lock of its own, in which the owner is looked at once more.
 */
async function removeStale(path: string, stale: Owner | undefined, signal: AbortSignal | undefined): Promise<void> {
  await withLock(`${path}.takeover`, signal, async () => {
    const holder = await readOwner(path);
    if (holder !== "gone" && holder?.key === stale?.key && (await isStale(path, holder))) await rm(path, { force: true });
  });
}

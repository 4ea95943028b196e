// Outputs in a folder: written under another name beside their place, synced, then renamed.
import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { RerankerError } from "../../index.js";
import type { PendingOutput, Storage } from "./storage.js";

// On a shared file system nobody can tell whether another machine's process still runs.
const FOREIGN_STALE_MS = 24 * 3600 * 1000;
const TEMPORARY = /^\.(.+)\.([^.]+)\.(\d+)\.([0-9a-f]{12})\.tmp$/;

export class FolderStorage implements Storage {
  readonly name: string;
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
    this.name = folder;
  }

  async create(name: string): Promise<PendingOutput> {
    const target = join(this.#folder, name);
    const folder = dirname(target);
    await attempt(`make the folder ${folder}`, () => mkdir(folder, { recursive: true }));
    const key = randomBytes(6).toString("hex");
    const path = join(folder, `.${basename(name)}.${hostKey()}.${process.pid}.${key}.tmp`);
    return {
      path,
      async commit() {
        await attempt(`write ${target}`, () => rename(path, target));
        await syncFolder(folder);
      },
      async discard() {
        await rm(path, { force: true });
      },
    };
  }

  async read(name: string): Promise<Buffer | undefined> {
    return readFile(join(this.#folder, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw new RerankerError("IO", `Cannot read ${join(this.#folder, name)}: ${error.message}`, { cause: error });
    });
  }

  async size(name: string): Promise<number | undefined> {
    return (await stat(join(this.#folder, name)).catch(() => undefined))?.size;
  }

  async remove(name: string): Promise<void> {
    await attempt(`remove ${name}`, () => rm(join(this.#folder, name), { force: true }));
  }

  async sweep(): Promise<void> {
    for (const folder of [this.#folder, join(this.#folder, "_parts")]) {
      for (const name of await readdir(folder).catch(() => [])) {
        if (await isLeftOver(join(folder, name))) await rm(join(folder, name), { force: true });
      }
    }
  }
}

async function isLeftOver(path: string): Promise<boolean> {
  const [, , host, pid] = TEMPORARY.exec(basename(path)) ?? [];
  const stats = host === undefined ? undefined : await stat(path).catch(() => undefined);
  if (!stats) return false;
  if (host !== hostKey()) return Date.now() - stats.mtimeMs > FOREIGN_STALE_MS;
  // A container's next process may have the number of the last: what is older than this process is not its own.
  return Number(pid) === process.pid ? stats.mtimeMs < Date.now() - process.uptime() * 1000 - 1000 : !isRunning(Number(pid));
}

function hostKey(): string {
  return hostname().replace(/[^A-Za-z0-9-]/g, "-") || "host";
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Makes the rename itself durable. Windows has no such call and no need of it. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(folder, "r").catch(() => undefined);
  await handle?.sync().catch(() => undefined); // some file systems refuse
  await handle?.close();
}

async function attempt<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw new RerankerError("IO", `Cannot ${what}: ${(cause as Error).message}`, { cause });
  }
}

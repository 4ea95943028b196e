// Private copies of the ggml libraries, so that two versions can live in one process. Linux and Windows bind a library
// to an already loaded one of the same bare name, and libggml-base carries no version in its name: without a name of
// our own, whichever version comes second would silently run on the base of the first. A copy differs from its original
// only in the names of libggml-base and libggml, each replaced by one of equal length.
import { createHash, randomUUID } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  utimesSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { userCacheFolder } from "../files/cache-folder.js";
import { isOwn } from "./addon-files.js";
import type { GgmlLibraries } from "./ggml-libraries.js";

/** The files that enter the process. */
export interface Placement {
  readonly base: string;
  readonly ggml: string;
  /** The file to load for a backend module of the same build. */
  module(file: string): string;
}

/** macOS is left out: a changed library loses its signature, and @rpath gives each libggml the base beside it anyway. */
export const canIsolate: boolean = process.platform === "linux" || process.platform === "win32";

/** The libraries as they were installed. */
export function inPlace({ base, ggml }: GgmlLibraries): Placement {
  return { base, ggml, module: (file) => file };
}

/** Folders for private copies, best first: temporary folders may forbid executables, homes may be read-only. */
export function privateRoots(): string[] {
  const user = process.getuid?.();
  const roots = [path.join(tmpdir(), user === undefined ? "bge-reranker-ggml" : `bge-reranker-ggml-${user}`)];
  try {
    roots.unshift(path.join(userCacheFolder(), "ggml"));
  } catch {
    // users without a home
  }
  return roots;
}

/**
 * Makes private copies below `root`, or finds them there. Copies of one build are shared by all processes and
 * projects of the user; the folder can be deleted at any time.
 *
 * @throws {Error} The folder cannot be written or is not the user's own, or the libraries are not named as expected.
 */
export function privateCopies({ base, ggml }: GgmlLibraries, root: string): Placement {
  const digest = createHash("sha256").update(readFileSync(base)).update(readFileSync(ggml)).digest("hex");
  const names = { base: renaming(base, digest), ggml: renaming(ggml, digest) };
  const folder = path.join(root, digest.slice(0, 16));
  ensureOwnFolder(root);
  ensureOwnFolder(folder);
  const copy = (file: string, name: string) => copyRenamed(file, path.join(folder, name), names);
  return {
    base: copy(base, names.base.to),
    ggml: copy(ggml, names.ggml.to),
    // The size tells apart builds that share a name: CUDA modules for two CUDA versions.
    module: (file) => copy(file, `${statSync(file).size}-${path.basename(file)}`),
  };
}

interface Renaming {
  readonly from: string;
  readonly to: string;
}

interface Renamings {
  readonly base: Renaming;
  readonly ggml: Renaming;
}

/** libggml-base.so -> libbge1f09a2.so. The digest gives two versions of this package two names. */
function renaming(file: string, digest: string): Renaming {
  const from = path.basename(file);
  return { from, to: from.replace(/(?<=^(?:lib)?)ggml.*(?=\.\w+$)/, (stem) => `bge${digest}`.slice(0, stem.length)) };
}

// Trusted unread: a regular file of this user in a folder only they can write, as large as its original and no older.
function copyRenamed(source: string, target: string, names: Renamings): string {
  const original = statSync(source);
  const made = statOwn(target);
  if (made?.size === original.size && made.mtimeMs >= original.mtimeMs) return target;
  const bytes = readFileSync(source);
  if (!replaceName(bytes, names.base)) throw new Error(`${source} does not refer to ${names.base.from}`);
  replaceName(bytes, names.ggml);
  if (made && readFileSync(target).equals(bytes)) {
    const now = new Date();
    utimesSync(target, now, now);
    return target;
  }
  replaceFile(target, bytes);
  return target;
}

// Names end in a NUL in the string tables of ELF and PE files.
function replaceName(bytes: Buffer, { from, to }: Renaming): boolean {
  const wanted = Buffer.from(`${from}\0`, "latin1");
  const first = bytes.indexOf(wanted);
  for (let at = first; at >= 0; at = bytes.indexOf(wanted, at)) bytes.write(to, at, "latin1");
  return first >= 0;
}

// Complete on disk before it gets its name: no other process and no power cut ever shows half of it.
function replaceFile(target: string, bytes: Buffer): void {
  const draft = `${target}.${randomUUID()}`;
  try {
    const file = openSync(draft, "wx", 0o600);
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(draft, target);
  } catch (error) {
    rmSync(draft, { force: true });
    // Windows does not replace a library in use; another process may have just put the same bytes there.
    if (!(statOwn(target) && readFileSync(target).equals(bytes))) throw error;
  }
}

function ensureOwnFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const stats = lstatSync(folder);
  if (!stats.isDirectory()) throw new Error(`${folder} is not a folder`);
  if (!isOwn(stats)) throw new Error(`${folder} belongs to another user, or others may write to it`);
}

function statOwn(file: string): Stats | undefined {
  const stats = lstatSync(file, { throwIfNoEntry: false });
  return stats?.isFile() && isOwn(stats) ? stats : undefined;
}

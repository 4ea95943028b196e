// Text files that a caller names, read only inside the folders that were opened to it.
import { constants, type Dirent } from "node:fs";
import { open, readdir, realpath, stat } from "node:fs/promises";
import path from "node:path";

/** A file to rank. */
export interface TextFile {
  /** Relative to its root. */
  readonly name: string;
  readonly text: string;
}

/** A mistake in what was asked for: told to the caller, who can mend it. */
export class FileRequestError extends Error {}

export interface ReadFiles {
  readonly files: readonly TextFile[];
  /** Files of folders that were left out: not UTF-8, or too large. */
  readonly skipped: readonly string[];
}

const MAX_FILES = 2000;
const MAX_FILE_BYTES = 4 * 2 ** 20;
const MAX_TOTAL_BYTES = 64 * 2 ** 20;
const TEXT_NAME =
  /\.(md|mdx|markdown|txt|text|rst|adoc|org|tex|html?|csv|tsv|jsonl?|ya?ml|toml|xml|[cm]?[jt]sx?|py|rb|go|rs|java|kt|c|cc|cpp|h|hpp|cs|php|swift|sh|sql|log)$/i;

/**
 * Reads files, and text files of folders, in the order named and each once.
 *
 * @param roots - Folders whose files may be read, links out of them not.
 * @param names - Paths, absolute or relative to a root; the first root that has one counts.
 * @throws {FileRequestError} A path that is missing, outside the roots, no text, or too large.
 */
export async function readTextFiles(roots: readonly string[], names: readonly string[], signal: AbortSignal): Promise<ReadFiles> {
  if (roots.length === 0) {
    throw new FileRequestError("No folder is open to this server: start it with --root FOLDER, or send the texts as `documents`");
  }
  const real = await Promise.all(roots.map(realRoot));
  const reader = new Reader(real, signal);
  for (const name of names) await reader.addNamed(name);
  return reader.done();
}

async function realRoot(root: string): Promise<string> {
  return realpath(root).catch((cause) => {
    throw new FileRequestError(`The root ${root} cannot be opened`, { cause });
  });
}

function isInside(root: string, file: string): boolean {
  const relative = path.relative(root, file);
  return relative !== ".." && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative);
}

class Reader {
  readonly #roots: readonly string[];
  readonly #signal: AbortSignal;
  readonly #files = new Map<string, TextFile>();
  readonly #skipped: string[] = [];
  #bytes = 0;

  constructor(roots: readonly string[], signal: AbortSignal) {
    this.#roots = roots;
    this.#signal = signal;
  }

  done(): ReadFiles {
    return { files: [...this.#files.values()], skipped: this.#skipped };
  }

  async addNamed(name: string): Promise<void> {
    if (name.includes("\0")) throw new FileRequestError("A path holds a zero byte");
    for (const root of this.#roots) {
      const file = await realpath(path.resolve(root, name)).catch(() => undefined);
      // What lies outside is answered as what is not there: a caller does not learn what else this disk has.
      if (file === undefined || !isInside(root, file)) continue;
      if ((await stat(file)).isDirectory()) return this.#addFolder(root, file);
      const read = await this.#read(root, file);
      if (read !== "added") throw new FileRequestError(`${name} is ${read}`);
      return;
    }
    throw new FileRequestError(`${name} is not in the folders open to this server`);
  }

  async #addFolder(root: string, folder: string): Promise<void> {
    const entries = await readdir(folder, { withFileTypes: true });
    entries.sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const entry of entries) {
      if (entry.name.startsWith(".") || entry.name === "node_modules") continue;
      await this.#addEntry(root, path.join(folder, entry.name), entry);
    }
  }

  /** Links are not followed: a folder may lead back to itself. */
  async #addEntry(root: string, file: string, entry: Dirent): Promise<void> {
    this.#signal.throwIfAborted();
    if (entry.isDirectory()) return this.#addFolder(root, file);
    if (!entry.isFile() || !TEXT_NAME.test(entry.name)) return;
    if ((await this.#read(root, file)) !== "added") this.#skipped.push(path.relative(root, file));
  }

  async #read(root: string, file: string): Promise<"added" | string> {
    this.#signal.throwIfAborted();
    if (this.#files.has(file)) return "added";
    // Not waiting for a pipe's other end; not following a link that has taken the file's place.
    const handle = await open(file, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOFOLLOW ?? 0)).catch(() => undefined);
    if (!handle) return "not readable";
    try {
      const { size, isFile } = await handle.stat().then((facts) => ({ size: facts.size, isFile: facts.isFile() }));
      if (!isFile) return "no file";
      if (size > MAX_FILE_BYTES) return `larger than ${MAX_FILE_BYTES / 2 ** 20} MiB`;
      this.#bytes += size;
      if (this.#files.size === MAX_FILES || this.#bytes > MAX_TOTAL_BYTES) {
        throw new FileRequestError(`More than ${MAX_FILES} files, or ${MAX_TOTAL_BYTES / 2 ** 20} MiB: name fewer, or a smaller folder`);
      }
      const text = decode(await handle.readFile());
      if (text === undefined) return "no UTF-8 text";
      this.#files.set(file, { name: path.relative(root, file).split(path.sep).join("/"), text });
      return "added";
    } finally {
      await handle.close();
    }
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

function decode(bytes: Uint8Array): string | undefined {
  try {
    const text = utf8.decode(bytes);
    return text.includes("\0") ? undefined : text;
  } catch {
    return undefined;
  }
}

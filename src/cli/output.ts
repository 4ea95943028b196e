// An output file: never one of the inputs, never replaced unasked, opened when there is something to write.
import { type FileHandle, open, stat } from "node:fs/promises";
import { RerankerError } from "../index.js";

/**
 * To be called before any work.
 *
 * @param inputs - Files that the command reads; `-` and undefined are none.
 * @throws {RerankerError} `IO`: the output is an input, by whatever name, or is there already.
 */
export async function checkOutput(path: string, inputs: readonly (string | undefined)[], mayExist: boolean): Promise<void> {
  const there = await identityOf(path);
  if (!there) return;
  for (const input of inputs) {
    if (input === undefined || input === "-") continue;
    const other = await identityOf(input);
    if (other && other.dev === there.dev && other.ino === there.ino)
      throw new RerankerError("IO", `${path} is the input ${input}; name another file for the output`);
  }
  if (there.isFolder) throw new RerankerError("IO", `Cannot write ${path}: it is a folder`);
  if (!mayExist && there.isFile) throw new RerankerError("IO", `${path} exists; --force replaces it`);
}

/** By device and number, so that links are what they lead to. */
async function identityOf(path: string) {
  const stats = await stat(path, { bigint: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw new RerankerError("IO", `Cannot read ${path}: ${error.message}`, { cause: error });
  });
  return stats && { dev: stats.dev, ino: stats.ino, isFolder: stats.isDirectory(), isFile: stats.isFile() };
}

/** Opened by the first text; an error says which file it was. */
export class Output {
  readonly #path: string;
  readonly #flags: "a" | "w";
  #file: FileHandle | undefined;

  constructor(path: string, flags: "a" | "w") {
    this.#path = path;
    this.#flags = flags;
  }

  async write(text: string): Promise<void> {
    try {
      this.#file ??= await open(this.#path, this.#flags);
      await this.#file.appendFile(text);
    } catch (cause) {
      throw new RerankerError("IO", `Cannot write ${this.#path}: ${(cause as Error).message}`, { cause });
    }
  }

  async close(): Promise<void> {
    await this.#file?.close();
  }
}

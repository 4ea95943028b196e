// The file a part is written to: counted, digested, synced before it counts as written.
import { createHash } from "node:crypto";
import { type FileHandle, open } from "node:fs/promises";
import { RerankerError } from "../index.js";

export interface WrittenFile {
  readonly bytes: number;
  readonly sha256: string;
}

export class PartFile {
  readonly path: string;
  readonly #handle: FileHandle;
  readonly #digest = createHash("sha256");
  #bytes = 0;

  static async create(path: string): Promise<PartFile> {
    return new PartFile(path, await attempt(path, () => open(path, "wx")));
  }

  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.#handle = handle;
  }

  async write(bytes: Uint8Array): Promise<void> {
    await attempt(this.path, async () => {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done);
        done += bytesWritten;
      }
    });
    this.#digest.update(bytes);
    this.#bytes += bytes.length;
  }

  /** Returns once the bytes are on the disk. */
  async finish(): Promise<WrittenFile> {
    await attempt(this.path, () => this.#handle.sync());
    await this.#handle.close();
    return { bytes: this.#bytes, sha256: this.#digest.digest("hex") };
  }

  /** Lets go of the file after a failure. */
  async abandon(): Promise<void> {
    await this.#handle.close().catch(() => undefined);
  }
}

async function attempt<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const advice = code === "ENOSPC" || code === "EDQUOT" ? ". Make room and run it again with --resume: finished parts are kept" : "";
    throw new RerankerError("IO", `Cannot write ${path}: ${message}${advice}`, { cause });
  }
}

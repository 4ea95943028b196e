// A weight file that is read while it is downloaded: reads wait for their bytes.
import { EventEmitter, once } from "node:events";
import { type FileHandle, open } from "node:fs/promises";
import type { WeightFile, WeightReader } from "../../convert/weight-file.js";
import { readAt } from "../../files/output-file.js";
import { type KnownFile, partialPath } from "./download-file.js";

/** The bytes that were read did not belong to the file. What was made of them is void; the file comes again. */
export class Replaced extends Error {}

export class ArrivingFile {
  readonly #file: KnownFile;
  readonly #blob: string;
  readonly #changed = new EventEmitter().setMaxListeners(0); // a listener for each read that waits
  /** Bytes from the start that can be read. */
  #arrived = 0;
  #verified = false;
  /** Counts the times that the download began again from the first byte. */
  #version = 0;

  /** @param blob - Where the file will be when it is whole. */
  constructor(file: KnownFile, blob: string) {
    this.#file = file;
    this.#blob = blob;
  }

  /** @param bytes - Of the file that are there. Fewer than before while a resumed download hashes what it has. */
  arrived(bytes: number): void {
    this.#arrived = Math.max(this.#arrived, bytes);
    this.#changed.emit("change");
  }

  /** To be called before the bytes go. */
  replaced(): void {
    this.#version++;
    this.#arrived = 0;
    this.#changed.emit("change");
  }

  /** To be called when the blob is in its place. */
  verified(): void {
    this.#verified = true;
    this.arrived(this.#file.sizeBytes);
  }

  /**
   * The file as it comes now. When it is replaced, all that reads it rejects with `Replaced`.
   *
   * @param signal - Ends the waiting when the download does.
   */
  current(signal: AbortSignal): WeightFile {
    const version = this.#version;
    return {
      name: this.#file.path,
      open: () => this.#open(version, signal),
      verified: () => this.#until(() => this.#verified, version, signal),
    };
  }

  async #open(version: number, ended: AbortSignal): Promise<WeightReader> {
    const handle = await this.#openFile();
    return {
      sizeBytes: this.#file.sizeBytes,
      read: async (length, position, signal = ended) => {
        await this.#until(() => this.#arrived >= position + length, version, signal);
        // The file may be emptied while it is read, so that the bytes are others, or end early.
        const reading = readAt(handle, length, position, `\`${this.#file.path}\``);
        await reading.catch(() => undefined);
        this.#throwIfReplaced(version);
        return reading;
      },
      close: () => handle.close(),
    };
  }

  /** A handle stays with the file when that is renamed. */
  async #openFile(): Promise<FileHandle> {
    try {
      return await open(partialPath(this.#blob), "r");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      return open(this.#blob, "r");
    }
  }

  async #until(reached: () => boolean, version: number, signal: AbortSignal): Promise<void> {
    for (;;) {
      this.#throwIfReplaced(version);
      if (reached()) return;
      signal.throwIfAborted();
      await once(this.#changed, "change", { signal }).catch(() => signal.throwIfAborted());
    }
  }

  #throwIfReplaced(version: number): void {
    if (version !== this.#version) throw new Replaced(`${this.#file.path} was downloaded again`);
  }
}

// Texts by id on disk: a corpus of any size takes 40 bytes of memory a document.
import { hash, randomBytes } from "node:crypto";
import { type FileHandle, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RerankerError } from "../index.js";

const BUFFER_BYTES = 1 << 20;
const FIRST_SLOTS = 1 << 12;
const FULL = 0.6; // of the slots; more make chains long

/** Ids are told apart by 64 bits of their digest: two of ten million meet with a chance of 3 in a million. */
export class TextStore implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #path: string;
  #slots = new Slots(FIRST_SLOTS);
  #pending: Buffer[] = [];
  #pendingBytes = 0;
  #written = 0;

  /** In the system's folder for temporary files, `TMPDIR`. */
  static async create(): Promise<TextStore> {
    const path = join(tmpdir(), `bge-reranker-texts-${process.pid}-${randomBytes(6).toString("hex")}`);
    const file = await open(path, "wx+").catch((cause: Error) => {
      throw new RerankerError("IO", `Cannot write ${path}: ${cause.message}. TMPDIR names another folder`, { cause });
    });
    // Gone with the process, however that ends; Windows keeps the name while the file is open.
    if (process.platform !== "win32") await rm(path);
    return new TextStore(file, path);
  }

  private constructor(file: FileHandle, path: string) {
    this.#file = file;
    this.#path = path;
  }

  get size(): number {
    return this.#slots.size;
  }

  /** false: the id is there already. */
  async add(id: string, text: string): Promise<boolean> {
    const bytes = Buffer.from(text);
    if (this.#slots.size > FULL * this.#slots.capacity) this.#slots = this.#slots.doubled();
    if (!this.#slots.add(keyOf(id), this.#written + this.#pendingBytes, bytes.length)) return false;
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
    if (this.#pendingBytes > BUFFER_BYTES) await this.flush();
    return true;
  }

  /** To be called after the last `add`. */
  async flush(): Promise<void> {
    const bytes = Buffer.concat(this.#pending);
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await this.#file.write(bytes, done, bytes.length - done, this.#written + done).catch((cause: Error) => {
        throw new RerankerError("IO", `Cannot write ${this.#path}: ${cause.message}. TMPDIR names another folder`, { cause });
      });
      done += bytesWritten;
    }
    this.#written += bytes.length;
    this.#pending = [];
    this.#pendingBytes = 0;
  }

  async get(id: string): Promise<string | undefined> {
    const place = this.#slots.find(keyOf(id));
    if (!place) return undefined;
    const buffer = Buffer.allocUnsafe(place.length);
    for (let done = 0; done < place.length; ) {
      const { bytesRead } = await this.#file.read(buffer, done, place.length - done, place.offset + done);
      if (bytesRead === 0) throw new RerankerError("IO", `${this.#path} ends early`);
      done += bytesRead;
    }
    return buffer.toString();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
    await rm(this.#path, { force: true });
  }
}

interface Key {
  readonly high: number;
  readonly low: number;
}

function keyOf(id: string): Key {
  const bytes = hash("sha1", id, "buffer");
  return { high: bytes.readUInt32LE(0), low: bytes.readUInt32LE(4) };
}

/** A hash table in flat arrays, with the next free slot for what collides. */
class Slots {
  readonly capacity: number;
  readonly #high: Uint32Array;
  readonly #low: Uint32Array;
  /** Plus one; 0 is an empty slot. */
  readonly #offset: Float64Array;
  readonly #length: Uint32Array;
  size = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#high = new Uint32Array(capacity);
    this.#low = new Uint32Array(capacity);
    this.#offset = new Float64Array(capacity);
    this.#length = new Uint32Array(capacity);
  }

  add(key: Key, offset: number, length: number): boolean {
    const slot = this.#slotOf(key);
    if (this.#offset[slot] !== 0) return false;
    this.#high[slot] = key.high;
    this.#low[slot] = key.low;
    this.#offset[slot] = offset + 1;
    this.#length[slot] = length;
    this.size++;
    return true;
  }

  find(key: Key): { readonly offset: number; readonly length: number } | undefined {
    const slot = this.#slotOf(key);
    const offset = this.#offset[slot] ?? 0;
    return offset === 0 ? undefined : { offset: offset - 1, length: this.#length[slot] ?? 0 };
  }

  doubled(): Slots {
    const larger = new Slots(2 * this.capacity);
    for (let i = 0; i < this.capacity; i++) {
      const offset = this.#offset[i] ?? 0;
      if (offset > 0) larger.add({ high: this.#high[i] ?? 0, low: this.#low[i] ?? 0 }, offset - 1, this.#length[i] ?? 0);
    }
    return larger;
  }

  #slotOf({ high, low }: Key): number {
    let slot = low & (this.capacity - 1);
    while (this.#offset[slot] !== 0 && (this.#high[slot] !== high || this.#low[slot] !== low)) slot = (slot + 1) & (this.capacity - 1);
    return slot;
  }
}

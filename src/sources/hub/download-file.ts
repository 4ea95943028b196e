// One file of a repository into the cache: continued where an earlier download stopped, and checked against its hash.
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, mkdir, open, rename, stat, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { tableEnd } from "../../convert/safetensors.js";
import { RerankerError } from "../../errors.js";
import { readAt } from "../../files/output-file.js";
import { isHash, type RepositoryFile } from "./repository.js";
import { type HubAnswer, type HubConnection, readFront, request, Transient, withRetries } from "./request.js";

export interface FileSource {
  readonly id: string;
  readonly commit: string;
}

/** A file whose size and hash are known. */
export interface KnownFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly hash: string;
}

/** What happens to a file on its way. */
export interface DownloadObserver {
  /** @param bytes - Of the file that are there and hashed. */
  onSize(bytes: number): void;
  /** The file begins again from its first byte. Called before the bytes go. */
  onRestart?(): void;
}

/** Holds the bytes of a blob until all are there. */
export function partialPath(blob: string): string {
  return `${blob}.incomplete`;
}

/** Asks for what the listing did not say; some mirrors leave it out. */
export async function describeFile(connection: HubConnection, source: FileSource, file: RepositoryFile): Promise<KnownFile> {
  const { path, sizeBytes, hash } = file;
  if (sizeBytes !== undefined && hash !== undefined) return { path, sizeBytes, hash };
  return withRetries(connection, `Asking for ${path}`, async () => {
    const answer = await request(connection, resolvePath(source, path), source.id, { method: "HEAD" });
    answer.close();
    const size = answer.sizeBytes ?? Number(answer.response.headers.get("content-length") ?? Number.NaN);
    const etag = answer.etag ?? "";
    if (!Number.isSafeInteger(size) || !isHash(etag)) {
      throw new RerankerError("DOWNLOAD_FAILED", `${path} of ${source.id} comes without size and hash. Check HF_ENDPOINT`);
    }
    return { path, sizeBytes: size, hash: etag };
  });
}

/** The tables of most weight files are shorter, so that one request brings them. */
const FRONT_BYTES = 128 * 1024;

/**
 * Brings the table at the front of a safetensors file, ahead of its weights, into the partial file. That of an earlier run is
 * compared: nothing has checked its bytes yet.
 *
 * @returns Bytes of the front that are there now.
 */
export async function downloadFront(connection: HubConnection, source: FileSource, file: KnownFile, blob: string): Promise<number> {
  const first = (bytes: number) =>
    withRetries(connection, `Downloading ${file.path}`, async () => {
      const length = Math.min(bytes, file.sizeBytes);
      const answer = await request(connection, resolvePath(source, file.path), source.id, { headers: { range: `bytes=0-${length - 1}` } });
      throwIfOtherHash(answer, source, file);
      return readFront(answer, length);
    });
  if (file.sizeBytes === 0) return 0;
  let front = await first(FRONT_BYTES);
  const end = tableEnd(front) ?? 0;
  if (end > front.length) front = await first(end);
  await mkdir(dirname(blob), { recursive: true });
  if (!(await beginsWith(partialPath(blob), front))) await writeFile(partialPath(blob), front);
  return front.length;
}

async function beginsWith(path: string, front: Buffer): Promise<boolean> {
  if (((await stat(path).catch(() => undefined))?.size ?? 0) < front.length) return false;
  const handle = await open(path, "r");
  try {
    return (await readAt(handle, front.length, 0, `\`${path}\``)).equals(front);
  } finally {
    await handle.close();
  }
}

/** Downloads a file to `blob`. Its bytes gather in the partial file, which outlives a killed process. */
export async function downloadFile(
  connection: HubConnection,
  source: FileSource,
  file: KnownFile,
  blob: string,
  observer: DownloadObserver,
): Promise<void> {
  await mkdir(dirname(blob), { recursive: true });
  const partial = partialPath(blob);
  let damaged = 0;
  await withRetries(connection, `Downloading ${file.path}`, async (advance) => {
    const handle = await open(partial, "a+");
    try {
      const target = await Target.continue(handle, partial, file, connection.signal, observer);
      if (target.size < file.sizeBytes) await receive(connection, source, file, target, advance);
      if (target.digest() === file.hash) {
        await handle.sync();
        return;
      }
      await target.restart();
    } finally {
      await handle.close();
    }
    damaged++;
    const message = `${file.path} of ${source.id} does not have the bytes its hash ${file.hash} promises`;
    if (damaged > 1) throw new RerankerError("DOWNLOAD_FAILED", `${message}, twice. Check the connection or HF_ENDPOINT`);
    throw new Transient(message); // once more, from the first byte
  });
  await rename(partial, blob);
}

/** Size of what an earlier download left, for the count of bytes still to come. */
export async function partialSize(blob: string): Promise<number> {
  return (await stat(partialPath(blob)).catch(() => undefined))?.size ?? 0;
}

async function receive(connection: HubConnection, source: FileSource, file: KnownFile, target: Target, advance: () => void): Promise<void> {
  const range: Record<string, string> = target.size > 0 ? { range: `bytes=${target.size}-` } : {};
  const answer = await request(connection, resolvePath(source, file.path), source.id, { headers: range });
  try {
    throwIfOtherHash(answer, source, file);
    if (!continuesAt(answer, target.size, file.sizeBytes)) {
      await target.restart();
      if (answer.response.status !== 200) throw new Transient("the server did not go on where the file ends here");
    }
    for await (const piece of answer.response.body ?? []) {
      answer.alive();
      if (target.size + piece.byteLength > file.sizeBytes) {
        await target.restart();
        throw new RerankerError("DOWNLOAD_FAILED", `${file.path} of ${source.id} is longer than the ${file.sizeBytes} bytes announced`);
      }
      await target.append(piece);
      advance();
    }
  } finally {
    answer.close();
  }
  if (target.size < file.sizeBytes) throw new Transient("the connection was cut");
}

function throwIfOtherHash({ etag, close }: HubAnswer, { id }: FileSource, { path, hash }: KnownFile): void {
  if (etag === undefined || !isHash(etag) || etag === hash) return;
  close();
  throw new RerankerError("DOWNLOAD_FAILED", `${path} of ${id} has the hash ${etag}, expected ${hash}. Check HF_ENDPOINT`);
}

/** Servers may answer a range with the whole file, or with another part. */
function continuesAt({ response }: HubAnswer, offset: number, total: number): boolean {
  if (response.status === 200) return offset === 0;
  const [, start, size] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get("content-range") ?? "") ?? [];
  return response.status === 206 && Number(start) === offset && (size === "*" || Number(size) === total);
}

/** The partial file with the hash of what it holds. */
class Target {
  /** Bytes that are there. */
  size = 0;
  readonly #handle: FileHandle;
  readonly #file: KnownFile;
  readonly #observer: DownloadObserver;
  #hash: Hash;

  static async continue(
    handle: FileHandle,
    path: string,
    file: KnownFile,
    signal: AbortSignal | undefined,
    observer: DownloadObserver,
  ): Promise<Target> {
    const target = new Target(handle, file, observer);
    const { size } = await handle.stat();
    if (size > file.sizeBytes) await target.restart();
    else if (size > 0) {
      for await (const piece of createReadStream(path, { highWaterMark: 1 << 20, ...(signal && { signal }) }))
        target.#count(piece as Buffer);
    }
    return target;
  }

  private constructor(handle: FileHandle, file: KnownFile, observer: DownloadObserver) {
    this.#handle = handle;
    this.#file = file;
    this.#observer = observer;
    this.#hash = newHash(file);
  }

  async append(piece: Uint8Array): Promise<void> {
    await this.#handle.appendFile(piece);
    this.#count(piece);
  }

  async restart(): Promise<void> {
    this.#observer.onRestart?.();
    await this.#handle.truncate(0);
    this.size = 0;
    this.#observer.onSize(0);
    this.#hash = newHash(this.#file);
  }

  digest(): string {
    return this.#hash.copy().digest("hex");
  }

  #count(piece: Uint8Array): void {
    this.#hash.update(piece);
    this.size += piece.byteLength;
    this.#observer.onSize(this.size);
  }
}

/** Git hashes a header with the size before the content. */
function newHash({ hash, sizeBytes }: KnownFile): Hash {
  return hash.length === 64 ? createHash("sha256") : createHash("sha1").update(`blob ${sizeBytes}\0`);
}

function resolvePath({ id, commit }: FileSource, path: string): string {
  return `/${id}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`;
}

/**
 * What the file system says, as an error that says what to do.
 *
 * @param elsewhere - What names another folder.
 */
export function asFileError(error: unknown, folder: string, elsewhere = "HF_HUB_CACHE"): unknown {
  if (!(error instanceof Error) || !("syscall" in error) || !("code" in error)) return error;
  const why = error.code === "ENOSPC" || error.code === "EDQUOT" ? "its disk is full" : error.message;
  return new RerankerError(
    "IO",
    `Cannot write to \`${folder}\`: ${why}. Make room, or set ${elsewhere} to another folder; what has arrived is kept`,
    { cause: error },
  );
}

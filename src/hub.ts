// Models from the Hugging Face hub: first the cache, shared with Python, then a download into it.
import { mkdir, readdir, stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { readJsonObject } from "./convert/json.js";
import { RerankerError } from "./errors.js";
import { blobPath, type CachedRepository, cachedRepository, linkBlob, readRef, snapshotFolder, writeRef } from "./hub/cache.js";
import { asFileError, describeFile, downloadFile, type KnownFile, partialSize } from "./hub/download-file.js";
import { withLock } from "./hub/lock.js";
import { type HubName, isRevision } from "./hub/names.js";
import {
  listRepository,
  type RepositoryFile,
  type RepositoryListing,
  selectFiles,
  VOCABULARIES,
  WEIGHTS,
  WEIGHTS_INDEX,
} from "./hub/repository.js";
import type { HubConnection } from "./hub/request.js";
import { type HubSettings, hubSettings } from "./hub/settings.js";
import { show } from "./option-checks.js";
import type { Progress } from "./options.js";

export interface HubOptions {
  /** Branch, tag or commit. Default: main. */
  readonly revision: string | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
  /** Ask the hub what the revision stands for now, though the cache has an answer. */
  readonly refresh?: boolean;
  /** Wait before a second attempt. Tests lower it. */
  readonly firstWaitMs?: number;
}

/** All of a model that is needed, in the cache. */
export interface Snapshot {
  readonly id: string;
  readonly commit: string;
  readonly folder: string;
  /** Set when the model is a GGUF file. */
  readonly gguf: string | undefined;
}

/** The model in the cache, when all that is needed of it is there. Makes no request. */
export async function findCached(cache: string, { id, file }: HubName, revision = "main"): Promise<Snapshot | undefined> {
  const repository = cachedRepository(cache, id);
  const commit = await readRef(repository, revision);
  if (commit === undefined) return undefined;
  const folder = snapshotFolder(repository, commit);
  if (file !== undefined) return (await isFile(join(folder, file))) ? { id, commit, folder, gguf: join(folder, file) } : undefined;
  if (await holdsCheckpoint(folder)) return { id, commit, folder, gguf: undefined };
  const ggufs = (await readdir(folder).catch((): string[] => [])).filter((name) => name.endsWith(".gguf"));
  const [only] = ggufs;
  return ggufs.length === 1 && only !== undefined ? { id, commit, folder, gguf: join(folder, only) } : undefined;
}

/** Weights are fetched last, so where they all are, the rest is. */
async function holdsCheckpoint(folder: string): Promise<boolean> {
  if (!(await isFile(join(folder, "config.json")))) return false;
  const vocabularies = await Promise.all(VOCABULARIES.map((name) => isFile(join(folder, name))));
  if (!vocabularies.includes(true)) return false;
  const weights = (await isFile(join(folder, WEIGHTS_INDEX))) ? await readShards(folder).catch(() => undefined) : [WEIGHTS];
  return weights !== undefined && (await Promise.all(weights.map((name) => isFile(join(folder, name))))).every(Boolean);
}

/**
 * The model from the cache, or else downloaded into it.
 *
 * @throws {RerankerError} `MODEL_NOT_FOUND` no such repository, revision or file, or offline without it; `DOWNLOAD_FAILED`
 *   no access, or the connection kept failing; `IO` the disk is full.
 */
export async function fetchModel(name: HubName, options: HubOptions): Promise<Snapshot> {
  const { revision = "main" } = options;
  if (!isRevision(revision)) throw new RangeError(`Expected \`revision\` to be a branch, a tag or a commit, got \`${show(revision)}\``);
  const settings = await hubSettings();
  const refresh = options.refresh === true && !settings.offline;
  const cached = await findCached(settings.cache, name, revision);
  if (cached && !refresh) return cached;
  if (settings.offline) throw offlineError(name, revision, settings);
  try {
    return await download(name, revision, settings, options);
  } catch (error) {
    throw asFileError(error, settings.cache);
  }
}

function download(name: HubName, revision: string, settings: HubSettings, options: HubOptions): Promise<Snapshot> {
  const { signal } = options;
  const repository = cachedRepository(settings.cache, name.id);
  const lock = join(settings.cache, ".locks", `models--${name.id.replaceAll("/", "--")}`, "bge-reranker.lock");
  return withLock(lock, signal, async () => {
    // Another process may have brought it while we waited.
    const brought = options.refresh ? undefined : await findCached(settings.cache, name, revision);
    if (brought) return brought;
    const connection: HubConnection = { settings, signal, firstWaitMs: options.firstWaitMs ?? 500 };
    const listing = await listRepository(connection, name.id, revision);
    const gguf = await new Download(connection, repository, listing, options.onProgress).model(name.file);
    await writeRef(repository, revision, listing.commit); // last: what a ref points to is whole
    const folder = snapshotFolder(repository, listing.commit);
    return { id: name.id, commit: listing.commit, folder, gguf: gguf === undefined ? undefined : join(folder, gguf) };
  });
}

/** One model on its way into the cache. */
class Download {
  readonly #connection: HubConnection;
  readonly #repository: CachedRepository;
  readonly #listing: RepositoryListing;
  readonly #onProgress: ((progress: Progress) => void) | undefined;
  readonly #done = new Map<string, number>();
  #total = 0;

  constructor(
    connection: HubConnection,
    repository: CachedRepository,
    listing: RepositoryListing,
    onProgress: ((progress: Progress) => void) | undefined,
  ) {
    this.#connection = connection;
    this.#repository = repository;
    this.#listing = listing;
    this.#onProgress = onProgress;
  }

  /** Name of the GGUF, or undefined for a checkpoint. */
  async model(wantedFile: string | undefined): Promise<string | undefined> {
    const { id, files, commit } = this.#listing;
    const selection = selectFiles(id, files.keys(), wantedFile);
    switch (selection.kind) {
      case "gguf":
        await this.#fetch([selection.file]);
        return selection.file;
      case "checkpoint": {
        // All weights count from the start, so that progress and the room on the disk are known before the first byte.
        const guessed = selection.weights
          ? [selection.weights]
          : [...files.keys()].filter((name) => /^model-[\w.-]+\.safetensors$/.test(name));
        await this.#fetch(selection.small, guessed);
        await this.#fetch(selection.weights ? [selection.weights] : await readShards(snapshotFolder(this.#repository, commit)));
        return undefined;
      }
      default:
        throw selection satisfies never;
    }
  }

  async #fetch(names: readonly string[], later: readonly string[] = []): Promise<void> {
    const describe = (name: string) => describeFile(this.#connection, this.#listing, this.#fileOf(name));
    const known = await Promise.all(names.map(describe));
    await this.#throwIfDiskFull([...known, ...(await Promise.all(later.map(describe)))]);
    for (const file of known) await this.#fetchFile(file);
  }

  async #fetchFile(file: KnownFile): Promise<void> {
    const blob = blobPath(this.#repository, file.hash);
    const size = (await stat(blob).catch(() => undefined))?.size;
    if (size !== file.sizeBytes) {
      await downloadFile(this.#connection, this.#listing, file, blob, (bytes) => this.#report(file.path, bytes));
    }
    this.#report(file.path, file.sizeBytes);
    await linkBlob(this.#repository, this.#listing.commit, file.path, file.hash);
  }

  #fileOf(name: string): RepositoryFile {
    const file = this.#listing.files.get(name);
    if (file) return file;
    throw new RerankerError("MODEL_NOT_FOUND", `${this.#listing.id} names ${name} in ${WEIGHTS_INDEX} but does not hold it`);
  }

  #report(file: string, bytes: number): void {
    this.#done.set(file, bytes);
    const done = [...this.#done.values()].reduce((sum, each) => sum + each, 0);
    this.#onProgress?.({ done, total: Math.max(done, this.#total), stage: "download", file });
  }

  async #throwIfDiskFull(files: readonly KnownFile[]): Promise<void> {
    const blobs = new Map(files.map((file) => [file.hash, file])); // equal files are stored once
    let needed = 0;
    for (const { hash, sizeBytes } of blobs.values()) {
      const blob = blobPath(this.#repository, hash);
      if (!(await isFile(blob))) needed += Math.max(0, sizeBytes - (await partialSize(blob)));
    }
    const total = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    this.#total = Math.max(this.#total, total);
    await mkdir(this.#repository.folder, { recursive: true });
    const { bavail, bsize } = await statfs(this.#repository.folder);
    if (bavail * bsize >= needed) return;
    const gigabytes = (bytes: number) => (bytes / 1e9).toFixed(2);
    throw new RerankerError(
      "IO",
      `${this.#listing.id} needs ${gigabytes(needed)} GB, but \`${this.#repository.folder}\` has ${gigabytes(bavail * bsize)} GB free. Make room, or set HF_HUB_CACHE to a folder on another disk`,
    );
  }
}

/** Shards that the index names, checked to be plain file names. */
async function readShards(folder: string): Promise<string[]> {
  const index = await readJsonObject(join(folder, WEIGHTS_INDEX));
  const shards = new Set(Object.values((index?.weight_map ?? {}) as Readonly<Record<string, unknown>>));
  for (const shard of shards) {
    if (typeof shard === "string" && /^[A-Za-z0-9_][\w.-]{0,250}\.safetensors$/.test(shard)) continue;
    throw new RerankerError("DOWNLOAD_FAILED", `${WEIGHTS_INDEX} names the shard ${show(shard)}, which is no plain file name`);
  }
  if (shards.size === 0) throw new RerankerError("DOWNLOAD_FAILED", `${WEIGHTS_INDEX} names no shard`);
  return [...(shards as Set<string>)].sort();
}

function offlineError({ id, file }: HubName, revision: string, { cache }: HubSettings): RerankerError {
  const what = `${id}${file === undefined ? "" : `:${file}`}${revision === "main" ? "" : ` at ${revision}`}`;
  return new RerankerError(
    "MODEL_NOT_FOUND",
    `${what} is not, or not whole, in the Hugging Face cache (${cache}), and HF_HUB_OFFLINE forbids a download. Unset it, or run \`bge-reranker pull ${id}\` while online`,
  );
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() ?? false;
}

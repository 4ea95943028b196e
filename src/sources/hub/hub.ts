// Models from the Hugging Face hub: first the cache, shared with Python, then a download into it.
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { show } from "../../checks.js";
import { RerankerError } from "../../errors.js";
import type { Progress } from "../progress.js";
import { cachedRepository, readRef, snapshotFolder, writeRef } from "./cache.js";
import { Download, readShards, type WeightConsumer } from "./download.js";
import { asFileError } from "./download-file.js";
import { withLock } from "./lock.js";
import { type HubName, isRevision } from "./names.js";
import { listRepository, VOCABULARIES, WEIGHTS, WEIGHTS_INDEX } from "./repository.js";
import type { HubConnection } from "./request.js";
import { type HubSettings, hubSettings } from "./settings.js";

export interface HubOptions {
  /** Branch, tag or commit. Default: main. */
  readonly revision: string | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
  /** Ask the hub what the revision stands for now, though the cache has an answer. */
  readonly refresh?: boolean;
  /** Reads the weights of a checkpoint while they arrive. Not called for those that are in the cache. */
  readonly consume?: WeightConsumer;
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
  if (await isFile(join(folder, WEIGHTS))) return true; // the single file comes first, as in safetensors.ts
  const weights = (await isFile(join(folder, WEIGHTS_INDEX))) ? await readShards(folder).catch(() => undefined) : undefined;
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
    const gguf = await new Download(connection, repository, listing, {
      onProgress: options.onProgress,
      consume: options.consume,
    }).model(name.file);
    await writeRef(repository, revision, listing.commit); // last: what a ref points to is whole
    const folder = snapshotFolder(repository, listing.commit);
    return { id: name.id, commit: listing.commit, folder, gguf: gguf === undefined ? undefined : join(folder, gguf) };
  });
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

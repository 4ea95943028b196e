// One model on its way into the cache. Weights can be handed to a converter while they arrive.
import { mkdir, stat, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import { show } from "../../checks.js";
import type { ArrivingWeights, WeightFile } from "../../convert/weight-file.js";
import { RerankerError } from "../../errors.js";
import { readJsonObject } from "../../files/json.js";
import { together } from "../../together.js";
import type { Progress } from "../progress.js";
import { ArrivingFile, Replaced } from "./arriving-file.js";
import { blobPath, type CachedRepository, linkBlob, snapshotFolder } from "./cache.js";
import { describeFile, downloadFile, downloadFront, type KnownFile, partialSize } from "./download-file.js";
import { type RepositoryFile, type RepositoryListing, selectFiles, WEIGHTS_INDEX } from "./repository.js";
import type { HubConnection } from "./request.js";

/** A checkpoint that is in its folder but for the weights. */
export interface ArrivingCheckpoint {
  readonly id: string;
  readonly commit: string;
  readonly folder: string;
  readonly weights: ArrivingWeights;
}

/** Reads weights while they arrive. Called again when they had to be downloaded again; what it made before is void then. */
export type WeightConsumer = (checkpoint: ArrivingCheckpoint, signal: AbortSignal) => Promise<void>;

export interface DownloadOptions {
  readonly onProgress: ((progress: Progress) => void) | undefined;
  /** Not called when no weights are missing. */
  readonly consume: WeightConsumer | undefined;
}

export class Download {
  readonly #connection: HubConnection;
  readonly #repository: CachedRepository;
  readonly #listing: RepositoryListing;
  readonly #options: DownloadOptions;
  readonly #done = new Map<string, number>();
  #total = 0;

  constructor(connection: HubConnection, repository: CachedRepository, listing: RepositoryListing, options: DownloadOptions) {
    this.#connection = connection;
    this.#repository = repository;
    this.#listing = listing;
    this.#options = options;
  }

  /** Name of the GGUF, or undefined for a checkpoint. */
  async model(wantedFile: string | undefined): Promise<string | undefined> {
    const { id, files } = this.#listing;
    const selection = selectFiles(id, files.keys(), wantedFile);
    switch (selection.kind) {
      case "gguf":
        await this.#fetchAll(await this.#describe([selection.file]));
        return selection.file;
      case "checkpoint": {
        // All weights count from the start, so that progress and the room on the disk are known before the first byte.
        const guessed = selection.weights
          ? [selection.weights]
          : [...files.keys()].filter((name) => /^model-[\w.-]+\.safetensors$/.test(name));
        await this.#fetchAll(await this.#describe(selection.small), await this.#describe(guessed));
        const weights = await this.#describe(selection.weights ? [selection.weights] : await readShards(this.#folder));
        const { consume } = this.#options;
        if (consume && (await this.#missing(weights)) > 0) await this.#streamAll(weights, consume);
        else await this.#fetchAll(weights);
        return undefined;
      }
      default:
        throw selection satisfies never;
    }
  }

  get #folder(): string {
    return snapshotFolder(this.#repository, this.#listing.commit);
  }

  #describe(names: readonly string[]): Promise<KnownFile[]> {
    return Promise.all(names.map((name) => describeFile(this.#connection, this.#listing, this.#fileOf(name))));
  }

  /** @param later - Files that come after these, for the count of bytes. */
  async #fetchAll(files: readonly KnownFile[], later: readonly KnownFile[] = []): Promise<void> {
    await this.#throwIfDiskFull([...files, ...later]);
    for (const file of files) await this.#fetchFile(this.#connection, file);
  }

  /** Fetches weights while they are consumed. One that fails ends the other. */
  async #streamAll(files: readonly KnownFile[], consume: WeightConsumer): Promise<void> {
    await this.#throwIfDiskFull(files);
    // The tables of all files come first: they tell the consumer where each tensor will be.
    const arriving = new Map<KnownFile, ArrivingFile>();
    for (const file of files) {
      const blob = this.#blob(file);
      const weights = new ArrivingFile(file, blob);
      if (await this.#isHere(file)) weights.verified();
      else weights.arrived(await downloadFront(this.#connection, this.#listing, file, blob));
      arriving.set(file, weights);
    }
    const plan = new Gate();
    await together(this.#connection.signal, [
      async (signal) => {
        await plan.opened;
        for (const [file, weights] of arriving) await this.#fetchFile({ ...this.#connection, signal }, file, weights);
      },
      // A consumer that has nothing to do never plans.
      (signal) => this.#consume([...arriving], consume, plan, signal).finally(plan.open),
    ]);
  }

  async #consume(
    arriving: readonly (readonly [KnownFile, ArrivingFile])[],
    consume: WeightConsumer,
    plan: Gate,
    signal: AbortSignal,
  ): Promise<void> {
    const { id, commit } = this.#listing;
    const planned = async (path: string, sizeBytes: number) => {
      await this.#throwIfDiskFull(
        arriving.map(([file]) => file),
        { path, sizeBytes },
      );
      plan.open();
    };
    for (;;) {
      const files = arriving.map(([, weights]) => weights.current(signal));
      try {
        return await consume({ id, commit, folder: this.#folder, weights: { files, planned } }, signal).catch((error: unknown) =>
          throwIfSound(error, files, plan),
        );
      } catch (error) {
        if (!(error instanceof Replaced)) throw error;
      }
    }
  }

  async #fetchFile(connection: HubConnection, file: KnownFile, arriving?: ArrivingFile): Promise<void> {
    if (!(await this.#isHere(file))) {
      await downloadFile(connection, this.#listing, file, this.#blob(file), {
        onSize: (bytes) => {
          this.#report(file.path, bytes);
          arriving?.arrived(bytes);
        },
        onRestart: () => arriving?.replaced(),
      });
    }
    this.#report(file.path, file.sizeBytes);
    arriving?.verified();
    await linkBlob(this.#repository, this.#listing.commit, file.path, file.hash);
  }

  #blob({ hash }: KnownFile): string {
    return blobPath(this.#repository, hash);
  }

  /** A blob is in its place only when it is whole and checked. */
  async #isHere(file: KnownFile): Promise<boolean> {
    return (await stat(this.#blob(file)).catch(() => undefined))?.size === file.sizeBytes;
  }

  #fileOf(name: string): RepositoryFile {
    const file = this.#listing.files.get(name);
    if (file) return file;
    throw new RerankerError("MODEL_NOT_FOUND", `${this.#listing.id} names ${name} in ${WEIGHTS_INDEX} but does not hold it`);
  }

  #report(file: string, bytes: number): void {
    this.#done.set(file, bytes);
    const done = [...this.#done.values()].reduce((sum, each) => sum + each, 0);
    this.#options.onProgress?.({ done, total: Math.max(done, this.#total), stage: "download", file });
  }

  /** Bytes still to come. */
  async #missing(files: readonly KnownFile[]): Promise<number> {
    const blobs = new Map(files.map((file) => [file.hash, file])); // equal files are stored once
    let missing = 0;
    for (const file of blobs.values()) {
      if (!(await this.#isHere(file))) missing += Math.max(0, file.sizeBytes - (await partialSize(this.#blob(file))));
    }
    return missing;
  }

  /** @param converted - A file that is written meanwhile; it counts when it goes to the same disk. */
  async #throwIfDiskFull(files: readonly KnownFile[], converted?: { readonly path: string; readonly sizeBytes: number }): Promise<void> {
    const total = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    this.#total = Math.max(this.#total, total);
    const { folder } = this.#repository;
    await mkdir(folder, { recursive: true });
    const shared = converted && (await stat(folder)).dev === (await stat(dirname(converted.path))).dev ? converted.sizeBytes : 0;
    const needed = (await this.#missing(files)) + shared;
    const { bavail, bsize } = await statfs(folder);
    if (bavail * bsize >= needed) return;
    const gigabytes = (bytes: number) => (bytes / 1e9).toFixed(2);
    const both = shared > 0 ? ` (${gigabytes(shared)} of it for \`${converted?.path}\`)` : "";
    throw new RerankerError(
      "IO",
      `${this.#listing.id} needs ${gigabytes(needed)} GB${both}, but \`${folder}\` has ${gigabytes(bavail * bsize)} GB free. Make room, or set HF_HUB_CACHE${shared > 0 ? " or BGE_RERANKER_CACHE" : ""} to a folder on another disk`,
    );
  }
}

/** Something that is waited for and happens once. */
class Gate {
  readonly opened: Promise<void>;
  isOpen = false;
  open: () => void = () => {};

  constructor() {
    this.opened = new Promise((resolve) => {
      this.open = () => {
        this.isOpen = true;
        resolve();
      };
    });
  }
}

/**
 * What a consumer could not read may only have been damaged on its way. Its hash decides, once all is here; before the plan,
 * nothing was read but the tables, and nobody should download the rest to be told that it cannot be used.
 */
async function throwIfSound(error: unknown, files: readonly WeightFile[], plan: Gate): Promise<never> {
  if (plan.isOpen && error instanceof RerankerError && error.code === "CONVERT_FAILED") {
    for (const file of files) await file.verified();
  }
  throw error;
}

/** Shards that the index names, checked to be plain file names. */
export async function readShards(folder: string): Promise<string[]> {
  const index = await readJsonObject(join(folder, WEIGHTS_INDEX));
  const shards = new Set(Object.values((index?.weight_map ?? {}) as Readonly<Record<string, unknown>>));
  for (const shard of shards) {
    if (typeof shard === "string" && /^[A-Za-z0-9_][\w.-]{0,250}\.safetensors$/.test(shard)) continue;
    throw new RerankerError("DOWNLOAD_FAILED", `${WEIGHTS_INDEX} names the shard ${show(shard)}, which is no plain file name`);
  }
  if (shards.size === 0) throw new RerankerError("DOWNLOAD_FAILED", `${WEIGHTS_INDEX} names no shard`);
  return [...(shards as Set<string>)].sort();
}

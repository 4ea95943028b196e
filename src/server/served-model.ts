// ServedModel: one model with its names, loaded when it is needed and released when it is not.
import { performance } from "node:perf_hooks";
import { type LoadOptions, Reranker, type RerankerModel } from "../index.js";
import { HttpError } from "./http-error.js";
import type { ModelEntry } from "./options.js";
import { Turns } from "./turns.js";

// Tokens under way at once on a device: four of the engine's own batches (native/engine.cpp).
const CPU_WINDOW = 4 * 1024;
const OTHER_WINDOW = 4 * 4096;
// A file that did not load is not read again with each request.
const RETRY_LOAD_MS = 5_000;

export interface Loaded {
  readonly reranker: Reranker;
  readonly turns: Turns;
}

/** Since the server began. */
interface CacheCounts {
  /** Pairs found in the cache of scores, and not. */
  readonly hits: number;
  readonly misses: number;
  /** Queries found in the prefix cache, and not; tokens that it spared. */
  readonly prefixHits: number;
  readonly prefixMisses: number;
  readonly prefixTokens: number;
}

export class ServedModel {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly loadOptions: LoadOptions;
  /** What to load; undefined for a reranker of the caller's. */
  readonly source: string | undefined;
  inUse = 0;
  lastUsed = 0;
  failure: { readonly error: Error; readonly at: number } | undefined;
  /** Facts of the last load; they stay when the model is released. */
  facts: RerankerModel | undefined;
  #loaded: Loaded | undefined;
  #loading: Promise<Loaded> | undefined;
  /** Of the times that it was loaded before. */
  #before: CacheCounts = { hits: 0, misses: 0, prefixHits: 0, prefixMisses: 0, prefixTokens: 0 };
  #batches = { count: 0, tokens: 0 };
  readonly #closing = new AbortController();
  #releasing: Promise<void> = Promise.resolve();

  /** @param cacheBytes - For scores computed before; 0: none are kept. */
  constructor({ model, name, aliases, load }: ModelEntry, cacheBytes: number) {
    this.source = typeof model === "string" ? model : undefined;
    this.name = name ?? (typeof model === "string" ? nameOf(model) : (model.model.name ?? "default"));
    this.aliases = aliases ?? [];
    this.loadOptions = { ...(cacheBytes >= 1 && { cache: { maxBytes: cacheBytes } }), ...load };
    if (typeof model !== "string") this.#accept(model);
  }

  get state(): "loaded" | "loading" | "failed" | "unloaded" {
    if (this.#loaded) return "loaded";
    if (this.#loading) return "loading";
    return this.failure ? "failed" : "unloaded";
  }

  get cache(): CacheCounts {
    const before = this.#before;
    const now = this.#loaded?.reranker.stats();
    if (!now) return before;
    return {
      hits: before.hits + now.cacheHits,
      misses: before.misses + now.cacheMisses,
      prefixHits: before.prefixHits + now.prefixCacheHits,
      prefixMisses: before.prefixMisses + now.prefixCacheMisses,
      prefixTokens: before.prefixTokens + now.prefixCacheTokens,
    };
  }

  /** Held now. */
  get prefixCacheBytes(): number {
    return this.#loaded?.reranker.stats().prefixCacheBytes ?? 0;
  }

  /** Tokens of each batch that the engine computed since this was asked last: their mean, where several were. */
  newBatches(): number[] {
    if (!this.#loaded) return [];
    const { batches, computedTokens } = this.#loaded.reranker.stats();
    const count = Math.max(0, batches - this.#batches.count);
    const tokens = computedTokens - this.#batches.tokens;
    this.#batches = { count: batches, tokens: computedTokens };
    return Array(count).fill(tokens / count);
  }

  get loaded(): Loaded | undefined {
    return this.#loaded;
  }

  /** Whether a request may call the model so; `/` and case do not matter. */
  answersTo(name: string): boolean {
    const wanted = name.toLowerCase();
    const own = [this.name, ...this.aliases, this.source ?? "", this.facts?.name ?? ""].filter(Boolean).map((each) => each.toLowerCase());
    return own.some((each) => each === wanted || nameOf(each) === wanted || lastPart(each) === lastPart(wanted));
  }

  /** Never two loads at a time: who comes while one runs waits for it. */
  load(options: LoadOptions): Promise<Loaded> {
    if (this.#loaded) return Promise.resolve(this.#loaded);
    const { failure } = this;
    if (failure && performance.now() - failure.at < RETRY_LOAD_MS) return Promise.reject(this.#unavailable(failure.error));
    this.#loading ??= this.#releasing
      .then(() => Reranker.load(this.source ?? "default", { ...options, signal: this.#closing.signal, ...this.loadOptions }))
      .then((reranker) => this.#accept(reranker))
      .catch((error: unknown) => {
        this.failure = { error: error instanceof Error ? error : new Error(String(error)), at: performance.now() };
        throw this.#unavailable(this.failure.error);
      })
      .finally(() => {
        this.#loading = undefined;
      });
    return this.#loading;
  }

  /** Frees the memory, when the server loaded the model itself. Calls under way end first. */
  release(): Promise<void> {
    const loaded = this.#loaded;
    if (!loaded || this.source === undefined) return this.#releasing;
    this.#before = this.cache;
    this.#loaded = undefined;
    this.#releasing = loaded.reranker.dispose();
    return this.#releasing;
  }

  /** Releases this very reranker, whose file has changed. @returns false for one that the server did not load, and cannot again. */
  drop(reranker: Reranker): boolean {
    if (this.source === undefined) return false;
    if (this.#loaded?.reranker === reranker) void this.release();
    return true;
  }

  /** As release(); a load under way ends, be it a download. */
  async close(): Promise<void> {
    this.#closing.abort(new Error("The server is stopping"));
    await this.#loading?.catch(() => undefined);
    await this.release();
  }

  #accept(reranker: Reranker): Loaded {
    this.failure = undefined;
    this.facts = reranker.model;
    const { devices } = reranker.model;
    const window = devices.reduce((sum, device) => sum + (device === "cpu" ? CPU_WINDOW : OTHER_WINDOW), 0);
    const { batches, computedTokens } = reranker.stats();
    this.#batches = { count: batches, tokens: computedTokens };
    this.#loaded = { reranker, turns: new Turns(window) };
    return this.#loaded;
  }

  #unavailable(cause: Error): HttpError {
    return new HttpError(503, `The model ${this.name} did not load: ${cause.message}`, { cause, retryAfterMs: RETRY_LOAD_MS });
  }
}

/** `/models/m3.q8_0.gguf` is m3.q8_0. */
function nameOf(source: string): string {
  return /\.gguf$/i.test(source) ? (source.split(/[\\/:]/).at(-1) ?? source).replace(/\.gguf$/i, "") : source;
}

function lastPart(name: string): string {
  return nameOf(name).split("/").at(-1) ?? name;
}

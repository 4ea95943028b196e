// ServedModels: which model a request means, and which of them are in memory.
import { inspectModel, type Reranker, RerankerError } from "../index.js";
import { HttpError } from "./http-error.js";
import type { HandlerOptions, ModelEntry, ModelInput } from "./options.js";
import { type Loaded, ServedModel } from "./served-model.js";

export interface ServedModelsOptions {
  readonly strictModel: boolean;
  readonly keepAliveMs: number | undefined;
  readonly maxMemoryBytes: number | undefined;
  readonly cacheBytes: number;
}

/** A model held in memory for a call. */
export interface Lease extends Loaded {
  readonly release: () => void;
}

export class ServedModels {
  readonly all: readonly [ServedModel, ...ServedModel[]];
  readonly #options: ServedModelsOptions;
  readonly #timers = new Map<ServedModel, NodeJS.Timeout>();
  /** Models that make room when their calls have ended, and what tells so. */
  readonly #retiring = new Map<ServedModel, Promise<void>>();
  readonly #idle = new Map<ServedModel, () => void>();
  readonly #loading = new Map<ServedModel, Promise<Loaded>>();
  #makingRoom: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(entries: readonly [ModelEntry, ...ModelEntry[]], options: ServedModelsOptions) {
    const [first, ...others] = entries;
    const { cacheBytes } = options;
    this.all = [new ServedModel(first, cacheBytes), ...others.map((entry) => new ServedModel(entry, cacheBytes))];
    this.#options = options;
    const names = this.all.map((model) => model.name);
    const twice = names.find((name, i) => names.indexOf(name) !== i);
    if (twice !== undefined) throw new RangeError(`Two models are named \`${twice}\`: give them names`);
  }

  /**
   * With one model any name serves. `default` and no name are the first.
   *
   * @throws {HttpError} 404
   */
  find(name: string | undefined): ServedModel {
    const [first] = this.all;
    if (name === undefined) return first;
    const found = this.all.find((model) => model.name === name) ?? this.all.find((model) => model.answersTo(name));
    if (found) return found;
    if (!this.#options.strictModel && (this.all.length === 1 || /^default(\/|$)/.test(name))) return first;
    throw new HttpError(
      404,
      `There is no model \`${name.slice(0, 80)}\` here; served are ${this.all.map((model) => model.name).join(", ")}`,
      { param: "model" },
    );
  }

  /** Loads the model when it is not in memory, and keeps it there until the lease is released. */
  async lease(model: ServedModel): Promise<Lease> {
    if (this.#closed) throw new HttpError(503, "The server is stopping", { retryAfterMs: 1000 });
    while (this.#retiring.has(model)) await this.#retiring.get(model);
    this.#keep(model);
    model.inUse += 1;
    let open = true;
    const release = () => {
      if (!open) return;
      open = false;
      model.inUse -= 1;
      model.lastUsed = performance.now();
      if (model.inUse > 0) return;
      this.#idle.get(model)?.();
      this.#releaseLater(model);
    };
    try {
      const loaded = model.loaded ?? (await this.#load(model));
      return { ...loaded, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Releases the models that the server loaded. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    await Promise.all(this.all.map((model) => model.close()));
  }

  #load(model: ServedModel): Promise<Loaded> {
    const { maxMemoryBytes } = this.#options;
    if (maxMemoryBytes === undefined || model.source === undefined) return model.load({});
    // One after the other: each takes what the others leave. All who wait for a model wait for the same load, or they would
    // hold it while another waits for them to let go.
    const waiting = this.#loading.get(model);
    if (waiting) return waiting;
    const loading = this.#makingRoom.then(() => this.#loadWithin(model, maxMemoryBytes)).finally(() => this.#loading.delete(model));
    this.#loading.set(model, loading);
    this.#makingRoom = loading.catch(() => undefined);
    return loading;
  }

  /** The library refuses a model that does not fit before it is loaded; then the least recently used one makes room. */
  async #loadWithin(model: ServedModel, limit: number): Promise<Loaded> {
    for (;;) {
      if (model.loaded) return model.loaded;
      const taken = await this.#memoryTaken();
      try {
        return await model.load({ maxMemory: Math.max(1, limit - taken) });
      } catch (error) {
        const cause = error instanceof HttpError ? error.cause : undefined;
        const other = this.#leastRecentlyUsed(model);
        if (!(cause instanceof RerankerError && cause.code === "OUT_OF_MEMORY") || !other) throw error;
        model.failure = undefined;
        await this.#retire(other);
      }
    }
  }

  /** An idle one before one that is in use. */
  #leastRecentlyUsed(except: ServedModel): ServedModel | undefined {
    const loaded = this.all.filter((each) => each !== except && each.loaded && each.source !== undefined);
    return loaded.sort((a, b) => Number(a.inUse > 0) - Number(b.inUse > 0) || a.lastUsed - b.lastUsed)[0];
  }

  /** Releases a model when its calls have ended; new ones wait until then, and load it again. */
  async #retire(model: ServedModel): Promise<void> {
    const released = (async () => {
      if (model.inUse > 0) await new Promise<void>((resolve) => this.#idle.set(model, resolve));
      this.#idle.delete(model);
      await model.release();
    })();
    this.#retiring.set(model, released);
    await released.finally(() => this.#retiring.delete(model));
  }

  /** By the estimate that the library holds against its own limit. */
  async #memoryTaken(): Promise<number> {
    const sizes = this.all.map(async ({ loaded, facts }) => {
      if (!loaded || !facts) return 0;
      const { memory } = await inspectModel(facts.path);
      const needed = memory ? memory.weightsBytes + memory.tokenizerBytes + memory.workBytes : facts.weightsSizeBytes;
      return needed + facts.prefixCacheBytes;
    });
    return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  }

  #keep(model: ServedModel): void {
    clearTimeout(this.#timers.get(model));
    this.#timers.delete(model);
  }

  #releaseLater(model: ServedModel): void {
    const { keepAliveMs } = this.#options;
    if (keepAliveMs === undefined || this.#closed) return;
    this.#keep(model);
    const timer = setTimeout(() => {
      this.#timers.delete(model);
      if (model.inUse === 0) void model.release();
    }, keepAliveMs);
    timer.unref();
    this.#timers.set(model, timer);
  }
}

/** What the options name, the embedded model by default. */
export function entriesOf({ models, model, reranker, load }: HandlerOptions): readonly [ModelEntry, ...ModelEntry[]] {
  const given = [models, model, reranker].filter((each) => each !== undefined);
  if (given.length > 1) throw new TypeError("Give one of `models`, `model` and `reranker`");
  const [first = "default", ...others] = listOf(given[0]);
  const toEntry = (input: ModelInput | readonly [string, ModelInput]): ModelEntry => {
    const [name, value] = Array.isArray(input) ? (input as readonly [string, ModelInput]) : [undefined, input as ModelInput];
    const entry = isEntry(value) ? value : { model: value };
    if (typeof entry.model !== "string" && !isReranker(entry.model)) {
      throw new TypeError("Expected a model to be a name that Reranker.load takes, a loaded reranker, or { model, name, aliases, load }");
    }
    return { ...entry, name: entry.name ?? name, load: { ...load, ...entry.load } };
  };
  const entries: [ModelEntry, ...ModelEntry[]] = [toEntry(first), ...others.map(toEntry)];
  return entries;
}

function listOf(models: HandlerOptions["models"]): readonly (ModelInput | readonly [string, ModelInput])[] {
  if (models === undefined) return [];
  if (Array.isArray(models)) return models;
  if (typeof models === "string" || isReranker(models) || isEntry(models as ModelInput)) return [models as ModelInput];
  return Object.entries(models as Readonly<Record<string, ModelInput>>);
}

export function isReranker(value: unknown): value is Reranker {
  return typeof value === "object" && value !== null && "rerank" in value && typeof value.rerank === "function";
}

function isEntry(value: ModelInput): value is ModelEntry {
  return (
    typeof value === "object" && !isReranker(value) && "model" in value && (typeof value.model === "string" || isReranker(value.model))
  );
}

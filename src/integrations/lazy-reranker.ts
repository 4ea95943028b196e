// A reranker that an adapter was given, or that it loads by name when it is first asked.
import type { LoadOptions, Reranker } from "../index.js";

/** A loaded reranker, which stays yours to dispose of, or what `Reranker.load` takes, loaded at the first call. */
export type RerankerSource = Reranker | string;

/** One reranker for all calls of an adapter. */
export class LazyReranker {
  readonly #source: RerankerSource;
  readonly #options: LoadOptions;
  #loading: Promise<Reranker> | undefined;

  constructor(source: RerankerSource, options: LoadOptions = {}) {
    if (typeof source !== "string" && typeof source?.rerank !== "function") {
      throw new TypeError(`Expected a loaded reranker or the name or path of a model, got \`${String(source)}\``);
    }
    if (typeof source !== "string" && Object.keys(options).length > 0) {
      throw new TypeError("Load options have no effect on a reranker that is loaded already: give them where it is loaded");
    }
    this.#source = source;
    this.#options = options;
  }

  /** What names the model: its own name, or what it is loaded by. */
  get name(): string {
    return typeof this.#source === "string" ? this.#source : (this.#source.model.name ?? this.#source.model.path);
  }

  /** @throws As `Reranker.load`; the next call tries again. */
  get(): Promise<Reranker> {
    if (typeof this.#source !== "string") return Promise.resolve(this.#source);
    this.#loading ??= load(this.#source, this.#options).catch((error) => {
      this.#loading = undefined;
      throw error;
    });
    return this.#loading;
  }

  /** Frees a model that was loaded here. One that was handed over stays open. */
  async dispose(): Promise<void> {
    const loading = this.#loading;
    this.#loading = undefined;
    await (await loading?.catch(() => undefined))?.dispose();
  }
}

// The addon is opened only by those who load a model here.
async function load(source: string, options: LoadOptions): Promise<Reranker> {
  const { FlagAutoReranker } = await import("../index.js");
  return FlagAutoReranker.fromFinetuned(source, options);
}

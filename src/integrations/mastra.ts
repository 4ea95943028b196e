// bge-reranker/mastra: a relevance scorer for `rerankWithScorer` and vector query tools of @mastra/rag.
import type { LoadOptions, Reranker, RerankOptions } from "../index.js";
import { LazyReranker, type RerankerSource } from "./lazy-reranker.js";

export interface BgeRelevanceOptions {
  /** Options of `Reranker.rerank`: `cutoffLayers`, `overflow`, `maxLength` ... Scores are always 0 to 1, as Mastra mixes them. */
  readonly options?: Omit<RerankOptions, "topN" | "minScore" | "normalize" | "cascade" | "signal" | "onProgress"> | undefined;
  /** Options of loading, when the model is given by name. */
  readonly load?: LoadOptions | undefined;
}

interface Waiting {
  readonly text: string;
  readonly resolve: (score: number) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Mastra asks for one score a document, all at once; calls of one turn of the event loop are computed as one batch.
 *
 * @see RelevanceScoreProvider of @mastra/core
 *
 * @example
 * const scorer = new BgeRelevanceScorer("BAAI/bge-reranker-v2-m3");
 * await rerankWithScorer({ results, query, scorer, options: { topK: 5 } });
 */
export class BgeRelevanceScorer {
  readonly #lazy: LazyReranker;
  readonly #options: RerankOptions;
  /** Calls of this turn, by query. */
  #waiting = new Map<string, Waiting[]>();

  /** @param model - A loaded reranker, or the name or path of a model, loaded at the first call. */
  constructor(model: RerankerSource = "default", { options, load }: BgeRelevanceOptions = {}) {
    this.#lazy = new LazyReranker(model, load);
    this.#options = { ...options, normalize: true };
  }

  /** @returns 0 to 1. */
  getRelevanceScore(query: string, text: string): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.size === 0) setImmediate(() => this.#flush());
      const sameQuery = this.#waiting.get(query) ?? [];
      this.#waiting.set(query, sameQuery);
      sameQuery.push({ text, resolve, reject });
    });
  }

  /** Frees a model that was loaded by name. */
  dispose(): Promise<void> {
    return this.#lazy.dispose();
  }

  #flush(): void {
    const waiting = this.#waiting;
    this.#waiting = new Map();
    const reranker = this.#lazy.get();
    for (const [query, calls] of waiting) void this.#score(reranker, query, calls);
  }

  async #score(loading: Promise<Reranker>, query: string, calls: readonly Waiting[]): Promise<void> {
    try {
      const reranker = await loading;
      const texts = calls.map(({ text }) => text);
      for (const { index, score } of await reranker.rerank(query, texts, this.#options)) calls[index]?.resolve(score);
    } catch (error) {
      for (const { reject } of calls) reject(error);
    }
  }
}

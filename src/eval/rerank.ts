// A data set's candidates, scored by a reranker.

import type { RerankOptions } from "../reranker/options.js";
import type { Reranker } from "../reranker/reranker.js";
import type { Progress } from "../sources/progress.js";
import type { Dataset, DatasetQuery } from "./dataset.js";
import type { Run } from "./run.js";

/** The reranked run, and what it took. */
export interface RerankedDataset {
  readonly run: Run;
  readonly pairs: number;
  /** Tokens the model read, special tokens included. */
  readonly tokens: number;
  /** Pairs whose query or document the model did not read to its end. */
  readonly truncatedPairs: number;
  readonly seconds: number;
}

export interface RerankDatasetOptions {
  /** Options of the calls, as `cutoffLayers` or `cascade`. What a cascade drops is not in the run. */
  readonly rerank?: Omit<RerankOptions, "topN" | "minScore" | "signal" | "onProgress"> | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called with pairs. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

// Queries in flight: the engine merges their pairs, so that batches are full of pairs of like length. Each call listens
// to the signal, and Node warns of more than ten listeners.
const CALLS = 8;

/** Reranks the candidates of every query. Texts that are too long are cut, as `rerank` does by default. */
export async function rerankDataset(reranker: Reranker, dataset: Dataset, options: RerankDatasetOptions = {}): Promise<RerankedDataset> {
  const total = dataset.queries.reduce((sum, { candidates }) => sum + candidates.length, 0);
  const run = new Map<string, Map<string, number>>();
  const counts = { pairs: 0, tokens: 0, truncatedPairs: 0 };
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const rerankOne = async ({ id, text, candidates }: DatasetQuery) => {
    const documents = candidates.map((document) => dataset.documents.get(document) ?? "");
    const results = await reranker.rerank(text, documents, { ...options.rerank, signal });
    run.set(id, new Map(results.map(({ index, score }) => [candidates[index] ?? "", score])));
    for (const { tokens, truncated } of results) {
      counts.tokens += tokens;
      counts.truncatedPairs += truncated ? 1 : 0;
    }
    counts.pairs += results.length;
    options.onProgress?.({ done: counts.pairs, total });
  };
  const queries = dataset.queries.values(); // shared: each call takes the next one
  const takeQueries = async () => {
    for (const query of queries) await rerankOne(query);
  };
  const started = performance.now();
  const calls = Array.from({ length: CALLS }, takeQueries);
  try {
    await Promise.all(calls);
  } catch (error) {
    stop.abort(error);
    await Promise.allSettled(calls);
    throw error;
  }
  return { run, ...counts, seconds: (performance.now() - started) / 1000 };
}

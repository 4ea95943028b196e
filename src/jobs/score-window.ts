// Scores tasks a window at a time: equal pairs once, like lengths together, everything back in its order.
import { hash } from "node:crypto";
import type { Pair, Reranker, ScoreOptions } from "../index.js";
import type { ScoredTask, Task } from "./task.js";

// A window is what is held at once: enough pairs to sort, few enough bytes for any machine.
const WINDOW_PAIRS = 8192;
const WINDOW_BYTES = 16 * 2 ** 20;
// Pairs of one call: abort and progress are looked at in between.
const CALL_PAIRS = 512;
// Scores remembered across windows, about 150 bytes each.
const REMEMBERED = 200_000;

/** What the model read; equal pairs count once. */
export interface Work {
  pairs: number;
  computedPairs: number;
  tokens: number;
  truncatedPairs: number;
}

/** Called with what was done since the last call; the rows of lists are a share of those at work. */
export type OnWork = (pairs: number, tokens: number, rows: number) => void;

interface PairScore {
  /** One a cutoff layer. */
  readonly scores: readonly number[];
  readonly truncated: boolean;
}

/** Scores of pairs that came before, by digest. */
export type ScoreMemory = Map<string, PairScore>;

export interface ScoringContext {
  readonly reranker: Pick<Reranker, "computeScoreDetails">;
  readonly options: ScoreOptions;
  readonly signal?: AbortSignal | undefined;
  readonly onWork?: OnWork | undefined;
}

/** Tasks in windows; the last of a window may be a long one. */
export async function* windowsOf(tasks: AsyncIterable<Task>): AsyncGenerator<Task[]> {
  let window: Task[] = [];
  let pairs = 0;
  let bytes = 0;
  for await (const task of tasks) {
    window.push(task);
    for (const text of task.lists.flat()) {
      pairs++;
      bytes += 2 * text.length;
    }
    bytes += 2 * task.query.length;
    if (pairs < WINDOW_PAIRS && bytes < WINDOW_BYTES) continue;
    yield window;
    window = [];
    pairs = 0;
    bytes = 0;
  }
  if (window.length > 0) yield window;
}

export async function scoreWindow(tasks: readonly Task[], context: ScoringContext, memory: ScoreMemory, work: Work): Promise<ScoredTask[]> {
  const keys = tasks.map(({ query, lists }) => lists.map((texts) => texts.map((text) => digestOfPair(query, text))));
  if (memory.size > REMEMBERED) memory.clear();
  const known = new Map<string, PairScore>();
  const missing = new Map<string, Pair>();
  for (const [t, { query, lists }] of tasks.entries()) {
    for (const [l, texts] of lists.entries()) {
      for (const [i, text] of texts.entries()) {
        const key = keys[t]?.[l]?.[i] ?? "";
        const before = memory.get(key);
        if (before) known.set(key, before);
        else missing.set(key, [query, text]);
      }
    }
  }
  const rowsAPair = missing.size > 0 ? tasks.length / missing.size : 0;
  await scoreMissing(missing, known, rowsAPair, context, work);
  if (missing.size === 0) context.onWork?.(0, 0, tasks.length);
  for (const key of missing.keys()) memory.set(key, known.get(key) as PairScore);
  return tasks.map((task, t) => {
    const results = (keys[t] ?? []).map((list) => list.map((key) => known.get(key) as PairScore));
    const flat = results.flat();
    const truncated = flat.filter((result) => result.truncated).length;
    work.pairs += flat.length;
    work.truncatedPairs += truncated;
    const isLayers = (flat[0]?.scores.length ?? 1) > 1;
    const scores = isLayers ? [flat[0]?.scores ?? []] : results.map((list) => list.map((result) => result.scores[0] ?? Number.NaN));
    return { ...task, scores, truncated };
  });
}

async function scoreMissing(
  missing: ReadonlyMap<string, Pair>,
  known: Map<string, PairScore>,
  rowsAPair: number,
  { reranker, options, signal, onWork }: ScoringContext,
  work: Work,
): Promise<void> {
  const size = ([query, text]: Pair) => query.length + text.length;
  const longestFirst = [...missing].sort(([, a], [, b]) => size(b) - size(a));
  const chunks = Array.from({ length: Math.ceil(longestFirst.length / CALL_PAIRS) }, (_, i) =>
    longestFirst.slice(i * CALL_PAIRS, (i + 1) * CALL_PAIRS),
  ).values();
  let failed = false;
  const scoreChunks = async () => {
    for (const chunk of chunks) {
      signal?.throwIfAborted();
      if (failed) return;
      const details = await reranker.computeScoreDetails(
        chunk.map(([, pair]) => pair),
        signal ? { ...options, signal } : options,
      );
      const layers = (typeof details.scores[0] === "number" ? [details.scores] : details.scores) as number[][];
      for (const [i, [key]] of chunk.entries()) {
        known.set(key, { scores: layers.map((layer) => layer[i] as number), truncated: details.truncated[i] ?? false });
      }
      const tokens = details.tokens.reduce((sum, n) => sum + n, 0);
      work.computedPairs += chunk.length;
      work.tokens += tokens;
      onWork?.(chunk.length, tokens, rowsAPair * chunk.length);
    }
  };
  // Two calls at once: while one is computed, the texts of the next become ids.
  const calls = [scoreChunks(), scoreChunks()];
  await Promise.all(calls).catch(async (error: unknown) => {
    failed = true;
    await Promise.allSettled(calls);
    throw error;
  });
}

function digestOfPair(query: string, text: string): string {
  return hash("sha1", `${query.length}:${query}${text}`, "base64");
}

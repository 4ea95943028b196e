// rerankTop: the budget's loop, fed by a reranker.
import { spendBudget } from "./budget.js";

/** A result as the loop needs it. `index` is the place in the documents of one call. */
interface TopResult {
  readonly index: number;
  readonly logit: number;
}

interface TopWork<R extends TopResult> {
  readonly texts: readonly string[];
  readonly layers: readonly (number | undefined)[];
  readonly budgetMs: number;
  readonly signal: AbortSignal | undefined;
  readonly rerank: (documents: readonly string[], layer: number | undefined, signal: AbortSignal | undefined) => Promise<readonly R[]>;
}

interface TopRead<R> {
  /** Read up to the last layer, best first; `index` is the hit's place. */
  readonly best: readonly R[];
  /** Places of the other hits. */
  readonly rest: readonly number[];
  readonly read: number;
  readonly readDeeply: number;
  readonly elapsedMs: number;
}

export async function readTop<R extends TopResult>({ texts, layers, signal, rerank, ...budget }: TopWork<R>): Promise<TopRead<R>> {
  const { ranked, elapsedMs } = await spendBudget<R>({
    ...budget,
    layers,
    sizes: texts.map((text) => text.length),
    now: () => performance.now(),
    logitOf: ({ logit }) => logit,
    score: async (hits, layer, timeLeftMs) => {
      const documents = hits.map((hit) => texts[hit] ?? "");
      const deadline = timeLeftMs === undefined ? undefined : AbortSignal.timeout(Math.ceil(timeLeftMs));
      const results = await rerank(documents, layer, anyOf(signal, deadline)).catch((error) => {
        if (deadline?.aborted && error === deadline.reason) return undefined;
        throw error;
      });
      return results && [...results].sort((a, b) => a.index - b.index);
    },
  });
  const last = layers.length - 1;
  const best = ranked.filter(({ depth }) => depth === last).map(({ hit, result }) => ({ ...result, index: hit }));
  const shallow = ranked.filter(({ depth }) => depth < last).map(({ hit }) => hit);
  const read = new Set(ranked.map(({ hit }) => hit));
  const unread = texts.map((_, hit) => hit).filter((hit) => !read.has(hit));
  return { best, rest: [...shallow, ...unread], read: ranked.length, readDeeply: best.length, elapsedMs };
}

function anyOf(...signals: readonly (AbortSignal | undefined)[]): AbortSignal | undefined {
  const given = signals.filter((signal) => signal !== undefined);
  return given.length > 1 ? AbortSignal.any(given) : given[0];
}

// Layer 16 of minicpm's 40.
const EARLY = 0.4;

/** The early layer, of the legal ones, and the one asked. One entry for models without layers, or with none earlier. */
export function budgetLayers(legal: readonly number[], asked: number | undefined): readonly (number | undefined)[] {
  if (asked === undefined) return [undefined];
  const earlier = legal.filter((layer) => layer < asked);
  const distance = (layer: number) => Math.abs(layer - EARLY * asked);
  const [early] = earlier.sort((a, b) => distance(a) - distance(b));
  return early === undefined ? [asked] : [early, asked];
}

// Reciprocal rank fusion: one ranking from several, such as keywords and vectors, before a reranker reads the best.
import * as is from "../checks.js";

export interface FuseOptions<T> {
  /**
   * How soon lower ranks stop counting: a hit at rank r, from 1, adds 1 / (k + r).
   * @default 60, as in the paper
   */
  readonly k?: number | undefined;
  /** What each ranking counts, in their order. @default 1 each */
  readonly weights?: readonly number[] | undefined;
  /** What tells two hits are the same. @default the `id` of an object, or the value itself */
  readonly id?: ((hit: T) => string | number) | undefined;
}

/** A hit of one or more rankings. */
export interface FusedHit<T> {
  readonly id: string | number;
  /** The hit as the first ranking that has it gives it. */
  readonly hit: T;
  readonly score: number;
  /** Its rank, from 1, in each ranking; null where it is missing. */
  readonly ranks: readonly (number | null)[];
}

/**
 * Merges rankings by ranks alone, so that their scores need not be comparable.
 *
 * @param rankings - Each best first.
 * @returns Best first; equal scores keep the order in which hits first appear, ranking by ranking.
 * @throws {TypeError} A hit without an id.
 * @throws {RangeError} A ranking that has a hit twice: keep the best of a document's chunks first.
 *
 * @example
 * const hits = fuse([keywordHits, vectorHits]).map(({ hit }) => hit);
 * const { results } = await reranker.rerankTop(query, hits, { keep: 5, budgetMs: 200 });
 *
 * @see Cormack, Clarke and Büttcher, Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods (2009)
 */
export function fuse<T>(rankings: readonly (readonly T[])[], options: FuseOptions<T> = {}): FusedHit<T>[] {
  is.checkOptions("fuse", options, checks, () => undefined);
  const { k = 60, id: idOf = defaultId } = options;
  const weights = weightsOf(rankings, options.weights);
  const fused = new Map<string | number, { id: string | number; hit: T; score: number; ranks: (number | null)[] }>();
  for (const [r, ranking] of rankings.entries()) {
    for (const [i, hit] of ranking.entries()) {
      const id = checkId(idOf(hit), r, i);
      const entry = fused.get(id) ?? { id, hit, score: 0, ranks: rankings.map(() => null) };
      if (entry.ranks[r]) throw new RangeError(`Ranking ${r} has ${is.show(id)} twice, at ranks ${entry.ranks[r]} and ${i + 1}`);
      entry.ranks[r] = i + 1;
      entry.score += (weights[r] as number) / (k + i + 1);
      fused.set(id, entry);
    }
  }
  return [...fused.values()].sort((a, b) => b.score - a.score);
}

const checks = {
  k: (name, value) => {
    is.finite(name, value);
    if ((value as number) < 0) throw new RangeError(`Expected \`k\` to be at least 0, got \`${value}\``);
  },
  weights: () => {},
  id: is.callback,
} as const satisfies Record<keyof FuseOptions<unknown>, is.Check>;

function weightsOf(rankings: unknown, weights: readonly number[] | undefined): readonly number[] {
  if (!Array.isArray(rankings) || !rankings.every(Array.isArray)) {
    throw new TypeError(`Expected \`rankings\` to be an array of arrays, got \`${is.show(rankings)}\``);
  }
  const given = weights ?? rankings.map(() => 1);
  if (Array.isArray(given) && given.length === rankings.length && given.every((weight) => weight >= 0 && Number.isFinite(weight)))
    return given;
  throw new RangeError(`Expected \`weights\` to be ${rankings.length} numbers of at least 0, got \`${is.show(given)}\``);
}

function defaultId(hit: unknown): string | number {
  return (typeof hit === "object" && hit !== null ? (hit as { id?: unknown }).id : hit) as string | number;
}

function checkId(id: unknown, ranking: number, place: number): string | number {
  if (typeof id === "string" || (typeof id === "number" && !Number.isNaN(id))) return id;
  throw new TypeError(`Hit ${place} of ranking ${ranking} has no id, a string or a number, but \`${is.show(id)}\`. See the option \`id\``);
}

// The figures of a ranking, by the definitions of NIST's trec_eval.
import * as is from "../checks.js";
import { compareRanked, type Qrels, type Ranked, type Run } from "./run.js";

/** What a grade is worth to nDCG: 2^grade - 1, or the grade itself as in trec_eval. With grades 0 and 1 they are the same. */
export type Gain = "exponential" | "linear";

export interface EvaluateOptions {
  /**
   * Such as `"nDCG@10"`, `"MRR@10"`, `"MAP"`, `"Recall@50"`, `"P@5"` or `"Success@1"`, in any case. Without `@k` the whole ranking
   * counts; `P`, `Recall` and `Success` need it.
   * @default ["nDCG@10", "MRR@10", "MAP", "Recall@100"]
   */
  readonly metrics?: readonly string[] | undefined;
  /** @default "exponential" */
  readonly gain?: Gain | undefined;
  /**
   * true: a judged query that the run lacks counts as 0 (trec_eval -c); false: it is left out.
   * @default false
   */
  readonly complete?: boolean | undefined;
  /**
   * true: documents without a judgement are taken out of the ranking first (trec_eval -J).
   * @default false
   */
  readonly judgedOnly?: boolean | undefined;
}

/** Figures by the name of their metric. */
export type Figures = Readonly<Record<string, number>>;

export interface Evaluation {
  /** Means over the queries. */
  readonly means: Figures;
  readonly perQuery: ReadonlyMap<string, Figures>;
}

/**
 * Evaluates a run. Documents are ranked by score, equal scores by id, descending; a grade from 1 up is relevant. Queries without
 * judgements are left out; queries judged without a relevant document count as 0, as in trec_eval.
 *
 * @example
 * const qrels = new Map([["q", new Map([["a", 1]])]]);
 * evaluate(new Map([["q", new Map([["a", 0.3], ["b", 0.7]])]]), qrels, { metrics: ["MRR@10"] }).means // { "MRR@10": 0.5 }
 *
 * @throws {RangeError} A metric that does not exist, or no query to average over.
 * @see https://github.com/usnistgov/trec_eval m_ndcg_cut.c, m_map.c, m_recip_rank.c, m_recall.c, m_P.c, m_success.c
 */
export function evaluate(run: Run, qrels: Qrels, options: EvaluateOptions = {}): Evaluation {
  is.mapOf(is.mapOf())("run", run);
  is.mapOf(is.mapOf())("qrels", qrels);
  is.checkOptions("evaluate", options, optionChecks, () => undefined);
  const metrics = parseMetrics(options.metrics ?? ["nDCG@10", "MRR@10", "MAP", "Recall@100"]);
  const gain = gainOf(options.gain ?? "exponential");
  const perQuery = new Map<string, Figures>();
  for (const [query, judgements] of qrels) {
    const scores = run.get(query);
    if (!scores && !options.complete) continue;
    const ranking = rank(scores ?? new Map());
    const judged = options.judgedOnly ? ranking.filter(({ id }) => (judgements.get(id) ?? -1) >= 0) : ranking;
    const grades = judged.map(({ id }) => judgements.get(id) ?? 0);
    perQuery.set(query, figuresOf(metrics, grades, [...judgements.values()], gain));
  }
  if (perQuery.size === 0) throw new RangeError("No query of the run has judgements");
  return { means: meansOf(metrics, perQuery), perQuery };
}

const optionChecks = {
  metrics: () => undefined, // parseMetrics says more
  gain: is.oneOf("exponential", "linear"),
  complete: is.boolean,
  judgedOnly: is.boolean,
} as const satisfies Record<keyof EvaluateOptions, unknown>;

/** Documents best first. */
export function rank(scores: ReadonlyMap<string, number>): Ranked[] {
  is.mapOf()("scores", scores);
  return Array.from(scores, ([id, score]) => ({ id, score })).sort(compareRanked);
}

interface Metric {
  /** As it is shown: `nDCG@10`. */
  readonly name: string;
  readonly kind: keyof typeof KINDS;
  readonly cutoff: number;
}

/** The ranking's grades up to the cutoff, and what there was to find. */
interface Query {
  readonly grades: readonly number[];
  readonly cutoff: number;
  readonly relevantCount: number;
  readonly ideal: readonly number[];
  readonly gain: (grade: number) => number;
}

const KINDS = {
  nDCG: ({ grades, ideal, cutoff, gain }) => {
    const best = discountedGain(ideal.slice(0, cutoff), gain);
    return best > 0 ? discountedGain(grades, gain) / best : 0;
  },
  MRR: ({ grades }) => {
    const first = grades.findIndex(isRelevant);
    return first < 0 ? 0 : 1 / (first + 1);
  },
  // Relevant documents that were not retrieved have precision 0, so the sum is over those retrieved.
  MAP: ({ grades, relevantCount }) => {
    let found = 0;
    let sum = 0;
    for (const [i, grade] of grades.entries()) if (isRelevant(grade)) sum += ++found / (i + 1);
    return relevantCount > 0 ? sum / relevantCount : 0;
  },
  Recall: ({ grades, relevantCount }) => (relevantCount > 0 ? count(grades) / relevantCount : 0),
  // By the cutoff, however few documents were retrieved.
  P: ({ grades, cutoff }) => count(grades) / cutoff,
  Success: ({ grades }) => (grades.some(isRelevant) ? 1 : 0),
} as const satisfies Record<string, (query: Query) => number>;

const NEED_CUTOFF: readonly string[] = ["Recall", "P", "Success"];

/** Reads names such as `ndcg@10`. A metric named twice counts once. */
export function parseMetrics(names: readonly string[]): readonly Metric[] {
  if (!Array.isArray(names) || names.length === 0)
    throw new TypeError(`Expected \`metrics\` to be an array of names, got \`${is.show(names)}\``);
  const metrics = names.map((name) => parseMetric(name));
  return metrics.filter((metric, i) => metrics.findIndex((other) => other.name === metric.name) === i);
}

function parseMetric(text: unknown): Metric {
  const [, word = "", digits] = /^([a-z]+)(?:@([1-9]\d{0,8}))?$/i.exec(String(text)) ?? [];
  const kind = (Object.keys(KINDS) as (keyof typeof KINDS)[]).find((name) => name.toLowerCase() === word.toLowerCase());
  if (!kind || (digits === undefined && NEED_CUTOFF.includes(kind))) {
    throw new RangeError(`Expected a metric such as nDCG@10, MRR@10, MAP, Recall@50, P@5 or Success@1, got \`${is.show(text)}\``);
  }
  return digits === undefined
    ? { name: kind, kind, cutoff: Number.POSITIVE_INFINITY }
    : { name: `${kind}@${digits}`, kind, cutoff: Number(digits) };
}

function figuresOf(
  metrics: readonly Metric[],
  grades: readonly number[],
  judged: readonly number[],
  gain: (grade: number) => number,
): Figures {
  const ideal = judged.filter(isRelevant).sort((a, b) => b - a);
  const figure = ({ kind, cutoff }: Metric) =>
    KINDS[kind]({ grades: grades.slice(0, cutoff), cutoff, relevantCount: ideal.length, ideal, gain });
  return Object.fromEntries(metrics.map((metric) => [metric.name, figure(metric)]));
}

function meansOf(metrics: readonly Metric[], perQuery: ReadonlyMap<string, Figures>): Figures {
  const mean = (name: string) => [...perQuery.values()].reduce((sum, figures) => sum + (figures[name] ?? 0), 0) / perQuery.size;
  return Object.fromEntries(metrics.map(({ name }) => [name, mean(name)]));
}

function discountedGain(grades: readonly number[], gain: (grade: number) => number): number {
  return grades.reduce((sum, grade, i) => (isRelevant(grade) ? sum + gain(grade) / Math.log2(i + 2) : sum), 0);
}

function gainOf(gain: Gain): (grade: number) => number {
  switch (gain) {
    case "exponential":
      return (grade) => 2 ** grade - 1;
    case "linear":
      return (grade) => grade;
    default:
      throw new RangeError(`Expected \`gain\` to be "exponential" or "linear", got \`${is.show(gain satisfies never)}\``);
  }
}

function isRelevant(grade: number): boolean {
  return grade >= 1;
}

function count(grades: readonly number[]): number {
  return grades.filter(isRelevant).length;
}

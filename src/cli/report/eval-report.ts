// The report of `eval`.
import { type Dataset, type Evaluation, type LabelledLogit, type RerankedDataset, type Reranker, rank } from "../../index.js";
import type { Comparison } from "./comparison.js";
import { formatNumber } from "./page.js";
import type { Report, Section, Table } from "./report.js";
import { chooseStep, distributionSection, thresholdSection } from "./scores.js";

const PRECISION = 0.9; // of the threshold that is marked
const WORST = 5; // queries whose documents are shown
const SHOWN = 3; // documents of each
const CHARACTERS = 160;

export interface EvalOutcome {
  readonly dataset: Dataset;
  readonly firstStage: Evaluation;
  readonly evaluation: Evaluation;
  readonly work: RerankedDataset;
  readonly model: Reranker["model"];
  readonly candidates: number;
  /** What the scores are: "logit", or "score" with --normalize. */
  readonly scores: string;
  /** The model as it is, and what it was compared with. */
  readonly comparisons: readonly Comparison[];
}

export function evalReport(outcome: EvalOutcome): Report {
  const { dataset, work, model, candidates, scores } = outcome;
  const examples = examplesOf(dataset, work);
  const chosen = chooseStep(examples, PRECISION);
  const separable = examples.some(({ relevant }) => relevant) && examples.some(({ relevant }) => !relevant);
  return {
    title: `${model.name ?? model.path} on ${dataset.name}`,
    facts: [
      ["queries", String(dataset.queries.length)],
      ["first stage", `${dataset.firstStage.name}, ${candidates} candidates`],
      ["device", model.device],
      ["weights", Object.keys(model.tensorTypes).join(", ")],
      ["speed", `${formatNumber(work.pairs / work.seconds)} pairs/s`],
      ["cut", `${work.truncatedPairs} of ${work.pairs} pairs`],
    ],
    sections: [
      metricsSection(outcome),
      changesSection(outcome),
      ...(separable
        ? [distributionSection(examples, chosen?.score ?? null, scores), thresholdSection(examples, chosen, PRECISION, scores)]
        : []),
      ...comparisonSections(outcome),
    ],
  };
}

function examplesOf(dataset: Dataset, work: RerankedDataset): LabelledLogit[] {
  return Array.from(work.run, ([query, scores]) =>
    Array.from(scores, ([document, logit]) => ({ logit, relevant: (dataset.qrels.get(query)?.get(document) ?? 0) >= 1 })),
  ).flat();
}

function metricsSection({ firstStage, evaluation }: EvalOutcome): Section {
  const rows = Object.entries(firstStage.means).map(([name, before]) => {
    const after = evaluation.means[name] ?? 0;
    return [name, before.toFixed(4), after.toFixed(4), signed(after - before)];
  });
  return {
    heading: "Before and after",
    note: "Means over the queries, as trec_eval defines them, both over the same candidates.",
    tables: [{ titles: ["metric", "first stage", "reranked", "change"], rows }],
  };
}

function changesSection(outcome: EvalOutcome): Section {
  const { dataset, firstStage, evaluation } = outcome;
  const [metric = ""] = Object.keys(firstStage.means);
  const changes = dataset.queries
    .map(({ id, text }) => ({
      id,
      name: text,
      change: (evaluation.perQuery.get(id)?.[metric] ?? 0) - (firstStage.perQuery.get(id)?.[metric] ?? 0),
    }))
    .sort((a, b) => b.change - a.change);
  const better = changes.filter(({ change }) => change > 0).length;
  const worse = changes.filter(({ change }) => change < 0);
  return {
    heading: `Each query's change of ${metric}`,
    note: `${better} better, ${worse.length} worse, ${changes.length - better - worse.length} the same.${worse.length > 0 ? " The worst, with the texts behind them:" : ""}`,
    chart: { kind: "changes", label: `change of ${metric}`, changes: changes.map(({ name, change }) => ({ name: shorten(name), change })) },
    tables: worse
      .slice(-WORST)
      .reverse()
      .map((query) => worstTable(outcome, query)),
  };
}

/** The best documents before and after, side by side. */
function worstTable({ dataset, work }: EvalOutcome, query: { readonly id: string; readonly name: string; readonly change: number }): Table {
  const before = rank(dataset.firstStage.run.get(query.id) ?? new Map());
  const after = rank(work.run.get(query.id) ?? new Map());
  const grades = dataset.qrels.get(query.id) ?? new Map<string, number>();
  const cell = (document: { readonly id: string } | undefined) => {
    if (!document) return "";
    const grade = grades.get(document.id);
    return `${grade !== undefined && grade >= 1 ? `[${grade}] ` : ""}${shorten(dataset.documents.get(document.id) ?? document.id)}`;
  };
  return {
    caption: `${signed(query.change)}  ${query.name}`,
    titles: ["", "first stage", "reranked (a grade before what is relevant)"],
    rows: Array.from({ length: Math.min(SHOWN, after.length) }, (_, i) => [String(i + 1), cell(before[i]), cell(after[i])]),
  };
}

function comparisonSections({ comparisons, firstStage }: EvalOutcome): Section[] {
  if (comparisons.length < 2) return [];
  const [metric = ""] = Object.keys(firstStage.means);
  const quality: Section = {
    heading: "Quality against time",
    note: `${metric} and the milliseconds a query took: up and to the left is better. The first stage alone has ${formatNumber(firstStage.means[metric] ?? 0)}.`,
    chart: {
      kind: "points",
      x: "ms a query",
      y: metric,
      joined: false,
      points: comparisons.map(({ name, msPerQuery, means }) => ({ x: msPerQuery, y: means[metric] ?? 0, name })),
    },
    tables: [
      {
        titles: ["", "ms a query", "pairs/s", ...Object.keys(firstStage.means)],
        rows: comparisons.map(({ name, msPerQuery, pairsPerSecond, means }) => [
          name,
          formatNumber(msPerQuery),
          formatNumber(pairsPerSecond),
          ...Object.values(means).map((mean) => mean.toFixed(4)),
        ]),
      },
    ],
  };
  const models = comparisons.filter(({ error }) => error !== null);
  if (models.length < 2) return [quality];
  const errors: Section = {
    heading: "Tensor types: error against speed",
    note: `Root mean square difference of the scores from those of ${models[0]?.name ?? "the first"}: down and to the right is better.`,
    chart: {
      kind: "points",
      x: "pairs/s",
      y: "error of a score",
      joined: false,
      points: models.map(({ name, pairsPerSecond, error }) => ({ x: pairsPerSecond, y: error?.rms ?? 0, name })),
    },
    tables: [
      {
        titles: ["", "error (root mean square)", "largest", "pairs/s", "weights"],
        rows: models.map(({ name, error, pairsPerSecond, weightsBytes }) => [
          name,
          formatNumber(error?.rms ?? 0),
          formatNumber(error?.largest ?? 0),
          formatNumber(pairsPerSecond),
          `${Math.round(weightsBytes / 2 ** 20)} MiB`,
        ]),
      },
    ],
  };
  return [quality, errors];
}

function signed(change: number): string {
  return `${change < 0 ? "-" : "+"}${Math.abs(change).toFixed(4)}`;
}

function shorten(text: string): string {
  return text.length > CHARACTERS ? `${text.slice(0, CHARACTERS)}…` : text;
}

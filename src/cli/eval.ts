// bge-reranker eval: how much a reranker adds to its first stage on a data set.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type Command, Option } from "commander";
import {
  type Dataset,
  type Evaluation,
  evaluate,
  FlagAutoReranker,
  formatRun,
  type Gain,
  loadDataset,
  type RerankedDataset,
  type Reranker,
  rank,
  rerankDataset,
} from "../index.js";
import { addModelOptions, loadOptionsOf, type ModelOptions, parseInteger, UsageError } from "./arguments.js";
import { loadingLine } from "./loading.js";
import { checkOutput, Output } from "./output.js";
import { type Comparison, type ComparisonWork, checkComparisons, compare, parseComparisons } from "./report/comparison.js";
import { evalReport } from "./report/eval-report.js";
import { writeReport } from "./report/page.js";
import { oneLine, painter, progressLine, write } from "./terminal.js";

interface Options extends ModelOptions {
  readonly run?: string;
  readonly bm25?: true;
  readonly qrels?: string;
  readonly candidates: number;
  readonly queries?: number;
  readonly metrics?: string;
  readonly gain: Gain;
  readonly judgedOnly?: true;
  readonly lenient?: true;
  readonly rerank: boolean;
  readonly output?: string;
  readonly force?: true;
  readonly report?: string;
  readonly compare?: ReturnType<typeof parseComparisons>;
  readonly perQuery?: true;
  readonly json?: true;
}

export function addEval(program: Command, signal: AbortSignal): void {
  const command = program
    .command("eval")
    .description("Measure a reranker on a data set, beside the first stage whose candidates it reorders")
    .argument(
      "<folder>",
      "BEIR-style: corpus.jsonl, queries.jsonl and qrels.tsv or qrels/test.tsv, also .gz or .zst; or Parquet as on the hub: corpus/, queries/, data/",
    )
    .option(
      "--run <file>",
      'first stage: a TREC run, or JSONL or Parquet of {"query": id, "docs": [ids]} (default: found in the folder, else BM25)',
    )
    .option("--bm25", "use the built-in BM25 even when the folder has a run")
    .option("--qrels <file>", "judgements in another place")
    .option("--candidates <n>", "documents reranked for each query", parseInteger, 50)
    .option("--queries <n>", "only so many queries, spread evenly over the judged ones", parseInteger)
    .option("--metrics <names>", "nDCG, MRR, MAP, Recall, P, Success with @k (default: nDCG@10,MRR@10,MAP,Recall@10,Recall@<candidates>)")
    .addOption(
      new Option("--gain <how>", "what a grade is worth to nDCG: exponential is 2^grade - 1, linear is trec_eval's")
        .choices(["exponential", "linear"])
        .default("exponential"),
    )
    .option("--judged-only", "take documents without a judgement out of the rankings first (trec_eval -J)")
    .option("--lenient", "skip unknown ids and keep empty texts instead of failing")
    .option("--no-rerank", "only measure the first stage; loads no model")
    .option("-o, --output <file>", "write the reranked order as a TREC run")
    .option("-f, --force", "replace an existing --output")
    .option("--report <file>", "write a page with plots: changes, score distributions, thresholds, the worst queries")
    .option(
      "--compare <list>",
      "with --report: cutoff layers (16), cascades (16:20, the best 20 go on after layer 16), or other models, separated by commas",
      parseComparisons,
    )
    .option("--per-query", "also print the figures of each query")
    .option("--json", "print the figures as JSON");
  addModelOptions(command)
    .addHelpText(
      "after",
      `
Figures follow trec_eval: equal scores are ordered by document id, descending, and a grade from 1 up is relevant. Both columns
are over the same candidates. A judged query without candidates counts as 0 (trec_eval -c).

Examples:
  $ bge-reranker eval ./scifact
  $ bge-reranker eval ./scifact -m bge-reranker-v2-m3.gguf --run bm25.trec --candidates 100 -o reranked.trec
  $ bge-reranker eval ./scifact --no-rerank --metrics ndcg@10,recall@100 --candidates 100`,
    )
    .action((folder: string, options: Options) => runEval(folder, options, signal));
}

async function runEval(folder: string, options: Options, signal: AbortSignal): Promise<void> {
  if (options.run !== undefined && options.bm25) throw new UsageError("--run and --bm25 exclude each other");
  if (options.report !== undefined && !options.rerank) throw new UsageError("--report needs a reranker: leave out --no-rerank");
  if (options.compare && options.report === undefined) throw new UsageError("--compare needs --report, where it is shown");
  if (options.output !== undefined && !options.rerank) throw new UsageError("--output needs a reranker: leave out --no-rerank");
  const measure = (run: Dataset["firstStage"]["run"], { qrels }: Pick<Dataset, "qrels">) =>
    evaluate(run, qrels, { metrics: metricsOf(options), gain: options.gain, judgedOnly: options.judgedOnly, complete: true });
  measure(new Map(), { qrels: new Map([["", new Map()]]) }); // a mistake in --metrics is told before any work
  for (const file of [options.output, options.report]) {
    if (file !== undefined) await checkOutput(file, await inputsOf(folder, options), options.force === true);
  }
  // A model that does not load is told before a large corpus is read.
  await using reranker = options.rerank ? await load(options, signal) : undefined;
  if (reranker) checkComparisons(options.compare ?? [], reranker);
  const dataset = await read(folder, options, signal);
  const firstStage = measure(dataset.firstStage.run, dataset);
  if (!reranker) return print({ dataset, options, firstStage });
  const output = options.output === undefined ? undefined : new Output(options.output, "w");
  try {
    const work = await rerankAll(reranker, dataset, options, signal);
    await output?.write(formatWhole(work, reranker));
    const evaluation = measure(work.run, dataset);
    await print({ dataset, options, firstStage, reranked: { evaluation, work, model: reranker.model } });
    if (options.report !== undefined) {
      const comparisons = await compareAll(reranker, { dataset, work, signal, measure: (run) => measure(run, dataset).means }, options);
      const { candidates } = options;
      const scores = options.normalize || options.calibration !== undefined ? "score" : "logit";
      const { model } = reranker;
      await writeReport(options.report, evalReport({ dataset, firstStage, evaluation, work, model, candidates, scores, comparisons }));
    }
  } finally {
    await output?.close();
  }
}

/** Files of the data set, which an output must not be. */
async function inputsOf(folder: string, { run, qrels }: Options): Promise<(string | undefined)[]> {
  const names = await readdir(folder, { recursive: true }).catch((): string[] => []);
  return [run, qrels, ...names.filter((name) => /(^|[\\/])(corpus|queries|qrels|bm25)/.test(name)).map((name) => join(folder, name))];
}

function metricsOf(options: Options): string[] {
  const names = options.metrics?.split(",").map((name) => name.trim());
  return names ?? ["nDCG@10", "MRR@10", "MAP", "Recall@10", `Recall@${options.candidates}`];
}

async function load(options: Options, signal: AbortSignal): Promise<Reranker> {
  const { onProgress, end } = loadingLine(options.quiet);
  return FlagAutoReranker.fromFinetuned(options.model, loadOptionsOf(options, { signal, onProgress })).finally(end);
}

async function read(folder: string, options: Options, signal: AbortSignal): Promise<Dataset> {
  const progress = progressLine("reading", process.stderr, options.quiet);
  return loadDataset(folder, {
    run: options.run,
    bm25: options.bm25,
    qrels: options.qrels,
    candidates: options.candidates,
    queries: options.queries,
    lenient: options.lenient,
    signal,
    onProgress: (stage, done) => progress.update(0, 1, stage === "reading" ? `${done} documents` : `${done} queries searched`),
  }).finally(() => progress.end());
}

async function rerankAll(reranker: Reranker, dataset: Dataset, options: Options, signal: AbortSignal): Promise<RerankedDataset> {
  const progress = progressLine("ranking", process.stderr, options.quiet);
  const started = performance.now();
  return rerankDataset(reranker, dataset, {
    signal,
    onProgress: ({ done, total }) => {
      const seconds = (performance.now() - started) / 1000;
      const left = (seconds / done) * (total - done);
      progress.update(done, total, `${done} of ${total} pairs, ${(done / seconds).toFixed(1)} pairs/s, ${formatTime(left)} left`);
    },
  }).finally(() => progress.end());
}

async function compareAll(
  reranker: Reranker,
  on: Pick<ComparisonWork, "dataset" | "work" | "signal" | "measure">,
  options: Options,
): Promise<Comparison[]> {
  const line = progressLine("comparing", process.stderr, options.quiet);
  const load = loadOptionsOf(options, {});
  return compare(options.compare ?? [], { ...on, reranker, load, onStart: (name) => line.update(0, 1, name) }).finally(() => line.end());
}

function formatTime(seconds: number): string {
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n: number) => String(n).padStart(2, "0");
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

function formatWhole(work: RerankedDataset, { model }: Reranker): string {
  return Array.from(work.run, ([query, scores]) => formatRun(query, rank(scores), model.name ?? "bge-reranker")).join("");
}

interface Outcome {
  readonly dataset: Dataset;
  readonly options: Options;
  readonly firstStage: Evaluation;
  readonly reranked?: { readonly evaluation: Evaluation; readonly work: RerankedDataset; readonly model: Reranker["model"] };
}

async function print(outcome: Outcome): Promise<void> {
  await write(process.stdout, outcome.options.json ? `${JSON.stringify(jsonOf(outcome), null, 2)}\n` : explain(outcome));
}

function jsonOf({ dataset, options, firstStage, reranked }: Outcome): object {
  return {
    dataset: dataset.name,
    model: reranked ? (reranked.model.name ?? reranked.model.path) : null,
    device: reranked?.model.device ?? null,
    firstStage: dataset.firstStage.name,
    queries: dataset.queries.length,
    documents: dataset.corpusSize,
    candidates: options.candidates,
    gain: options.gain,
    metrics: metricsJson(firstStage.means, reranked?.evaluation.means),
    ...(reranked && {
      pairs: reranked.work.pairs,
      tokens: reranked.work.tokens,
      truncatedPairs: reranked.work.truncatedPairs,
      seconds: reranked.work.seconds,
      pairsPerSecond: reranked.work.pairs / reranked.work.seconds,
      tokensPerSecond: reranked.work.tokens / reranked.work.seconds,
    }),
    problems: dataset.problems,
    ...(options.perQuery && {
      perQuery: Array.from(firstStage.perQuery, ([query, figures]) => ({
        query,
        metrics: metricsJson(figures, reranked?.evaluation.perQuery.get(query)),
      })),
    }),
  };
}

function metricsJson(firstStage: Evaluation["means"], reranked: Evaluation["means"] | undefined): object {
  return Object.fromEntries(
    Object.entries(firstStage).map(([name, figure]) => [name, { firstStage: figure, ...(reranked && { reranked: reranked[name] }) }]),
  );
}

function explain(outcome: Outcome): string {
  const { dataset, options, firstStage, reranked } = outcome;
  const paint = painter(process.stdout);
  const on = reranked ? `${oneLine(reranked.model.name ?? reranked.model.path)} on ${reranked.model.device}` : "first stage only";
  const lines = [
    `${paint("bold", oneLine(dataset.name))}: ${dataset.queries.length} ${dataset.queries.length === 1 ? "query" : "queries"}, up to ${options.candidates} candidates each from ${oneLine(dataset.firstStage.name)}; ${on}`,
    ...(options.perQuery ? ["", ...perQueryTable(outcome)] : []),
    "",
    ...summaryTable(firstStage, reranked?.evaluation, paint),
    "",
    ...notes(outcome),
  ];
  return `${lines.join("\n").trimEnd()}\n`;
}

type Paint = ReturnType<typeof painter>;

function summaryTable(firstStage: Evaluation, reranked: Evaluation | undefined, paint: Paint): string[] {
  const titles = reranked ? ["metric", "first stage", "reranked", "change", "better", "worse"] : ["metric", "first stage"];
  const rows = Object.entries(firstStage.means).map(([name, before]) => {
    if (!reranked) return [name, before.toFixed(4)];
    const after = reranked.means[name] ?? 0;
    const changes = Array.from(
      firstStage.perQuery,
      ([query, figures]) => (reranked.perQuery.get(query)?.[name] ?? 0) - (figures[name] ?? 0),
    );
    const better = changes.filter((change) => change > 0).length;
    const worse = changes.filter((change) => change < 0).length;
    return [name, before.toFixed(4), after.toFixed(4), signed(after - before), String(better), String(worse)];
  });
  return table(titles, rows, (text, column) => {
    if (column !== 3) return text;
    return text.trim().startsWith("+") ? paint("green", text) : paint("red", text);
  }).map((line, i) => (i === 0 ? paint("dim", line) : line));
}

function perQueryTable({ firstStage, reranked }: Outcome): string[] {
  const titles = reranked ? ["query", "metric", "first stage", "reranked"] : ["query", "metric", "first stage"];
  const rows = Array.from(firstStage.perQuery, ([query, figures]) =>
    Object.entries(figures).map(([name, before]) => {
      const after = reranked?.evaluation.perQuery.get(query)?.[name];
      return [oneLine(query), name, before.toFixed(4), ...(after === undefined ? [] : [after.toFixed(4)])];
    }),
  ).flat();
  return table(titles, rows, (text) => text);
}

/** Names to the left, figures to the right. */
function table(titles: readonly string[], rows: readonly (readonly string[])[], style: (text: string, column: number) => string): string[] {
  const widths = titles.map((title, column) => rows.reduce((width, row) => Math.max(width, row[column]?.length ?? 0), title.length));
  const isName = (column: number) => titles[column] === "metric" || titles[column] === "query";
  const pad = (text: string, column: number) => (isName(column) ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0));
  const body = rows.map((row) => row.map((text, column) => style(pad(text, column), column)).join("  "));
  return [titles.map(pad).join("  "), ...body];
}

function signed(change: number): string {
  const text = change.toFixed(4);
  return text.startsWith("-") ? text : `+${text}`;
}

function notes({ dataset, reranked }: Outcome): string[] {
  const lines: string[] = [];
  if (reranked) {
    const { pairs, tokens, truncatedPairs, seconds } = reranked.work;
    const share = pairs > 0 ? (100 * truncatedPairs) / pairs : 0;
    const rate = (count: number) => (seconds > 0 ? count / seconds : 0);
    lines.push(
      `${pairs} pairs in ${seconds.toFixed(1)} s: ${rate(pairs).toFixed(1)} pairs/s, ${Math.round(rate(tokens))} tokens/s; ${share.toFixed(1)}% of pairs were cut to fit`,
    );
  }
  const missing = dataset.queries.filter(({ candidates }) => candidates.length === 0).length;
  if (missing > 0) lines.push(`Queries without candidates, counted as 0: ${missing}`);
  const { missingJudged, unknownIds, emptyTexts } = dataset.problems;
  if (missingJudged > 0) lines.push(`Judged documents that are not in the corpus, counted as not found: ${missingJudged}`);
  if (unknownIds + emptyTexts > 0) lines.push(`Unknown ids skipped: ${unknownIds}; empty texts kept: ${emptyTexts}`);
  return lines;
}

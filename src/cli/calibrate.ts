// bge-reranker calibrate: what a model's scores mean on somebody's own data.
import { type Command, Option } from "commander";
import {
  type Calibration,
  calibrate,
  FlagAutoReranker,
  type LabelledLogit,
  type LabelledPair,
  loadDataset,
  type ScoreOptions,
  thresholdFigures,
} from "../index.js";
import { badLine, type Line, parseJsonLine, readLines } from "../records/index.js";
import { addModelOptions, loadOptionsOf, type ModelOptions, parseInteger, parseNumber, UsageError } from "./arguments.js";
import { loadingLine } from "./loading.js";
import { checkOutput, Output } from "./output.js";
import { calibrateReport } from "./report/calibrate-report.js";
import { writeReport } from "./report/page.js";
import { oneLine, progressLine, write } from "./terminal.js";

interface Options extends ModelOptions {
  readonly pairs?: string;
  readonly candidates: number;
  readonly queries?: number;
  readonly precision: number;
  readonly method: "platt" | "isotonic";
  readonly output?: string;
  readonly report?: string;
  readonly force?: true;
  readonly json?: true;
}

export function addCalibrate(program: Command, signal: AbortSignal): void {
  const command = program
    .command("calibrate")
    .description("Find the score from which documents are relevant, from judged pairs, and turn scores into probabilities")
    .argument("[folder]", "BEIR-style data set, as `eval` takes it: candidates that are judged relevant, and the others")
    .option("-p, --pairs <file>", 'JSONL {"query": ..., "passage": ..., "label": true, false or a grade}; - reads standard input')
    .option("--candidates <n>", "documents of each query of the folder", parseInteger, 50)
    .option("--queries <n>", "only so many queries of the folder, spread evenly", parseInteger)
    .option("--precision <part>", "of what reaches the threshold, the part that shall be relevant", parseNumber, 0.9)
    .addOption(
      new Option("--method <how>", "platt fits a sigmoid; isotonic any rising curve, for a thousand pairs or more")
        .choices(["platt", "isotonic"])
        .default("platt"),
    )
    .option("-o, --output <file>", "write the calibration here, for --calibration of rerank, score, serve ...")
    .option("--report <file>", "write a page with plots: score distributions, precision and recall, whether scores are probabilities")
    .option("-f, --force", "replace an existing --output or --report")
    .option("--json", "print the calibration as JSON");
  addModelOptions(command)
    .addHelpText(
      "after",
      `
A document is relevant when its label is true, or a grade from 1 up. Calibrate with the options that later calls have: model,
--cutoff-layers and --compress-ratio are checked there.

Examples:
  $ bge-reranker calibrate -m v2-m3 --pairs judged.jsonl --precision 0.95 -o calibration.json
  $ bge-reranker rerank -m v2-m3 --calibration calibration.json --min-score 0.5 --query "..." -d passages.jsonl`,
    )
    .action((folder: string | undefined, options: Options) => run(folder, options, signal));
}

async function run(folder: string | undefined, options: Options, signal: AbortSignal): Promise<void> {
  if ((folder === undefined) === (options.pairs === undefined)) throw new UsageError("Give a folder, or --pairs with a file");
  if (options.normalize || options.calibration !== undefined)
    throw new UsageError("Calibrating is done on logits: leave out --normalize and --calibration");
  for (const file of [options.output, options.report]) {
    if (file !== undefined) await checkOutput(file, [options.pairs, options.model], options.force === true);
  }
  const pairs = folder === undefined ? await readPairs(options.pairs ?? "", signal) : await pairsOf(folder, options, signal);
  const { onProgress, end } = loadingLine(options.quiet);
  await using reranker = await FlagAutoReranker.fromFinetuned(options.model, loadOptionsOf(options, { signal, onProgress })).finally(end);
  const line = progressLine("scoring", process.stderr, options.quiet);
  let examples: readonly LabelledLogit[] = [];
  const calibration = await calibrate(reranker, pairs, {
    precision: options.precision,
    method: options.method,
    scoring: scoringOf(options),
    signal,
    onProgress: ({ done, total }) => line.update(done, total, `${done} of ${total} pairs`),
    onScored: (scored) => {
      examples = scored;
    },
  }).finally(() => line.end());
  if (options.output !== undefined) {
    const output = new Output(options.output, "w");
    await output.write(`${JSON.stringify(calibration, null, 2)}\n`).finally(() => output.close());
  }
  if (options.report !== undefined) await writeReport(options.report, calibrateReport(calibration, examples));
  await write(process.stdout, options.json ? `${JSON.stringify(calibration, null, 2)}\n` : explain(calibration, examples, options.output));
}

function scoringOf({ cutoffLayers, compressRatio, compressLayers }: Options): ScoreOptions {
  return { cutoffLayers, compressRatio, compressLayers };
}

async function readPairs(source: string, signal: AbortSignal): Promise<LabelledPair[]> {
  const pairs: LabelledPair[] = [];
  for await (const line of readLines(source, { signal })) pairs.push(parsePair(line));
  return pairs;
}

function parsePair(line: Line): LabelledPair {
  const { query, passage, label } = parseJsonLine(line);
  const relevant = typeof label === "boolean" ? label : typeof label === "number" && Number.isFinite(label) ? label >= 1 : undefined;
  if (typeof query === "string" && typeof passage === "string" && relevant !== undefined) return { query, document: passage, relevant };
  throw badLine(line, 'needs "query" and "passage", two strings, and "label", true, false or a grade');
}

/** Candidates of every query of a data set; those without a judgement are not relevant, as in `eval`. */
async function pairsOf(folder: string, options: Options, signal: AbortSignal): Promise<LabelledPair[]> {
  const dataset = await loadDataset(folder, { candidates: options.candidates, queries: options.queries, signal });
  return dataset.queries.flatMap(({ id, text, candidates }) =>
    candidates.map((document) => ({
      query: text,
      document: dataset.documents.get(document) ?? "",
      relevant: (dataset.qrels.get(id)?.get(document) ?? 0) >= 1,
    })),
  );
}

function explain(calibration: Calibration, examples: readonly LabelledLogit[], output: string | undefined): string {
  const { model, cutoffLayer, threshold, wantedPrecision, pairs, relevantPairs, curve } = calibration;
  const percent = (part: number) => `${(100 * part).toFixed(1)}%`;
  const lines = [
    `model      ${oneLine(model ?? "without a name")}${cutoffLayer === null ? "" : `, layer ${cutoffLayer}`}`,
    `pairs      ${pairs}, of which ${relevantPairs} are relevant`,
    threshold
      ? `threshold  ${threshold.score.toFixed(4)} (logit ${threshold.logit.toFixed(4)}): ${percent(threshold.precision)} of the ${threshold.pairs} pairs from there up are relevant, ${percent(threshold.recall)} of the relevant ones among them`
      : `threshold  none: no score separates these pairs with a precision of ${percent(wantedPrecision)}. ${bestOf(examples)}`,
    `scores     ${curve.kind === "platt" ? `sigmoid(${curve.slope.toFixed(4)} x logit ${curve.intercept < 0 ? "-" : "+"} ${Math.abs(curve.intercept).toFixed(4)})` : `a curve of ${curve.logits.length} points`}`,
    ...(output === undefined ? [] : [`written    ${output}`]),
  ];
  return `${lines.join("\n")}\n`;
}

function bestOf(examples: readonly LabelledLogit[]): string {
  const best = thresholdFigures(examples).reduce((a, b) => (b.precision > a.precision ? b : a));
  return `The highest is ${(100 * best.precision).toFixed(1)}%, of ${best.pairs} pairs, from logit ${best.logit.toFixed(4)}`;
}

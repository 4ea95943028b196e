// bge-reranker bench: how fast a model ranks on this machine, and what memory it takes.
import type { Command } from "commander";
import { FlagAutoReranker, type Reranker } from "../index.js";
import { addModelOptions, loadOptionsOf, type ModelOptions, parseInteger } from "./arguments.js";
import { loadingLine } from "./loading.js";
import { checkOutput } from "./output.js";
import { type BatchTime, type BenchOutcome, benchReport } from "./report/bench-report.js";
import { writeReport } from "./report/page.js";
import { formatBytes, progressLine, write } from "./terminal.js";

interface Options extends ModelOptions {
  readonly documents: number;
  readonly tokens: number;
  readonly runs: number;
  readonly report?: string;
  readonly force?: true;
  readonly json?: true;
}

interface Figures {
  readonly model: string;
  readonly devices: readonly string[];
  readonly isa: string | null;
  readonly documents: number;
  readonly tokens: number;
  readonly loadMs: number;
  readonly documentsPerSecond: number;
  readonly tokensPerSecond: number;
  readonly oneDocumentMs: number;
  readonly weightsBytes: number;
  readonly peakMemoryBytes: number;
}

const QUERY = "how do I keep bread fresh for longer?";
const WORDS =
  "Store a loaf in a paper bag at room temperature , since the cold of a refrigerator makes its starch crystallise sooner . What nobody eats within three days freezes well when it is cut into slices first .".split(
    " ",
  );

export function addBench(program: Command, signal: AbortSignal): void {
  const command = program
    .command("bench")
    .description("Measure pairs and tokens a second, and memory, of a model on this machine")
    .option("--documents <n>", "documents ranked for one query", parseInteger, 50)
    .option("--tokens <n>", "tokens of a document, about", parseInteger, 150)
    .option("--runs <n>", "runs, whose median counts", parseInteger, 3)
    .option("--report <file>", "also measure calls of 1, 2, 4 ... documents, and cutoff layers, and write a page with plots")
    .option("-f, --force", "replace an existing --report")
    .option("--json", "print the figures as JSON");
  addModelOptions(command).action((options: Options) => bench(options, signal));
}

async function bench(options: Options, signal: AbortSignal): Promise<void> {
  for (const name of ["documents", "tokens", "runs"] as const) {
    if (options[name] < 1) throw new RangeError(`Expected --${name} to be at least 1, got \`${options[name]}\``);
  }
  if (options.report !== undefined) await checkOutput(options.report, [options.model], options.force === true);
  const { onProgress, end } = loadingLine(options.quiet);
  const start = performance.now();
  await using reranker = await FlagAutoReranker.fromFinetuned(options.model, loadOptionsOf(options, { signal, onProgress })).finally(end);
  const loadMs = performance.now() - start;

  const words = documentWords(reranker, options.tokens);
  const documents = Array.from({ length: options.documents }, (_, i) => `${rotate(words, i).join(" ")} ${i}`); // all different
  const one = documents.slice(0, 1);
  await reranker.rerank(QUERY, documents.slice(0, 8), { signal }); // pages in the weights

  const line = progressLine("measuring", process.stderr, options.quiet);
  const many: number[] = [];
  const single: number[] = [];
  let tokens = 0;
  for (let run = 0; run < options.runs; run++) {
    line.update(run, options.runs, `run ${run + 1} of ${options.runs}`);
    const began = performance.now();
    const results = await reranker.rerank(QUERY, documents, { signal }).finally(() => line.end());
    many.push(performance.now() - began);
    tokens = results.reduce((sum, result) => sum + result.tokens, 0);
    const oneBegan = performance.now();
    await reranker.rerank(QUERY, one, { signal });
    single.push(performance.now() - oneBegan);
  }
  const seconds = median(many) / 1000;
  const { model } = reranker;
  const figures: Figures = {
    model: model.name ?? model.path,
    devices: model.devices,
    isa: model.isa,
    documents: documents.length,
    tokens,
    loadMs: Math.round(loadMs),
    documentsPerSecond: documents.length / seconds,
    tokensPerSecond: tokens / seconds,
    oneDocumentMs: median(single),
    weightsBytes: model.weightsSizeBytes,
    peakMemoryBytes: process.resourceUsage().maxRSS * 1024,
  };
  if (options.report !== undefined) {
    const measured = await measureForReport(reranker, documents, options, signal);
    const { loadMs, peakMemoryBytes } = figures;
    const tokensPerDocument = tokens / documents.length;
    await writeReport(options.report, benchReport({ model, tokensPerDocument, loadMs, peakMemoryBytes, runs: options.runs, ...measured }));
  }
  await write(process.stdout, options.json ? `${JSON.stringify(figures, null, 2)}\n` : explain(figures, options.runs));
}

const LAYERS = 6; // that are measured, spread over those a model has

/** Calls of growing size, and up to deeper layers, each size once a run so that the machine's moods meet all alike. */
async function measureForReport(
  reranker: Reranker,
  documents: readonly string[],
  options: Options,
  signal: AbortSignal,
): Promise<Pick<BenchOutcome, "batches" | "layers">> {
  const powers = Array.from({ length: Math.floor(Math.log2(documents.length)) + 1 }, (_, i) => 2 ** i);
  const sizes = [...new Set([...powers, documents.length])];
  const { cutoffLayers } = reranker.model;
  const count = Math.min(LAYERS, cutoffLayers.length);
  const spread = Array.from(
    { length: count },
    (_, i) => cutoffLayers[Math.round((i * (cutoffLayers.length - 1)) / Math.max(1, count - 1))] as number,
  );
  const works = [...sizes.map((size) => ({ size, layer: undefined })), ...spread.map((layer) => ({ size: documents.length, layer }))].map(
    (work) => ({ ...work, times: [] as number[] }),
  );
  const line = progressLine("measuring", process.stderr, options.quiet);
  for (let run = 0; run < options.runs; run++) {
    for (const [i, { size, layer, times }] of works.entries()) {
      line.update(run * works.length + i, options.runs * works.length, `${size} documents`);
      const began = performance.now();
      await reranker.rerank(QUERY, documents.slice(0, size), { signal, cutoffLayers: layer }).finally(() => line.end());
      times.push(performance.now() - began);
    }
  }
  const timeOf = ({ size, times }: (typeof works)[number]): BatchTime => ({ documents: size, ms: median(times) });
  return {
    batches: works.filter(({ layer }) => layer === undefined).map(timeOf),
    layers: works.flatMap((work) => (work.layer === undefined ? [] : [{ ...timeOf(work), layer: work.layer }])),
  };
}

/** Words that make a document of about so many tokens. */
function documentWords(reranker: Pick<Reranker, "tokenize">, tokens: number): string[] {
  const perWord = reranker.tokenize(WORDS.join(" ")).length / WORDS.length;
  return Array.from({ length: Math.max(1, Math.round(tokens / perWord)) }, (_, i) => WORDS[i % WORDS.length] as string);
}

function rotate<T>(list: readonly T[], by: number): T[] {
  const start = by % list.length;
  return [...list.slice(start), ...list.slice(0, start)];
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

function explain(figures: Figures, runs: number): string {
  const number = (value: number, digits = 0) =>
    value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const { model, devices, isa, documents, tokens, loadMs, documentsPerSecond, tokensPerSecond, oneDocumentMs } = figures;
  const lines = [
    `model      ${model} on ${devices.join(", ")}${isa ? ` (${isa})` : ""}`,
    `loaded     in ${number(loadMs)} ms`,
    `ranked     ${documents} documents of one query, ${number(tokens)} tokens (median of ${runs} ${runs === 1 ? "run" : "runs"})`,
    `speed      ${number(documentsPerSecond, 1)} documents/s, ${number(tokensPerSecond)} tokens/s; one document alone ${number(oneDocumentMs, 1)} ms`,
    `memory     ${formatBytes(figures.peakMemoryBytes)} at most, ${formatBytes(figures.weightsBytes)} of it weights`,
  ];
  return `${lines.join("\n")}\n`;
}

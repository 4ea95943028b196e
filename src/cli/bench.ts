// bge-reranker bench: how fast a model ranks on this machine, and what memory it takes.
import type { Command } from "commander";
import { FlagAutoReranker, type Reranker } from "../index.js";
import { addModelOptions, loadOptionsOf, type ModelOptions, parseInteger } from "./arguments.js";
import { loadingLine } from "./loading.js";
import { formatBytes, progressLine, write } from "./terminal.js";

interface Options extends ModelOptions {
  readonly documents: number;
  readonly tokens: number;
  readonly runs: number;
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
    .option("--json", "print the figures as JSON");
  addModelOptions(command).action((options: Options) => bench(options, signal));
}

async function bench(options: Options, signal: AbortSignal): Promise<void> {
  for (const name of ["documents", "tokens", "runs"] as const) {
    if (options[name] < 1) throw new RangeError(`Expected --${name} to be at least 1, got \`${options[name]}\``);
  }
  const { onProgress, end } = loadingLine(options.quiet);
  const start = performance.now();
  await using reranker = await FlagAutoReranker.fromFinetuned(options.model, loadOptionsOf(options, { signal, onProgress })).finally(end);
  const loadMs = performance.now() - start;

  const words = documentWords(reranker, options.tokens);
  const documents = Array.from({ length: options.documents }, (_, i) => rotate(words, i).join(" "));
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
  await write(process.stdout, options.json ? `${JSON.stringify(figures, null, 2)}\n` : explain(figures, options.runs));
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

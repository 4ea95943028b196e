// bge-reranker verify: a table of expected and computed, and an exit code.
import type { Command } from "commander";
import { type Verification, type VerifyCheck, verifyModel } from "../index.js";
import { parseInteger, parseNumber } from "./arguments.js";
import { loadingLine } from "./loading.js";
import { displayWidth, oneLine, painter, shorten, write } from "./terminal.js";

interface Options {
  readonly cases?: string;
  readonly tolerance?: number;
  readonly devices?: string;
  readonly threads?: number;
  readonly revision?: string;
  readonly cacheDir?: string;
  readonly json?: true;
  readonly quiet?: true;
}

/** Thrown after the table is printed: exit 1. */
class Mismatch extends Error {}

export function addVerify(program: Command, signal: AbortSignal): void {
  program
    .command("verify")
    .description("Compare a model's token ids and scores with reference cases")
    .argument("<model>", "GGUF file, checkpoint folder, Hugging Face id or short name")
    .option(
      "--cases <file>",
      "cases.json or tokenization.json in the golden format, or a table of query, passage and score: .jsonl, .csv, .tsv, .parquet (default: the scores its authors published)",
    )
    .option("--tolerance <x>", "differences of a score up to this pass too", parseNumber)
    .option("--devices <name>", 'cpu, cuda:0, vulkan:0, metal (default: "cpu")')
    .option("--threads <n>", "CPU threads (default: one for each physical core)", parseInteger)
    .option("--revision <name>", "branch, tag or commit of a model on the hub (default: main)")
    .option("--cache-dir <folder>", "folder for converted models")
    .option("--json", "print the comparisons as JSON")
    .option("-q, --quiet", "no progress on standard error")
    .addHelpText(
      "after",
      `
The published scores are of float16 on a GPU. Their gates hold for F32 and F16 weights; quantized ones may need --tolerance.

Examples:
  $ bge-reranker verify v2-m3
  $ bge-reranker verify model.gguf --cases cases.json`,
    )
    .action((model: string, options: Options) => runVerify(model, options, signal));
}

async function runVerify(model: string, { json, quiet, ...options }: Options, signal: AbortSignal): Promise<void> {
  const line = loadingLine(quiet);
  const result = await verifyModel(model, { ...options, signal, onProgress: line.onProgress }).finally(line.end);
  await write(process.stdout, json ? `${JSON.stringify(result, null, 2)}\n` : explain(result));
  if (result.ok) return;
  const missed = result.checks.filter((check) => !check.ok).length;
  throw new Mismatch(`${missed} of ${result.checks.length} comparisons with ${result.against} failed`);
}

const COLUMNS = ["", "case", "what", "expected", "got", "off by", "gate", "pair"] as const;

export function explain({ model, path, against, checks, skipped }: Verification): string {
  const paint = painter(process.stdout);
  const rows = checks.map(cells);
  const widths = COLUMNS.map((title, c) => Math.max(title.length, ...rows.map((row) => displayWidth(row[c] ?? ""))));
  const lay = (row: readonly string[]) =>
    row
      .map((cell, c) => cell + " ".repeat((widths[c] ?? 0) - displayWidth(cell)))
      .join("  ")
      .trimEnd();
  const passed = checks.filter((check) => check.ok).length;
  const lines = [
    paint("bold", `${oneLine(model ?? path)} against ${against}`),
    paint("dim", lay(COLUMNS)),
    ...rows.map((row, i) => (checks[i]?.ok ? lay(row) : paint("red", lay(row)))),
    ...skipped.map(({ id, why }) => paint("dim", `skipped ${oneLine(id)}: ${why}`)),
    `${passed} of ${checks.length} agree`,
  ];
  return `${lines.join("\n")}\n`;
}

function cells({ id, kind, pair, expected, got, difference, gate, ok }: VerifyCheck): readonly string[] {
  const number = (value: number) => (kind === "tokens" ? String(value) : value.toFixed(5));
  const off = kind === "tokens" ? `${difference} ids` : difference.toExponential(1);
  const mark = ok ? "ok" : "FAIL";
  const what = kind === "tokens" ? "token ids" : "score";
  return [
    mark,
    shorten(oneLine(id), 32),
    what,
    number(expected),
    number(got),
    off,
    gate === 0 ? "equal" : String(gate),
    shorten(oneLine(pair.join(" | ")), 40),
  ];
}

// bge-reranker rerank: one query, many documents, best first.
import type { Command } from "commander";
import { FlagAutoReranker, type RerankPlan, type RerankResult } from "../index.js";
import { addModelOptions, loadOptionsOf, type ModelOptions, parseInteger, parseScore, UsageError } from "./arguments.js";
import { readDocuments } from "./documents.js";
import { loadingLine } from "./loading.js";
import { displayWidth, formatBytes, oneLine, painter, progressLine, shorten, write } from "./terminal.js";

interface Options extends ModelOptions {
  readonly query: string;
  readonly documents?: string;
  readonly field?: string;
  readonly topN?: number;
  readonly minScore?: number;
  readonly overflow: string;
  readonly dryRun?: true;
  readonly json?: true;
}

export function addRerank(program: Command, signal: AbortSignal): void {
  const command = program
    .command("rerank")
    .description("Rank documents for a query, best first")
    .argument("[documents...]", "texts to rank")
    .requiredOption("--query <text>", "what the documents should answer")
    .option("-d, --documents <file>", 'documents from a file: one a line, JSONL {"text": ...} or a JSON array; - reads standard input')
    .option("--field <name>", "where the text of a JSON document is (default: text, content or pageContent)")
    .option("-n, --top-n <n>", "print only the best n", parseInteger)
    .option("--min-score <score>", "leave out documents that score less: logits, or 0 to 1 with --normalize or --calibration", parseScore)
    .option("--overflow <how>", "texts that are too long: truncate, chunk, window or error", "truncate")
    .option("--dry-run", "print tokens, cuts, batches and memory, and compute nothing")
    .option("--json", 'print {"model", "query", "results"} as JSON');
  addModelOptions(command)
    .addHelpText(
      "after",
      `
Examples:
  $ bge-reranker rerank --query "what is a panda?" "hi" "The giant panda is a bear."
  $ bge-reranker rerank -m bge-reranker-v2-m3.gguf --query "gguf" -d notes.txt --top-n 5
  $ cat candidates.jsonl | bge-reranker rerank --query "gguf" -d - --normalize --json`,
    )
    .action((texts: string[], options: Options) => rerank(texts, options, signal));
}

async function rerank(texts: readonly string[], options: Options, signal: AbortSignal): Promise<void> {
  if (texts.length === 0 && options.documents === undefined) {
    throw new UsageError("Give documents as arguments, or with --documents FILE (- for standard input)");
  }
  const documents = [...texts, ...(options.documents === undefined ? [] : await readDocuments(options.documents, options.field, signal))];
  const { onProgress, end } = loadingLine(options.quiet);
  await using reranker = await FlagAutoReranker.fromFinetuned(options.model, loadOptionsOf(options, { signal, onProgress })).finally(end);
  if (options.dryRun) {
    const plan = await reranker.plan(options.query, documents, { topN: options.topN, overflow: options.overflow as "truncate", signal });
    return write(process.stdout, options.json ? `${JSON.stringify(plan, null, 2)}\n` : explainPlan(plan));
  }
  const ranking = progressLine("ranking", process.stderr, options.quiet);
  const results = await reranker
    .rerank(options.query, documents, {
      topN: options.topN,
      minScore: options.minScore,
      overflow: options.overflow as "truncate",
      signal,
      onProgress: ({ done, total }) => ranking.update(done, total, `${done} of ${total} documents`),
    })
    .finally(() => ranking.end());
  await write(
    process.stdout,
    options.json
      ? `${JSON.stringify({ model: reranker.model.name ?? reranker.model.path, query: options.query, results }, null, 2)}\n`
      : formatTable(results),
  );
  if (!options.json && results.some((result) => result.queryTruncated)) process.stderr.write("The query was cut; see --query-max-length\n");
}

function explainPlan({ pairs, batches, totalTokens, computedTokens, truncatedCount, memory }: RerankPlan): string {
  const tokens = pairs.map((pair) => pair.tokens);
  const largest = Math.max(0, ...batches.map((batch) => batch.tokens));
  const lines = [
    `pairs      ${pairs.length}, of ${Math.min(...tokens, totalTokens)} to ${Math.max(0, ...tokens)} tokens`,
    `tokens     ${totalTokens}${computedTokens < totalTokens ? `, ${computedTokens} with the query computed once a batch` : ""}`,
    `truncated  ${truncatedCount}${pairs.some((pair) => pair.queryTruncated) ? ", the query too" : ""}`,
    `batches    ${batches.length}, the largest of ${largest} tokens`,
    `memory     ${formatBytes(memory.weightsBytes)} of weights, about ${formatBytes(memory.workBytes)} to work in`,
  ];
  return `${lines.join("\n")}\n`;
}

/** A table for people; tab-separated lines, uncut, when the output is not a terminal. */
export function formatTable(results: readonly RerankResult[], stream: NodeJS.WriteStream = process.stdout): string {
  const paint = painter(stream);
  const rows = results.map((result, i) => ({
    rank: String(i + 1),
    score: result.score.toFixed(4),
    index: `#${result.index + 1}`,
    mark: result.truncated && !result.queryTruncated ? "[cut]" : "",
    text: oneLine(typeof result.document === "string" ? result.document : result.document.text),
  }));
  if (!stream.isTTY)
    return rows.map((row) => `${[row.rank, row.score, row.index, row.text, ...(row.mark ? [row.mark] : [])].join("\t")}\n`).join("");
  const width = (column: "rank" | "score" | "index", title: string) => Math.max(title.length, ...rows.map((row) => row[column].length));
  const [rank, score, index] = [width("rank", "rank"), width("score", "score"), width("index", "doc")];
  const room = Math.max(20, (stream.columns || 80) - rank - score - index - 7);
  const lines = rows.map((row, i) => {
    const mark = row.mark ? ` ${row.mark}` : "";
    const text = shorten(row.text, room - displayWidth(mark));
    return `${row.rank.padStart(rank)}  ${paint(row.score.startsWith("-") ? "dim" : "green", row.score.padStart(score))}  ${paint("dim", row.index.padStart(index))}  ${i === 0 ? paint("bold", text) : text}${mark && paint("yellow", mark)}`;
  });
  const title = paint("dim", `${"rank".padStart(rank)}  ${"score".padStart(score)}  ${"doc".padStart(index)}  text`);
  return `${[title, ...lines].join("\n")}\n`;
}

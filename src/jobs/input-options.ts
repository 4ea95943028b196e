// Options of `batch` and `enqueue` that say what is read and what comes out.
import { type Command, Option } from "commander";
import type { LoadOptions, Reranker } from "../index.js";
import type { CommandLine } from "./command-line.js";
import { fingerprintOf } from "./fingerprint.js";
import type { JobWishes } from "./prepare.js";
import { scoringOf } from "./spec.js";
import type { OutputFormat } from "./task.js";

export interface InputOptions {
  readonly inputFormat?: "jsonl" | "csv" | "tsv" | "parquet";
  readonly header?: string;
  readonly quote?: "double" | "none";
  readonly queryColumn?: string;
  readonly documentColumn?: string;
  readonly queryIdColumn?: string;
  readonly keep?: string;
  readonly collection?: string;
  readonly run?: string;
  readonly candidates?: number;
  readonly format?: OutputFormat;
  readonly shardRows: number;
}

export interface BatchCommandOptions extends InputOptions {
  readonly model: string;
  readonly output: string;
  readonly shard?: string;
  readonly resume?: true;
  readonly force?: true;
  readonly planOnly?: true;
  readonly json?: true;
  readonly quiet?: true;
}

export function addInputOptions(command: Command, { parseInteger }: CommandLine): Command {
  return command
    .argument("[inputs...]", "files, patterns or folders: .jsonl, .csv, .tsv, also .gz and .zst, or .parquet")
    .addOption(new Option("--input-format <format>", "where names do not say it").choices(["jsonl", "csv", "tsv", "parquet"]))
    .option("--header <names>", "columns of CSV or TSV files without a header line, such as qid,pid,query,passage")
    .addOption(
      new Option("--quote <how>", "quotes of CSV or TSV: double, around fields; none, part of the text").choices(["double", "none"]),
    )
    .option("--query-column <name>", 'column of the query (default: "query")')
    .option("--document-column <names>", "column of the document or the list of documents; lists may be several (default: found)")
    .option("--query-id-column <name>", "column of the query's id, for TREC runs (default: query_id, query-id or qid)")
    .option("--keep <names>", 'columns carried to the output (default: "id" when there is one)')
    .option("--collection <folder>", "BEIR-style folder with corpus and queries, for the candidates of --run")
    .option("--run <file>", 'candidates: a TREC run sorted by query, or JSONL or Parquet {"query": id, "docs": [ids]}')
    .option("--candidates <n>", "only the best so many of each query of --run", parseInteger)
    .addOption(new Option("--format <format>", "of the output (default: by its name, else jsonl)").choices(["jsonl", "parquet", "trec"]))
    .option("--shard-rows <n>", "rows of one part: what a fresh start repeats at most", parseInteger, 10_000);
}

/** @throws {UsageError} Options that do not go together. */
export function inputWishesOf(files: readonly string[], options: InputOptions, { UsageError }: CommandLine): JobWishes["input"] {
  const names = (text: string | undefined) => text?.split(",").map((name) => name.trim());
  const { collection, run, candidates } = options;
  if (options.shardRows < 1) throw new RangeError(`Expected --shard-rows to be at least 1, got \`${options.shardRows}\``);
  if (candidates !== undefined && candidates < 1) throw new RangeError(`Expected --candidates to be at least 1, got \`${candidates}\``);
  if ((collection === undefined) !== (run === undefined)) throw new UsageError("--run and --collection belong together");
  if (run !== undefined && files.length > 0) throw new UsageError("Give either files or --run with --collection");
  if (files.includes("-")) throw new UsageError("Files are read twice, to count and to score; `bge-reranker score` reads standard input");
  if (run === undefined && files.length === 0) throw new UsageError("Name the files to score, or --run and --collection");
  if (run === undefined && candidates !== undefined) throw new UsageError("--candidates goes with --run");
  return {
    files,
    format: options.inputFormat,
    header: names(options.header),
    quote: options.quote === "double" ? '"' : options.quote,
    columns: {
      query: options.queryColumn,
      documents: names(options.documentColumn),
      queryId: options.queryIdColumn,
      keep: options.keep === "" ? [] : names(options.keep),
    },
    ...(collection !== undefined && run !== undefined && { collection: { run, candidates, folder: collection } }),
  };
}

export async function jobWishesOf(
  reranker: Reranker,
  load: LoadOptions,
  input: JobWishes["input"],
  format: OutputFormat,
  shardRows: number,
): Promise<JobWishes> {
  const { model } = reranker;
  const sha256 = await fingerprintOf(model.path, load.signal ?? undefined);
  const layers = new Set([load.cutoffLayers ?? []].flat()).size;
  return { input, model: { name: model.name, sha256 }, scoring: scoringOf(load), layers, format, shardRows };
}

const FORMATS: Readonly<Record<string, OutputFormat>> = {
  ".jsonl": "jsonl",
  ".ndjson": "jsonl",
  ".parquet": "parquet",
  ".run": "trec",
  ".trec": "trec",
};

/** A file by its ending, else a folder. */
export function outputOf(
  path: string,
  format: OutputFormat | undefined,
  { UsageError }: CommandLine,
): { isFile: boolean; format: OutputFormat } {
  const named = FORMATS[/\.[a-z]+$/i.exec(path)?.[0].toLowerCase() ?? ""];
  if (named === undefined && /\.(csv|tsv|json|txt|gz|zst)$/i.test(path)) {
    throw new UsageError(`Expected --output to be a folder or a file ending in .jsonl, .parquet or .run, got \`${path}\``);
  }
  if (named !== undefined && format !== undefined && named !== format)
    throw new UsageError(`--format ${format} does not fit the name ${path}`);
  return { isFile: named !== undefined, format: named ?? format ?? "jsonl" };
}

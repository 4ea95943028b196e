// The commands of this wing. What they run is loaded when they run.
import type { Command } from "commander";
import type { CommandLine } from "./command-line.js";
import { addInputOptions, type BatchCommandOptions } from "./input-options.js";

/** Adds `batch`, `enqueue`, `worker` and `jobs` to a program. */
export function jobCommands(line: CommandLine): (program: Command, signal: AbortSignal) => void {
  return (program, signal) => {
    addBatch(program, signal, line);
  };
}

function addBatch(program: Command, signal: AbortSignal, line: CommandLine): void {
  const command = addInputOptions(program.command("batch"), line)
    .description("Score files of pairs, or of queries with lists of documents, part by part")
    .requiredOption("-o, --output <path>", "a folder for parts, or one file: .jsonl, .parquet, .run")
    .option("--shard <i/n>", "only every n-th part from the i-th on, counted from 0: for arrays of tasks that share the folder")
    .option("--resume", "keep the parts that are there and go on")
    .option("--force", "remove an earlier batch's output first")
    .option("--plan-only", "count rows and write the manifest, but score nothing")
    .option("--json", "print a summary as JSON");
  line
    .addModelOptions(command)
    .addHelpText(
      "after",
      `
A row is a query and a document ("query", and "passage", "document" or "text"), or a query and lists of documents ("documents",
"passages", "candidates", or FlagEmbedding's "pos" and "neg"). Each row gives one row with its number, "id" and scores, in order.
Parts are written under another name, synced and renamed; _manifest.json says what made them. Equal pairs are computed once.

Examples:
  $ bge-reranker batch pairs.jsonl.gz -m v2-m3 -o scores.parquet
  $ bge-reranker batch 'data/*.parquet' --query-column q --document-column text --keep id,label -o scores/ --format parquet --resume
  $ bge-reranker batch train.jsonl -o scored.jsonl --keep query,pos,neg
  $ bge-reranker batch --run bm25.run --collection ./scifact --candidates 100 -o reranked.run
  $ bge-reranker batch pairs.jsonl -o scores/ --shard 3/16 --resume`,
    )
    .action(async (inputs: string[], options: BatchCommandOptions) => {
      const { runBatchCommand } = await import("./batch-command.js");
      await runBatchCommand(inputs, options, signal, line);
    });
}

// bge-reranker pull: download a model, and convert it.
import type { Command } from "commander";
import { pullModel } from "../index.js";
import { loadingLine } from "./loading.js";
import { write } from "./terminal.js";

interface Options {
  readonly outtype?: string;
  readonly revision?: string;
  readonly cacheDir?: string;
  readonly json?: true;
  readonly quiet?: true;
}

export function addPull(program: Command, signal: AbortSignal): void {
  program
    .command("pull")
    .description("Download a model from the Hugging Face hub and convert it")
    .argument("<model>", "a short name (v2-m3), a Hugging Face id, or org/repo:file.gguf")
    .option("--outtype <type>", "type of the weights: f32, f16, q8_0 ... (default: f32)")
    .option("--revision <name>", "branch, tag or commit (default: main)")
    .option("--cache-dir <folder>", "folder for converted models")
    .option("--json", "print the path as JSON")
    .option("-q, --quiet", "no progress on standard error")
    .addHelpText(
      "after",
      `
A download that was cut off goes on where it stopped. HF_TOKEN, HF_ENDPOINT, HF_HOME and HF_HUB_CACHE are those of Python's
huggingface_hub, and so is the cache.

Examples:
  $ bge-reranker pull v2-m3
  $ bge-reranker pull BAAI/bge-reranker-v2-gemma --outtype q8_0`,
    )
    .action((model: string, options: Options) => runPull(model, options, signal));
}

async function runPull(model: string, { outtype, revision, cacheDir, json, quiet }: Options, signal: AbortSignal): Promise<void> {
  const line = loadingLine(quiet);
  const path = await pullModel(model, { outtype, revision, cacheDir, signal, onProgress: line.onProgress }).finally(line.end);
  await write(process.stdout, json ? `${JSON.stringify({ model, path }, null, 2)}\n` : `${path}\n`);
}

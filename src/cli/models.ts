// bge-reranker models: what can be named, and what is on this disk.
import type { Command } from "commander";
import { listModels, type ModelList } from "../index.js";
import { formatBytes, painter, write } from "./terminal.js";

export function addModels(program: Command): void {
  program
    .command("models")
    .description("List known models, and those on this disk")
    .option("--cache-dir <folder>", "folder for converted models")
    .option("--json", "print as JSON")
    .action(async (options: { cacheDir?: string; json?: true }) => {
      const list = await listModels(options.cacheDir);
      await write(process.stdout, options.json ? `${JSON.stringify(list, null, 2)}\n` : explain(list));
    });
}

function explain({ known, converted, embedded }: ModelList): string {
  const paint = painter(process.stdout);
  const width = Math.max(...known.map(({ name }) => name.length));
  const lines = [
    `${"default".padEnd(width)}  ${embedded ? `embedded, ${formatBytes(embedded.sizeBytes)}` : paint("dim", "not in this build")}`,
    ...known.map(({ name, id, snapshot }) => `${name.padEnd(width)}  ${snapshot ?? paint("dim", `not here; hf download ${id}`)}`),
    ...converted.map(({ path, sizeBytes }) => `${paint("dim", "converted".padEnd(width))}  ${path}, ${formatBytes(sizeBytes)}`),
  ];
  return `${lines.join("\n")}\n`;
}

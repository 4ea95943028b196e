// bge-reranker models: what can be named, and what is on this disk.
import type { Command } from "commander";
import { type KnownModel, listModels, type ModelList } from "../index.js";
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
  const memory = ({ f32, f16, q8_0 }: KnownModel["memoryBytes"]) =>
    paint("dim", `memory ${formatBytes(f32)} (f32), ${formatBytes(f16)} (f16), ${formatBytes(q8_0)} (q8_0)`);
  const lines = [
    `${"default".padEnd(width)}  ${embedded ? `embedded, ${formatBytes(embedded.sizeBytes)}` : paint("dim", "not in this build")}`,
    ...known.flatMap(({ name, snapshot, snapshotSizeBytes, memoryBytes }) => [
      `${name.padEnd(width)}  ${snapshot ? `${snapshot}, ${formatBytes(snapshotSizeBytes ?? 0)}` : paint("dim", `not here; bge-reranker pull ${name}`)}`,
      `${"".padEnd(width)}  ${memory(memoryBytes)}`,
    ]),
    ...converted.map(({ path, sizeBytes }) => `${paint("dim", "converted".padEnd(width))}  ${path}, ${formatBytes(sizeBytes)}`),
  ];
  return `${lines.join("\n")}\n`;
}

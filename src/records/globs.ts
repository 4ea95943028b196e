// Files named one by one, by patterns such as `data/*.parquet`, or by their folder.
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { RerankerError } from "../errors.js";
import { formatOf } from "./format.js";

/**
 * `*` and `?` stand for what is within a name, `**` for any folders. A folder gives the tables in it. Sorted by name within each
 * pattern; a name that exists is never read as a pattern.
 *
 * @throws {RerankerError} `IO`: nothing fits, or a file is named twice.
 */
export async function expandFiles(patterns: readonly string[]): Promise<string[]> {
  const files: string[] = [];
  for (const pattern of patterns) files.push(...(await expandOne(pattern)));
  const twice = files.find((file, i) => files.indexOf(file) !== i);
  if (twice !== undefined) throw new RerankerError("IO", `${twice} is named twice`);
  return files;
}

async function expandOne(pattern: string): Promise<string[]> {
  const stats = await stat(pattern).catch(() => undefined);
  if (stats?.isDirectory()) return filesIn(pattern);
  if (stats || !/[*?]/.test(pattern)) return [pattern];
  const parts = pattern.split("/");
  const found = (await walk(parts[0] === "" ? "/" : "", parts[0] === "" ? parts.slice(1) : parts)).sort();
  if (found.length === 0) throw new RerankerError("IO", `No file fits ${pattern}`);
  return [...new Set(found)];
}

async function filesIn(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter((name) => !name.startsWith(".") && formatOf(name) !== undefined).sort();
  if (names.length === 0) throw new RerankerError("IO", `The folder ${folder} has no .jsonl, .csv, .tsv or .parquet file`);
  return names.map((name) => join(folder, name));
}

async function walk(base: string, parts: readonly string[]): Promise<string[]> {
  const [part = "", ...rest] = parts;
  const at = (name: string) => (base === "" ? name : join(base, name));
  if (part === "**") {
    const folders = (await entriesOf(base)).filter((entry) => entry.isDirectory() && !entry.name.startsWith("."));
    const below = await Promise.all(folders.map((entry) => walk(at(entry.name), parts)));
    return [...(await walk(base, rest)), ...below.flat()];
  }
  if (!/[*?]/.test(part)) {
    if (rest.length > 0) return walk(at(part), rest);
    return (await stat(at(part)).catch(() => undefined))?.isFile() ? [at(part)] : [];
  }
  const fits = patternOf(part);
  const entries = (await entriesOf(base)).filter((entry) => fits.test(entry.name) && (part.startsWith(".") || !entry.name.startsWith(".")));
  if (rest.length === 0) return entries.filter((entry) => !entry.isDirectory()).map((entry) => at(entry.name));
  const below = await Promise.all(entries.filter((entry) => entry.isDirectory()).map((entry) => walk(at(entry.name), rest)));
  return below.flat();
}

function entriesOf(folder: string) {
  return readdir(folder || ".", { withFileTypes: true }).catch(() => []);
}

function patternOf(part: string): RegExp {
  const escaped = part.replace(/[.+^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^${escaped.replaceAll("*", ".*").replaceAll("?", ".")}$`);
}

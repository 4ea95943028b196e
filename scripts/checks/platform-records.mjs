// Records of what was run where: build/platforms/<name>.json, arrays of
// { area, combination, how, result: "pass" | "fail" | "skip", detail, date, on }. platforms-table.mjs makes docs/platforms.md of them.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const folder = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..", "build", "platforms");
const fileOf = (name) => path.join(folder, `${name}.json`);

/** An empty list where nothing was recorded. */
export function readRecords(name) {
  return existsSync(fileOf(name)) ? JSON.parse(readFileSync(fileOf(name), "utf8")) : [];
}

export function readAllRecords() {
  const names = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith(".json")) : [];
  return names.flatMap((file) => readRecords(path.basename(file, ".json")));
}

/** Records without a date are of today and of this machine. */
export function writeRecords(name, records) {
  for (const { combination, result } of records) {
    if (!["pass", "fail", "skip"].includes(result)) throw new Error(`${combination}: expected pass, fail or skip, got ${result}`);
  }
  const here = { date: new Date().toISOString().slice(0, 10), on: `${process.platform}-${process.arch}` };
  const stamped = records.map((record) => (record.date ? record : { ...record, ...here }));
  mkdirSync(folder, { recursive: true });
  writeFileSync(fileOf(name), `${JSON.stringify(stamped, undefined, 2)}\n`);
}

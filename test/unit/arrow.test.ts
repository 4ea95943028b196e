// LanceDB comes from beside this package or from where the application's script lies, and from nobody's current folder.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, expect, it } from "vitest";

const arrow = pathToFileURL(fileURLToPath(new URL("../../lib/integrations/arrow.js", import.meta.url))).href;
const folder = mkdtempSync(join(tmpdir(), "bge-arrow-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const program = `import { loadArrow } from ${JSON.stringify(arrow)};
  try { console.log(loadArrow().from); } catch (error) { console.log(error.code, error.message); }`;

/** A package that tells when it is run. */
function plant(base: string, name: string): void {
  const at = join(base, "node_modules", name);
  mkdirSync(at, { recursive: true });
  writeFileSync(join(at, "package.json"), JSON.stringify({ name, version: "1.0.0", main: "index.js" }));
  writeFileSync(join(at, "index.js"), `console.log("ran"); module.exports = { from: ${JSON.stringify(base)} };`);
}

function run(cwd: string, ...args: string[]): string {
  return spawnSync(process.execPath, args, { cwd, encoding: "utf8" }).stdout.trim();
}

it("not from the current folder, whatever is planted there", () => {
  const cwd = join(folder, "anybodys");
  for (const name of ["@lancedb/lancedb", "apache-arrow"]) plant(cwd, name);
  const app = join(folder, "bare");
  mkdirSync(app);
  writeFileSync(join(app, "main.mjs"), program);
  const expected = /^IO bge-reranker\/lancedb needs @lancedb\/lancedb/;
  expect(run(cwd, join(app, "main.mjs"))).toMatch(expected);
  expect(run(cwd, "--input-type=module", "-e", program)).toMatch(expected);
  expect(run(cwd, "--input-type=module", "-e", program, "not-a-path")).toMatch(expected);
});

it("as the application's entry script sees it", () => {
  const app = join(folder, "app");
  for (const name of ["@lancedb/lancedb", "apache-arrow"]) plant(app, name);
  writeFileSync(join(app, "main.mjs"), program);
  expect(run(tmpdir(), join(app, "main.mjs"))).toBe(`ran\n${app}`);
});

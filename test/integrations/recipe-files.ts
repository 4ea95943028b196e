// The code of docs/recipes.md and docs/ranking.md as files, so that it can be compiled and run.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));

/** Blocks that begin with `// name.ts`, written to build/recipes/name.ts. Returns their names, and the JSON blocks. */
export function writeRecipes(): { names: string[]; json: unknown[] } {
  const folder = path.join(here, "build", "recipes");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const docs = ["recipes.md", "ranking.md"].map((name) => readFileSync(path.join(here, "..", "..", "docs", name), "utf8"));
  const text = docs.join("\n");
  const blocks = [...text.matchAll(/^```(ts|json)\n(.*?)^```$/gms)];
  const names: string[] = [];
  const json: unknown[] = [];
  for (const [, language, code = ""] of blocks) {
    if (language === "json") {
      json.push(JSON.parse(code));
      continue;
    }
    const name = /^\/\/ (\S+\.ts)\n/.exec(code)?.[1];
    if (!name) throw new Error(`A recipe does not begin with its file name: ${code.slice(0, 80)}`);
    names.push(name);
    writeFileSync(path.join(folder, name), code);
  }
  return { names, json };
}

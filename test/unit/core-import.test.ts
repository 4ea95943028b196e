// What `import "bge-reranker"` loads: its own core, and nothing of the shells over it.
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const src = fileURLToPath(new URL("../../src/", import.meta.url));

/** Files and packages that an entry loads at once: static imports of values, followed. */
function loadedBy(entry: string): { files: string[]; packages: string[] } {
  const files = new Set<string>();
  const packages = new Set<string>();
  const follow = (file: string) => {
    if (files.has(file)) return;
    files.add(file);
    const text = readFileSync(path.join(src, file), "utf8");
    for (const [, clause = "", name = ""] of text.matchAll(/^(?:import|export)\s+(?:([^;"]*?)\s+from\s+)?"([^"]+)";/gms)) {
      if (/^type\b/.test(clause) || name.startsWith("node:")) continue;
      if (name.startsWith(".")) follow(path.posix.join(path.posix.dirname(file), name).replace(/\.js$/, ".ts"));
      else packages.add(name);
    }
  };
  follow(entry);
  return { files: [...files], packages: [...packages] };
}

describe("import", () => {
  it("of the core loads no shell, and no package that only a shell needs", () => {
    const { files, packages } = loadedBy("index.ts");
    expect(files.length).toBeGreaterThan(30);
    expect(files.filter((file) => /^(cli|server|integrations|jobs)\//.test(file))).toEqual([]);
    expect(packages.filter((name) => /hono|modelcontextprotocol|zod|commander|langchain|lancedb|^ai$/.test(name))).toEqual([]);
  });

  it.each(["ai-sdk", "langchain", "mastra"])("of bge-reranker/%s loads itself alone: types are enough", (name) => {
    expect(loadedBy(`integrations/${name}.ts`)).toEqual({
      files: [`integrations/${name}.ts`, "integrations/lazy-reranker.ts"],
      packages: [],
    });
  });
});

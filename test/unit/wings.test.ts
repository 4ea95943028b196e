// The checks that keep the house as CONTRIBUTING.md draws it go red on a wrong import, in every wing of src/ and room of native/.
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const root = path.resolve(fileURLToPath(new URL("../..", import.meta.url)));
const biome = path.join(root, "node_modules", "@biomejs", "biome", "bin", "biome");

/** Lints files in a folder that has nothing else but our configuration. Returns those with a forbidden import. */
function forbidden(files: Record<string, string>): string[] {
  const folder = mkdtempSync(path.join(tmpdir(), "bge-wings-"));
  for (const name of ["biome.json", "wings.json"]) copyFileSync(path.join(root, name), path.join(folder, name));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    writeFileSync(path.join(folder, name), text);
  }
  const args = ["lint", "--only=style/noRestrictedImports", "--reporter=github", "--max-diagnostics=none", "."];
  const { stdout } = spawnSync(process.execPath, [biome, ...args], { cwd: folder, encoding: "utf8" });
  rmSync(folder, { recursive: true });
  return [...new Set([...stdout.matchAll(/^::error .*?file=([^,]+),/gm)].map(([, file]) => path.relative(folder, String(file))))].sort();
}

// From the lowest wing to the highest; shells last.
const WINGS = ["files", "addon", "models", "gguf", "tokenizer", "convert", "sources", "reranker", "verify", "eval"];
const SHELLS = ["jobs", "integrations", "server", "cli"];

describe("wings of src/", () => {
  const present = readdirSync(path.join(root, "src"), { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? [entry.name] : [],
  );

  it("are all in the table", () => {
    const { overrides } = JSON.parse(readFileSync(path.join(root, "wings.json"), "utf8")) as { overrides: { includes: string[] }[] };
    const named = overrides.flatMap(({ includes }) => includes);
    for (const wing of present) expect(named, `src/${wing} has no row in wings.json`).toContain(`src/${wing}/**`);
  });

  const imports = (wing: string, others: readonly string[]) =>
    Object.fromEntries(others.map((other) => [`src/${wing}/takes-${other}.ts`, `import { it } from "../${other}/it.js";\nit();\n`]));

  it("cannot import a wing above", () => {
    const above = (wing: string) => [...WINGS.slice(WINGS.indexOf(wing) + 1), ...SHELLS];
    const planted = Object.assign({}, ...WINGS.map((wing) => imports(wing, above(wing)))) as Record<string, string>;
    for (const wing of WINGS) planted[`src/${wing}/takes-index.ts`] = `import { convert } from "../index.js";\nconvert("");\n`;
    expect(forbidden(planted)).toEqual(Object.keys(planted).sort());
  });

  it("of shells import index.ts and no other wing", () => {
    const planted = Object.assign(
      {},
      ...SHELLS.map((wing) =>
        imports(
          wing,
          [...WINGS, ...SHELLS].filter((other) => other !== wing),
        ),
      ),
    );
    const sound = Object.fromEntries(SHELLS.map((wing) => [`src/${wing}/takes-index.ts`, `import { it } from "../index.js";\nit();\n`]));
    expect(forbidden({ ...planted, ...sound })).toEqual(Object.keys(planted).sort());
  });

  it("import what is below; types count as imports", () => {
    const type = (other: string) => `import type { It } from "../${other}/it.js";\nexport type I = It;\n`;
    const files = { "src/reranker/a.ts": type("gguf"), "src/models/b.ts": type("addon"), "src/gguf/c.ts": type("models") };
    expect(forbidden(files)).toEqual(["src/models/b.ts"]);
  });

  it("hear of dynamic imports too", () =>
    expect(forbidden({ "src/gguf/a.ts": `const it = await import("../convert/it.js");\nit.it();\n` })).toHaveLength(1));
});

describe("rooms of native/", () => {
  const check = (file: string, source: string) => {
    const folder = mkdtempSync(path.join(tmpdir(), "bge-native-"));
    for (const [name, text] of Object.entries({
      "engine.h": "",
      "error.h": "",
      "graph.h": "",
      "tokenizer/tokenizer.h": "",
      [file]: source,
    })) {
      mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
      writeFileSync(path.join(folder, name), text);
    }
    const { status, stderr } = spawnSync(process.execPath, [path.join(root, "scripts/checks/native-includes.mjs"), folder], {
      encoding: "utf8",
    });
    rmSync(folder, { recursive: true });
    return status === 0 ? "" : stderr;
  };

  it.each([
    ["arch/planted.cpp", '#include "napi.h"', "only binding/ knows N-API"],
    ["arch/planted.cpp", '#include "../engine.h"', "arch/ may include"],
    ["cpu/planted.cpp", '#include "../graph.h"', "cpu/ may include nothing outside it"],
    ["tokenizer/planted.cpp", '#include "../engine.h"', "tokenizer/ may include error.h"],
    ["planted.cpp", "#include <ggml/ggml.h>", "never linked"],
    ["error.h", '#include "error.h"', "a circle"],
  ])("%s: %s", (file, source, why) => expect(check(file, source)).toContain(why));

  it("lets a sound file pass", () => expect(check("arch/planted.cpp", '#include "../graph.h"')).toBe(""));
});

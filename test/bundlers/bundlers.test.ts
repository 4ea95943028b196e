// Each bundler builds an app twice: with bge-reranker external, which must rank, and with it inside, which must rank too or say
// "leave it external" with that bundler's line. `npm install` in this folder brings the bundlers; without them it is skipped.
import { execFileSync, spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));
const own = createRequire(import.meta.url);
const has = (name: string) => existsSync(new URL(`node_modules/${name}`, import.meta.url));
const bring = async (name: string) => (await import(pathToFileURL(own.resolve(name)).href)) as never;

const PROGRAM = `
main().catch((error) => console.log(\`error \${error.code}: \${error.message}\`));
async function main() {
  const reranker = await Reranker.load("default", { devices: "cpu" });
  const [best] = await reranker.rerank("what is a panda?", ["a loaf of bread", "The giant panda is a bear."]);
  console.log(\`best \${best.index}\`);
  await reranker.dispose();
}`;

const app = mkdtempSync(path.join(tmpdir(), "bge-bundlers-"));
const esm = path.join(app, "app.mjs");
const cjs = path.join(app, "app.cjs");
beforeAll(() => {
  mkdirSync(path.join(app, "node_modules"));
  symlinkSync(root, path.join(app, "node_modules", "bge-reranker"), "junction");
  writeFileSync(path.join(app, "package.json"), '{"name": "an-app", "version": "9.9.9"}');
  writeFileSync(esm, `import { Reranker } from "bge-reranker";\n${PROGRAM}`);
  writeFileSync(cjs, `const { Reranker } = require("bge-reranker");\n${PROGRAM}`);
});
afterAll(() => rmSync(app, { recursive: true, force: true }));

interface Build {
  readonly input: string;
  /** File to write. */
  readonly output: string;
  readonly external: boolean;
}

type Bundler = (build: Build) => Promise<void>;

interface EsBuild {
  build(options: object): Promise<unknown>;
}
interface Rolling {
  rollup(options: object): Promise<{ write(options: object): Promise<unknown> }>;
}

const esbuild =
  (format: "esm" | "cjs"): Bundler =>
  async ({ input, output, external }) => {
    const { build } = (await bring("esbuild")) as EsBuild;
    const optional = ["@huggingface/jinja"];
    await build({
      entryPoints: [input],
      outfile: output,
      bundle: true,
      platform: "node",
      format,
      external: external ? ["bge-reranker"] : optional,
      logLevel: "silent",
    });
  };

const webpack: Bundler = async ({ input, output, external }) => {
  const compile = ((await bring("webpack")) as { default: (options: object, done: (error: unknown, stats: { hasErrors(): boolean; toString(): string }) => void) => void }).default; // biome-ignore format: one line
  await new Promise<void>((resolve, reject) => {
    compile(
      {
        entry: input,
        target: "node20",
        mode: "production",
        experiments: { outputModule: true },
        output: { path: path.dirname(output), filename: path.basename(output), module: true, library: { type: "module" } },
        externals: external ? { "bge-reranker": "import bge-reranker" } : {},
      },
      (error, stats) => (error || stats.hasErrors() ? reject(error ?? new Error(stats.toString())) : resolve()),
    );
  });
};

const rollup: Bundler = async ({ input, output, external }) => {
  const { rollup: roll } = (await bring("rollup")) as Rolling;
  const { nodeResolve } = (await bring("@rollup/plugin-node-resolve")) as { nodeResolve: (options: object) => object };
  const bundle = await roll({
    input,
    external: external ? ["bge-reranker"] : [],
    plugins: [nodeResolve({ exportConditions: ["node"], preferBuiltins: true })],
    onwarn: () => {},
  });
  await bundle.write({ file: output, format: "es", inlineDynamicImports: true });
};

const vite: Bundler = async ({ input, output, external }) => {
  const { build } = (await bring("vite")) as EsBuild;
  await build({
    root: app,
    configFile: false,
    logLevel: "silent",
    ssr: external ? { external: ["bge-reranker"] } : { noExternal: ["bge-reranker"] },
    build: {
      ssr: input,
      outDir: path.dirname(output),
      emptyOutDir: false,
      rollupOptions: { output: { entryFileNames: path.basename(output) } },
    },
  });
};

const bundlers: readonly [name: string, installed: string, input: string, ending: string, bundler: Bundler][] = [
  ["esbuild, ESM", "esbuild", esm, "mjs", esbuild("esm")],
  ["esbuild, CommonJS", "esbuild", cjs, "cjs", esbuild("cjs")],
  ["webpack", "webpack", esm, "mjs", webpack],
  ["Rollup", "rollup", esm, "mjs", rollup],
  ["Vite SSR", "vite", esm, "mjs", vite],
];

const run = (file: string) =>
  execFileSync(process.execPath, [file], { cwd: app, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim();

for (const [name, installed, input, ending, bundler] of bundlers) {
  if (!has(installed)) console.warn(`${name} is not tried: run npm install in test/bundlers.`);
  describe.skipIf(!has(installed))(name, () => {
    it("with bge-reranker external: it ranks", { timeout: 120_000 }, async () => {
      const output = path.join(app, `external-${installed}.${ending}`);
      await bundler({ input, output, external: true });
      expect(run(output)).toBe("best 1");
    });

    it("with it inside: it ranks, or says what to do", { timeout: 120_000 }, async () => {
      const output = path.join(app, `inside-${installed}.${ending}`);
      await bundler({ input, output, external: false });
      expect(run(output)).toMatch(
        /^best 1$|^error ADDON_NOT_FOUND: bge-reranker was bundled into .*Leave bge-reranker external.*serverExternalPackages/,
      );
    });
  });
}

if (!has("bun")) console.warn("bun --compile is not tried: run npm install in test/bundlers.");
describe.skipIf(!has("bun"))("bun build --compile", () => {
  const compile = (input: string) => {
    const bun = fileURLToPath(new URL("node_modules/bun/bin/bun.exe", import.meta.url)); // of that name on every system
    const output = `${input}.run`;
    execFileSync(
      bun,
      ["build", "--compile", "--compile-autoload-package-json", "--external", "@huggingface/jinja", input, "--outfile", output],
      { cwd: app, stdio: "pipe" },
    );
    return execFileSync(output, [], { cwd: app, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim();
  };

  it("with bge-reranker inside: it ranks, or says what to do", { timeout: 180_000 }, () => {
    expect(compile(esm)).toMatch(/^best 1$|^error ADDON_NOT_FOUND: bge-reranker was bundled into .*createRequire\(process.execPath\)/);
  });

  it("as that says: it ranks", { timeout: 180_000 }, () => {
    const outside = path.join(app, "outside.mjs");
    const require = 'import { createRequire } from "node:module";\nconst { Reranker } = createRequire(process.execPath)("bge-reranker");';
    writeFileSync(outside, `${require}\n${PROGRAM}`);
    expect(compile(outside)).toBe("best 1");
  });
});

if (!has("next")) console.warn("Next.js is not tried: run npm install in test/bundlers.");
describe.skipIf(!has("next"))("Next.js", () => {
  // Beside the bundlers, where Next finds itself; a copy, since it follows no link out of its folder.
  const folder = has("next") ? mkdtempSync(fileURLToPath(new URL("next-", import.meta.url))) : "";
  const next = fileURLToPath(new URL("node_modules/next/dist/bin/next", import.meta.url));
  afterAll(() => folder !== "" && rmSync(folder, { recursive: true, force: true }));

  beforeAll(() => {
    const copy = (from: string, to = from) =>
      cpSync(path.join(root, from), path.join(folder, "node_modules", to), { recursive: true, dereference: true });
    for (const part of ["lib", "package.json", "models", "build/Release/bge_reranker.node", "prebuilds"])
      if (existsSync(path.join(root, part))) copy(part, `bge-reranker/${part}`);
    const { dependencies } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as { dependencies: Record<string, string> };
    const ggml = readdirSync(path.join(root, "node_modules/@node-llama-cpp")).map((name) => `@node-llama-cpp/${name}`);
    for (const name of [...Object.keys(dependencies), ...ggml]) copy(`node_modules/${name}`, name);
    const write = (name: string, text: string) => {
      mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
      writeFileSync(path.join(folder, name), text);
    };
    write("package.json", '{"name": "an-app", "private": true}');
    write("app/layout.js", "export default function Layout({ children }) { return <html><body>{children}</body></html>; }");
    write("app/page.js", "export default function Page() { return <p>page</p>; }");
    const ranking = PROGRAM.replaceAll("console.log(", "say(").replace(/main\(\)\.catch[^\n]*/, "");
    const route = `import { Reranker } from "bge-reranker";
export const dynamic = "force-dynamic";
let answer = "";
const say = (text) => { answer = text; };
${ranking}
export async function GET() {
  await main().catch((error) => say(\`error \${error.code}: \${error.message}\`));
  return new Response(answer);
}`;
    write("app/rank/route.js", route);
  });

  it.each([
    ["external", 'serverExternalPackages: ["bge-reranker"]', /^best 1$/],
    ["left to Next", "", /^best 1$|^error ADDON_NOT_FOUND: bge-reranker was bundled into .*serverExternalPackages/],
  ])("bge-reranker %s", { timeout: 300_000 }, async (_, config, expected) => {
    const env = { ...process.env, NEXT_TELEMETRY_DISABLED: "1", NODE_ENV: "production" };
    writeFileSync(path.join(folder, "next.config.mjs"), `export default { ${config} };`);
    execFileSync(process.execPath, [next, "build"], { cwd: folder, env, stdio: "pipe" });
    const server = spawn(process.execPath, [next, "start", "-p", "0", "-H", "127.0.0.1"], {
      cwd: folder,
      env,
      stdio: ["ignore", "pipe", "pipe"],
    });
    try {
      const url = await new Promise<string>((resolve, reject) => {
        let text = "";
        server.once("exit", () => reject(new Error(text)));
        for (const stream of [server.stdout, server.stderr])
          stream.on("data", (chunk: Buffer) => {
            text += chunk.toString();
            const found = /http:\/\/127\.0\.0\.1:\d+/.exec(text)?.[0];
            if (found && text.includes("Ready")) resolve(found);
          });
      });
      expect(await (await fetch(`${url}/rank`)).text()).toMatch(expected);
    } finally {
      server.kill();
    }
  });
});

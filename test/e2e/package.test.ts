// The packed tarball in an empty folder, used as a stranger would: no compiler, no checkout, ESM and CommonJS, worker threads.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { goldenGguf, readCases } from "../golden.js";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const app = mkdtempSync(path.join(tmpdir(), "bge-app-"));
const toolFree = path.join(app, "path");
let model = "";

/** A PATH with node and nothing that compiles. */
const environment = (): NodeJS.ProcessEnv => ({ ...process.env, PATH: toolFree, npm_config_cache: process.env.npm_config_cache });

function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: app,
    env: environment(),
    encoding: "utf8",
    timeout: 120_000,
  });
  return { status, stdout, stderr };
}

function script(name: string, source: string) {
  writeFileSync(path.join(app, name), source);
  return run(name);
}

beforeAll(async () => {
  mkdirSync(toolFree);
  symlinkSync(process.execPath, path.join(toolFree, "node"));
  model = await goldenGguf("bert-reranker", "f32");
  const npm = (args: string[], cwd: string) => execFileSync("npm", args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  const [packed] = JSON.parse(npm(["pack", "--json", "--silent", "--pack-destination", app], root)) as [{ filename: string }];
  writeFileSync(path.join(app, "package.json"), JSON.stringify({ name: "app", private: true }));
  npm(["install", "--no-audit", "--no-fund", "--loglevel=error", path.join(app, packed.filename)], app);
});

afterAll(() => rmSync(app, { recursive: true, force: true }));

describe("the packed package", () => {
  const wanted = () => readCases("bert-reranker").find((c) => c.id === "single-pair");

  it("ranks documents from the command line, without a compiler", () => {
    const { status, stdout, stderr } = run(
      "node_modules/bge-reranker/lib/cli.js",
      ...["rerank", "--model", model, "--query", "what is panda?", "--json", "hi", "The giant panda is a bear species endemic to China."],
    );
    expect(stderr).toBe("");
    expect(status).toBe(0);
    const { results } = JSON.parse(stdout) as { results: { index: number; score: number }[] };
    expect(results.map((r) => r.index).sort()).toEqual([0, 1]);
  });

  it("serves over HTTP, page and all, from ESM and CommonJS", () => {
    const calls = `
      const server = await serve({ port: 0, log: "off", models: { tiny: ${JSON.stringify(model)} } });
      const post = (path, body) => fetch(server.url + path, { method: "POST", body: JSON.stringify(body) }).then((answer) => answer.json());
      const { model, results } = await post("/v1/rerank", { query: "panda", documents: ["hi", "bear"] });
      const [{ score }] = await post("/rerank", { query: "panda", texts: ["hi"] });
      const page = await (await fetch(server.url)).text();
      const { openapi } = await (await fetch(server.url + "/openapi.json")).json();
      console.log(JSON.stringify([model, results.length, typeof score, page.includes("<html"), openapi]));
      await server.close();`;
    const esm = script("serve.mjs", `import { serve } from "bge-reranker/server";${calls}`);
    expect(esm).toMatchObject({ status: 0, stderr: "", stdout: '["tiny",2,"number",true,"3.1.0"]\n' });
    const cjs = script("serve.cjs", `const { serve } = require("bge-reranker/server");(async () => {${calls}})();`);
    expect(cjs.stdout).toBe(esm.stdout);
  });

  it("runs the README's first example as printed", () => {
    const [, example] = /```js\n(import [^`]+)```/.exec(readFileSync(path.join(root, "README.md"), "utf8")) as RegExpExecArray;
    const { status, stdout, stderr } = script("readme.mjs", example as string);
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(stdout).toContain("The giant panda is a bear");
  });

  it("carries no script, and nothing else of the checkout, in its package.json", () => {
    const packed = JSON.parse(readFileSync(path.join(app, "node_modules/bge-reranker/package.json"), "utf8")) as Record<string, unknown>;
    expect(packed).not.toHaveProperty("scripts");
    expect(Object.keys(packed["devDependencies"] as object)).toEqual(["node-addon-api", "node-api-headers"]);
    expect(JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"))).toHaveProperty("scripts.prepare");
  });

  it("gives the reference's score through import and require", () => {
    const c = wanted();
    const body = `const r = await FlagReranker.load(${JSON.stringify(model)}); console.log(JSON.stringify(await r.computeScore(${JSON.stringify(c?.pairs[0])}))); await r.dispose();`;
    const esm = script("esm.mjs", `import { FlagReranker } from "bge-reranker"; ${body}`);
    const cjs = script("cjs.cjs", `const { FlagReranker } = require("bge-reranker"); (async () => { ${body} })();`);
    for (const { status, stdout, stderr } of [esm, cjs]) {
      expect(stderr).toBe("");
      expect(status).toBe(0);
      expect(Math.abs(JSON.parse(stdout)[0] - (c?.scores[0] as number))).toBeLessThan(2e-4);
    }
  });

  it("has every adapter, through import and require, without their frameworks", () => {
    const names = ["ai-sdk", "langchain", "lancedb", "mastra", "mcp"];
    const wanted = {
      "ai-sdk": "bgeRerankingModel",
      langchain: "BgeRerank",
      lancedb: "BgeHybridReranker",
      mastra: "BgeRelevanceScorer",
      mcp: "mcpHandler",
    };
    const check = `console.log(JSON.stringify(names.map((name, i) => typeof modules[i][wanted[name]])));`;
    const head = `const names = ${JSON.stringify(names)}; const wanted = ${JSON.stringify(wanted)};`;
    const esm = script(
      "adapters.mjs",
      `${head} const modules = await Promise.all(names.map((name) => import("bge-reranker/" + name))); ${check}`,
    );
    const cjs = script("adapters.cjs", `${head} const modules = names.map((name) => require("bge-reranker/" + name)); ${check}`);
    for (const { stdout, stderr } of [esm, cjs]) {
      expect(stderr).toBe("");
      expect(JSON.parse(stdout)).toEqual(names.map(() => "function"));
    }
  });

  it("writes a report: its script is in the package", () => {
    const { status, stderr } = run(
      "node_modules/bge-reranker/lib/cli.js",
      "bench",
      "--documents",
      "2",
      "--runs",
      "1",
      "--report",
      "report.html",
    );
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(readFileSync(path.join(app, "report.html"), "utf8")).toContain("Latency of a call against its documents");
  });

  it("has types for import and for require", () => {
    const use =
      "const load: (file: string) => Promise<FlagReranker> = (file) => FlagReranker.load(file, { maxLength: 512 });\nvoid load;\n";
    writeFileSync(path.join(app, "consumer.mts"), `import { FlagReranker } from "bge-reranker";\n${use}`);
    writeFileSync(path.join(app, "consumer.cts"), `import { FlagReranker } from "bge-reranker";\n${use}`);
    writeFileSync(path.join(app, "wrong.cts"), `import { FlagReranker } from "bge-reranker";\nFlagReranker.load(1);\n`);
    const compilerOptions = {
      module: "nodenext",
      target: "es2023",
      strict: true,
      noEmit: true,
      types: ["node"],
      typeRoots: [path.join(root, "node_modules/@types")],
    };
    writeFileSync(path.join(app, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["*.mts", "*.cts"] }));
    const { stdout } = run(path.join(root, "node_modules/typescript/bin/tsc"), "-p", ".", "--pretty", "false");
    expect(
      stdout
        .trim()
        .split("\n")
        .map((line) => line.split(":")[0]),
    ).toEqual(["wrong.cts(2,19)"]);
  });

  it("works in worker threads, terminated in mid-job included", () => {
    const { status, stdout, stderr } = script(
      "workers.mjs",
      `import { Worker, isMainThread, parentPort } from "node:worker_threads";
       import { FlagReranker } from "bge-reranker";
       if (isMainThread) {
         const start = () => new Worker(new URL(import.meta.url));
         const answers = await Promise.all([start(), start()].map((w) => new Promise((resolve, reject) => { w.once("message", (m) => { resolve(m); w.terminate(); }); w.once("error", reject); })));
         const doomed = start();
         doomed.on("error", (e) => { throw e; });
         await new Promise((resolve) => doomed.once("message", resolve));
         await doomed.terminate();
         console.log(JSON.stringify(answers));
       } else {
         const r = await FlagReranker.load(${JSON.stringify(model)});
         const [score] = await r.computeScore(["a", "b"]);
         r.computeScore(Array.from({ length: 5000 }, (_, i) => ["a query " + i, "a document of some words ".repeat(40)])).catch(() => {});
         setTimeout(() => parentPort.postMessage(score), 50);
       }`,
    );
    expect(stderr).toBe("");
    expect(status).toBe(0);
    const [a, b] = JSON.parse(stdout) as number[];
    expect(a).toBe(b);
  });

  it("lets the process end while a model is loaded, and at exit in mid-job", () => {
    const idle = script(
      "idle.mjs",
      `import { FlagReranker } from "bge-reranker"; await FlagReranker.load(${JSON.stringify(model)}); console.log("end");`,
    );
    expect(idle).toEqual({ status: 0, stdout: "end\n", stderr: "" });
    // exit() tears static objects down beside a computing thread: several moments, since it is a race.
    for (const ms of [40, 90, 140, 190, 240]) {
      const busy = script(
        "busy.mjs",
        `import { FlagReranker } from "bge-reranker"; const r = await FlagReranker.load(${JSON.stringify(model)});
         r.computeScore(Array.from({ length: 20000 }, (_, i) => ["q" + i, "some words here ".repeat(50)])); setTimeout(() => process.exit(7), ${ms});`,
      );
      expect(busy).toEqual({ status: 7, stdout: "", stderr: "" });
    }
  });

  it("carries sources only for `bge-reranker build`", () => {
    const files = readdirSync(path.join(app, "node_modules/bge-reranker"));
    expect(files).not.toContain("binding.gyp");
    expect(files).toEqual(expect.arrayContaining(["CMakeLists.txt", "native", "prebuilds"]));
  });
});

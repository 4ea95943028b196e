// What others do to a model at work: end the process, take its file or its threads away, abort a graph that runs. Each case in a
// process of its own, on lib/.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkpointFolder, goldenGguf } from "../golden.js";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const library = pathToFileURL(path.join(root, "lib", "index.js")).href;
const folder = mkdtempSync(path.join(tmpdir(), "bge-faults-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const posix = it.skipIf(process.platform === "win32");
let encoder = "";
let decoder = "";
let other = "";

beforeAll(async () => {
  encoder = await goldenGguf("xlmr-reranker", "f32");
  other = await goldenGguf("bert-reranker", "f32");
  decoder = await goldenGguf("minicpm-layerwise-reranker", "f32");
});

interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

function run(source: string): Promise<Ended> {
  const preamble = `
    import { Reranker } from ${JSON.stringify(library)};
    import fs from "node:fs";
    import { setTimeout as sleep } from "node:timers/promises";
    const encoder = ${JSON.stringify(encoder)}, decoder = ${JSON.stringify(decoder)}, other = ${JSON.stringify(other)};
    const attempt = (promise) => promise.then(String, (error) => (error.name === "RerankerError" ? error.code : error.name));
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", preamble + source], { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (data) => (stdout += data));
  child.stderr.on("data", (data) => (stderr += data));
  return new Promise((resolve) => child.on("close", (status, signal) => resolve({ status, signal, stdout, stderr })));
}

const ends = (stdout: string, status = 0) => ({ status, signal: null, stdout, stderr: "" });

describe("the end of the process in mid-job", () => {
  // Marks and compatibility forms, which tables made on first use take apart.
  const texts = `Array.from({ length: 400 }, (_, i) => "Cafe\\u0301 Zu\\u0308rich \\uac00\\u11a8 \\ufb01 \\u2460 \\u1e9e ".repeat(400) + i)`;

  it.each([0, 3, 9, 20, 50, 120])("process.exit() %d ms after a first call", async (ms) => {
    const source = `const r = await Reranker.load(encoder); r.rerank("e\\u0301", ${texts}).catch(() => {}); setTimeout(() => process.exit(5), ${ms});`;
    expect(await run(source)).toEqual(ends("", 5));
  });

  it.each([0, 15, 60])("an uncaught exception %d ms after a first call", async (ms) => {
    const source = `const r = await Reranker.load("default"); r.rerank("e\\u0301", ${texts}).catch(() => {}); setTimeout(() => { throw new Error("mine"); }, ${ms});`;
    expect(await run(source)).toMatchObject({ status: 1, signal: null, stderr: expect.stringContaining("Error: mine") });
  });

  it("process.exit() from a call's own answer, with others under way", async () => {
    const source = `const r = await Reranker.load(encoder), s = await Reranker.load(decoder);
      const documents = ${texts};
      r.rerank("a", documents).catch(() => {}); s.rerank("b", documents).catch(() => {});
      await r.computeScore(["a", "b"]); process.exit(5);`;
    expect(await run(source)).toEqual(ends("", 5));
  });
});

describe("a model's file that changes after loading", () => {
  const changes = {
    "cut short": "fs.truncateSync(file, 4096);",
    "cut to nothing": "fs.truncateSync(file, 0);",
    "overwritten in place": "fs.writeFileSync(file, fs.readFileSync(other));",
    "edited in place":
      "const h = fs.openSync(file, 'r+'); fs.writeSync(h, Buffer.alloc(64, 7), 0, 64, fs.statSync(file).size - 4096); fs.closeSync(h);",
    "replaced by another": "fs.copyFileSync(other, file + '.new'); fs.renameSync(file + '.new', file);",
    "appended to": "fs.appendFileSync(file, 'more');",
  };

  posix.each(Object.entries(changes))("%s: calls are refused, before and after a release", async (what, change) => {
    const file = path.join(folder, `${what.replaceAll(" ", "-")}.gguf`);
    const result = await run(`
      const file = ${JSON.stringify(file)};
      fs.copyFileSync(encoder, file);
      const kept = await Reranker.load(file), released = await Reranker.load(file, { keepAliveMs: 0 });
      const pairs = [["a query", "a document"], ["a query", "another"]];
      const wanted = String(await kept.computeScore(pairs));
      await released.computeScore(pairs);
      await sleep(60);
      ${change}
      const results = [await attempt(kept.computeScore(pairs)), await attempt(released.computeScore(pairs)), await attempt(kept.rerank("a", ["b"]))];
      console.log(results.join(" "));
      await kept.dispose(); await released.dispose();
      fs.copyFileSync(encoder, file);
      const again = await Reranker.load(file);
      console.log(String(await again.computeScore(pairs)) === wanted);
      await again.dispose();`);
    expect(result).toEqual(ends("MODEL_CHANGED MODEL_CHANGED MODEL_CHANGED\ntrue\n"));
  });

  posix("in the middle of a call: it is refused, not scored half with other weights", async () => {
    const file = path.join(folder, "mid-call.gguf");
    const result = await run(`
      const file = ${JSON.stringify(file)};
      fs.copyFileSync(encoder, file);
      const r = await Reranker.load(file);
      const documents = Array.from({ length: 3000 }, (_, i) => "word ".repeat(200) + i);
      let changed = false;
      const onProgress = () => { if (!changed) fs.utimesSync(file, 1, 1); changed = true; };
      console.log(await attempt(r.rerank("a query", documents, { onProgress })));
      await r.dispose();`);
    expect(result).toEqual(ends("MODEL_CHANGED\n"));
  });
});

describe("an abort while a graph runs", () => {
  it("stops the graph: dispose() does not wait for a pair of 20,000 tokens", async () => {
    const result = await run(`
      const r = await Reranker.load(decoder, { maxLength: 20_000, threads: 1 });
      const stop = new AbortController();
      const call = attempt(r.computeScore(["a query", "word ".repeat(25_000)], { signal: stop.signal }));
      while (r.stats().runningTokens < 20_000) await sleep(5);
      await sleep(100);
      stop.abort();
      const started = performance.now();
      console.log(await call);
      await r.dispose();
      // The whole pair takes tens of seconds on one thread.
      console.log(performance.now() - started < 2000, r.stats().computedPairs, r.stats().abortedCalls);`);
    expect(result).toEqual(ends("AbortError\ntrue 0 1\n"));
  });

  it("goes on for the calls that share the batch, and with the same scores afterwards", async () => {
    const result = await run(`
      const r = await Reranker.load(decoder, { threads: 2 });
      const pairs = Array.from({ length: 60 }, (_, i) => ["a query", "word ".repeat(1 + i) + i]);
      const wanted = String(await r.computeScore(pairs));
      for (let round = 0; round < 20; round++) {
        const stop = new AbortController();
        const doomed = Array.from({ length: 3 }, () => attempt(r.computeScore(pairs, { signal: stop.signal })));
        const kept = round % 2 ? r.computeScore(pairs) : undefined;
        await sleep(round % 7);
        stop.abort();
        await Promise.all(doomed);
        if (kept && String(await kept) !== wanted) throw new Error("other scores beside an abort");
        if (String(await r.computeScore(pairs)) !== wanted) throw new Error("other scores after an abort");
      }
      const { queuedCalls, runningCalls, queuedPairs, runningPairs } = r.stats();
      console.log(queuedCalls, runningCalls, queuedPairs, runningPairs);
      await r.dispose();`);
    expect(result).toEqual(ends("0 0 0 0\n"));
  });
});

describe("threads that the system does not start", () => {
  it.skipIf(process.platform !== "linux")("make load() reject, and leave loaded models alone", async () => {
    const result = await run(`
      import { spawnSync } from "node:child_process";
      const r = await Reranker.load(encoder, { threads: 2 });
      const wanted = String(await r.computeScore(["a", "b"]));
      // Room for the stacks of some threads only.
      const size = Number(/VmSize:\\s+(\\d+)/.exec(fs.readFileSync("/proc/self/status", "utf8"))[1]) * 1024;
      const limited = spawnSync("prlimit", ["--pid", String(process.pid), "--as=" + (size + (200 << 20))]).status === 0;
      console.log(limited ? await attempt(Reranker.load(encoder, { threads: 64 })) : "OUT_OF_MEMORY");
      console.log(String(await r.computeScore(["a", "b"])) === wanted);
      await r.dispose();`);
    expect(result).toEqual(ends("OUT_OF_MEMORY\ntrue\n"));
  });
});

describe("a working directory that was deleted", () => {
  posix("absolute paths and names work; a relative output is refused in words", async () => {
    const result = await run(`
      import { convert } from ${JSON.stringify(library)};
      const gone = fs.mkdtempSync(${JSON.stringify(path.join(folder, "gone-"))});
      process.chdir(gone);
      fs.rmSync(gone, { recursive: true });
      console.log((await Reranker.load(encoder)).model.class, (await Reranker.load("default")).model.class);
      console.log(await attempt(Reranker.load("model.gguf")), await attempt(convert(${JSON.stringify(checkpointFolder("bert-reranker"))}, { output: "out.gguf" })));
      process.exit(0);`);
    expect(result).toEqual(ends("encoder-only-base encoder-only-base\nMODEL_NOT_FOUND IO\n"));
  });
});

describe("what is no model file", () => {
  posix("a FIFO, a device, a folder and a socket are refused at once", async () => {
    const fifo = path.join(folder, "fifo.gguf");
    const directory = path.join(folder, "folder.gguf");
    mkdirSync(directory);
    writeFileSync(path.join(folder, "empty.gguf"), "");
    await new Promise((resolve) => spawn("mkfifo", [fifo]).on("close", resolve));
    const result = await run(`
      for (const name of ["fifo.gguf", "folder.gguf", "empty.gguf"]) {
        const error = await Reranker.load(${JSON.stringify(folder)} + "/" + name).then(() => ({}), (error) => error);
        console.log(name, error.name, error.code ?? "");
      }
      process.exit(0);`);
    expect(result.signal).toBe(null);
    expect(result.stdout).toMatch(/fifo.gguf RerankerError \w+\nfolder.gguf RerankerError \w+\nempty.gguf RerankerError MODEL_INVALID\n/);
  });
});

// Memory and the end of things: what loading, idling and disposing do to the resident set, limits that hold, and every order
// in which a process, a worker or the collector can end a model. Each case runs in a process of its own, on lib/.
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { convert } from "../../src/convert/convert.js";
import { checkpointFolder, goldenGguf } from "../golden.js";
import { safetensorsBytes, type TestTensor } from "../unit/convert-fixtures.js";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const library = pathToFileURL(path.join(root, "lib", "index.js")).href;
const folder = mkdtempSync(path.join(tmpdir(), "bge-memory-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let tiny = "";
let wide = "";

/** Float32 of one shared block of noise: shapes are what counts here. */
function noise(shape: readonly number[], block: Float32Array): TestTensor {
  const count = shape.reduce((product, n) => product * n, 1);
  const bytes = new Uint8Array(count * 4);
  for (let at = 0; at < bytes.length; at += block.byteLength) {
    bytes.set(new Uint8Array(block.buffer, 0, Math.min(block.byteLength, bytes.length - at)), at);
  }
  return { dtype: "F32", shape, bytes };
}

/** An encoder of 4 layers as wide as bge-reranker-base, with the vocabulary of a golden checkpoint: 120 MB of weights. */
async function makeWideModel(): Promise<string> {
  const checkpoint = path.join(folder, "wide");
  mkdirSync(checkpoint);
  const golden = checkpointFolder("xlmr-reranker");
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) copyFileSync(path.join(golden, name), path.join(checkpoint, name));
  const [layers, n, ff, vocabulary, positions] = [4, 768, 3072, 4002, 514];
  const config = {
    architectures: ["XLMRobertaForSequenceClassification"],
    model_type: "xlm-roberta",
    num_hidden_layers: layers,
    hidden_size: n,
    num_attention_heads: 12,
    intermediate_size: ff,
    max_position_embeddings: positions,
    type_vocab_size: 1,
    vocab_size: vocabulary,
    hidden_act: "gelu",
    layer_norm_eps: 1e-5,
    position_embedding_type: "absolute",
    id2label: { 0: "LABEL_0" },
    bos_token_id: 0,
    pad_token_id: 1,
    eos_token_id: 2,
  };
  writeFileSync(path.join(checkpoint, "config.json"), JSON.stringify(config));
  const block = Float32Array.from({ length: 99_991 }, (_, i) => 0.06 * Math.sin(i * i)); // prime, so that rows differ
  const tensors: Record<string, TestTensor> = {};
  const add = (name: string, ...shape: number[]) => {
    tensors[name] = noise(shape, block);
  };
  const linear = (name: string, out: number, inputs: number) => {
    add(`${name}.weight`, out, inputs);
    add(`${name}.bias`, out);
  };
  const norm = (name: string) => {
    add(`${name}.weight`, n);
    add(`${name}.bias`, n);
  };
  add("roberta.embeddings.word_embeddings.weight", vocabulary, n);
  add("roberta.embeddings.position_embeddings.weight", positions, n);
  add("roberta.embeddings.token_type_embeddings.weight", 1, n);
  norm("roberta.embeddings.LayerNorm");
  for (let i = 0; i < layers; i++) {
    const layer = `roberta.encoder.layer.${i}`;
    for (const part of ["query", "key", "value"]) linear(`${layer}.attention.self.${part}`, n, n);
    linear(`${layer}.attention.output.dense`, n, n);
    norm(`${layer}.attention.output.LayerNorm`);
    linear(`${layer}.intermediate.dense`, ff, n);
    linear(`${layer}.output.dense`, n, ff);
    norm(`${layer}.output.LayerNorm`);
  }
  linear("classifier.dense", n, n);
  linear("classifier.out_proj", 1, n);
  writeFileSync(path.join(checkpoint, "model.safetensors"), safetensorsBytes(tensors));
  const output = path.join(folder, "wide.gguf");
  await convert(checkpoint, { output, outtype: "f32" });
  return output;
}

let scripts = 0;

/** Runs a module in a process of its own. In reach: the library, `tiny` and `wide`, sleep, gc, and `many` pairs that take a while. */
function run(source: string, ...flags: string[]) {
  const file = path.join(folder, `${scripts++}.mjs`);
  writeFileSync(
    file,
    `import { Reranker } from ${JSON.stringify(library)};
     import { setTimeout as sleep } from "node:timers/promises";
     import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
     const tiny = ${JSON.stringify(tiny)}, wide = ${JSON.stringify(wide)};
     const many = Array.from({ length: 1500 }, (_, i) => ["a query " + i, "a document of some words ".repeat(40)]);
     const collect = async () => { for (let i = 0; i < 4; i++) { globalThis.gc(); await sleep(10); } };
     ${source}`,
  );
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, ["--expose-gc", ...flags, file], {
    encoding: "utf8",
    timeout: 110_000,
  });
  return { status, signal, stdout, stderr };
}

const ends = (stdout: string, status = 0) => ({ status, signal: null, stdout, stderr: "" });

beforeAll(async () => {
  tiny = await goldenGguf("bert-reranker", "f32");
  wide = await makeWideModel();
});

const onLinux = process.platform === "linux";
if (!onLinux) console.warn(`skipped on ${process.platform}: the resident set tells what is allocated on Linux only`);

describe.skipIf(!onLinux)("the resident set", () => {
  const measure = `import { readFileSync } from "node:fs";
    const megabytes = (key) => Number(new RegExp(key + ":\\\\s+(\\\\d+) kB").exec(readFileSync("/proc/self/status", "utf8"))[1]) / 1000;
    const rss = async () => { await collect(); return megabytes("VmRSS"); };
    const warm = await Reranker.load(tiny);
    await warm.computeScore(["a", "b"]);
    await warm.dispose();
    const before = await rss();`;

  it("falls back when the weights are idle and when the model is disposed of", () => {
    const { stdout, ...rest } = run(`${measure}
        const reranker = await Reranker.load(wide, { keepAliveMs: 1500 });
        const loaded = megabytes("VmRSS");
        const pairs = many.slice(0, 2);
        const scores = String(await reranker.computeScore(pairs));
        let idle = await rss();
        for (let i = 0; i < 100 && idle - before > 40; i++) { await sleep(200); idle = await rss(); }
        const ids = reranker.tokenize("still here").length;
        const same = String(await reranker.computeScore(pairs)) === scores;
        const again = megabytes("VmRSS");
        await reranker.dispose();
        console.log(JSON.stringify({ before, loaded, idle, again, closed: await rss(), same, ids }));`);
    expect(rest).toEqual({ status: 0, signal: null, stderr: "" });
    const { before, loaded, idle, again, closed, same, ids } = JSON.parse(stdout);
    console.log(`rss in MB: ${[before, loaded, idle, again, closed].map(Math.round).join(" -> ")} (before, loaded, idle, again, closed)`);
    expect(loaded - before).toBeGreaterThan(100);
    expect(idle - before).toBeLessThan(40);
    expect(again - before).toBeGreaterThan(100);
    expect(closed - before).toBeLessThan(40);
    expect(same).toBe(true);
    expect(ids).toBeGreaterThan(0);
  });

  it("falls back when the collector takes a model that nobody disposed of", () => {
    const { stdout, ...rest } = run(`${measure}
        let reranker = await Reranker.load(wide);
        await reranker.computeScore(["a", "b"]);
        const loaded = await rss();
        reranker = undefined;
        console.log(JSON.stringify({ before, loaded, collected: await rss() }));`);
    expect(rest).toEqual({ status: 0, signal: null, stderr: "" });
    const { before, loaded, collected } = JSON.parse(stdout);
    expect(loaded - before).toBeGreaterThan(100);
    expect(collected - before).toBeLessThan(40);
  });

  it("stays within maxMemory at its peak", () => {
    const { stdout, ...rest } = run(`${measure}
        const limit = 200;
        const reranker = await Reranker.load(wide, { maxMemory: limit + "MB" });
        await reranker.computeScore(many.slice(0, 6));
        const plan = await reranker.plan("q", many.slice(0, 6).map(([, document]) => document));
        const peak = megabytes("VmHWM") - before;
        console.log(JSON.stringify({ limit, peak, weights: reranker.model.weightsSizeBytes / 1e6, work: plan.memory.workBytes / 1e6 }));`);
    expect(rest).toEqual({ status: 0, signal: null, stderr: "" });
    const { limit, peak, weights, work } = JSON.parse(stdout);
    console.log(
      `peak ${Math.round(peak)} MB of a limit of ${limit}; estimated ${Math.round(weights)} of weights, ${Math.round(work)} of work`,
    );
    expect(peak).toBeLessThan(limit);
    expect(weights + work).toBeLessThan(limit);
  });

  it("does not grow over 96 cycles of load, score, dispose", () => {
    const args = ["scripts/checks/soak.mjs", "--cycles", "96", "--max-growth-mb", "24", "--no-record"];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: root, encoding: "utf8" });
    expect({ status, stderr }, stdout).toEqual({ status: 0, stderr: "" });
    console.log(stdout.trim().split("\n").at(-1));
  });
});

describe("maxMemory", () => {
  it("rejects a model that does not fit before its weights are read, and a pair when it is called", () => {
    const { stdout, ...rest } = run(`
      const refused = await Reranker.load(wide, { maxMemory: "100MB" }).catch((error) => error);
      const reranker = await Reranker.load(wide, { maxMemory: "160MB", maxLength: 16 });
      const fits = await reranker.computeScore(["a", "b"]);
      const long = await reranker.computeScore(["a", "word ".repeat(600)], { maxLength: 512 }).catch((error) => error);
      await reranker.dispose();
      console.log(JSON.stringify({ refused: [refused.code, refused.message], fits: fits.length, long: long.code ?? "fits" }));`);
    expect(rest).toEqual({ status: 0, signal: null, stderr: "" });
    const { refused, fits, long } = JSON.parse(stdout);
    expect(refused[0]).toBe("OUT_OF_MEMORY");
    expect(refused[1]).toMatch(/needs about \d+ MB: .* `maxMemory` is 100 MB/);
    expect(fits).toBe(1);
    expect(["fits", "OUT_OF_MEMORY"]).toContain(long);
  });
});

describe("keepAliveMs", () => {
  it("never releases in mid-call, and every call gets its scores however the two meet", () => {
    const result = run(`
      const plain = await Reranker.load(tiny);
      const pairs = [["a query", "a document"], ["a query", "another one"]];
      const wanted = String(await plain.computeScore(pairs));
      for (const keepAliveMs of [0, 1, 3]) {
        const reranker = await Reranker.load(tiny, { keepAliveMs });
        const callers = Array.from({ length: 4 }, async (_, caller) => {
          for (let i = 0; i < 8; i++) {
            if (String(await reranker.computeScore(pairs)) !== wanted) throw new Error("other scores");
            await sleep((i * 3 + caller) % 7);
          }
        });
        await Promise.all(callers);
        await reranker.dispose();
      }
      console.log("same");`);
    expect(result).toEqual(ends("same\n"));
  });

  it("does not keep the process alive", () => {
    const started = performance.now();
    const result = run(
      `const r = await Reranker.load(tiny, { keepAliveMs: 600_000 }); await r.computeScore(["a", "b"]); console.log("end");`,
    );
    expect(result).toEqual(ends("end\n"));
    expect(performance.now() - started).toBeLessThan(60_000);
  });

  it("goes on with the file as it was loaded after it was deleted", () => {
    const result = run(`
      import { copyFileSync, rmSync } from "node:fs";
      const copy = tiny + ".copy";
      copyFileSync(tiny, copy);
      const r = await Reranker.load(copy, { keepAliveMs: 0 });
      const first = String(await r.computeScore(["a", "b"]));
      await sleep(50);
      if (process.platform !== "win32") rmSync(copy); // Windows keeps a mapped file
      console.log(String(await r.computeScore(["a", "b"])) === first);
      await r.dispose();
      rmSync(copy, { force: true });`);
    expect(result).toEqual(ends("true\n"));
  });
});

describe("the end of a model", () => {
  it.each([0, 5, 30, 100, 300])("survives process.exit() %d ms into loading", (ms) => {
    expect(run(`Reranker.load(wide); await sleep(${ms}); process.exit(5);`)).toEqual(ends("", 5));
  });

  it.each([0, 10, 60])("survives process.exit() %d ms into reading released weights again", (ms) => {
    const source = `const r = await Reranker.load(wide, { keepAliveMs: 0 }); await sleep(300);
      r.computeScore(["a", "b"]).catch(() => {}); await sleep(${ms}); process.exit(5);`;
    expect(run(source)).toEqual(ends("", 5));
  });

  it("survives worker.terminate() in mid-load, mid-job, mid-reload and mid-dispose", () => {
    const result = run(`
      if (isMainThread) {
        const doomed = async (what, ms) => {
          const worker = new Worker(new URL(import.meta.url), { workerData: what });
          worker.on("error", (error) => { throw error; });
          await new Promise((resolve) => worker.once("message", resolve));
          await sleep(ms);
          await worker.terminate();
        };
        for (const ms of [0, 30]) await Promise.all(["load", "job", "reload", "dispose"].map((what) => doomed(what, ms)));
        console.log("alive", (await (await Reranker.load(tiny)).computeScore(["a", "b"])).length);
      } else {
        const start = {
          load: async () => { Reranker.load(wide); },
          job: async () => { const r = await Reranker.load(tiny); r.computeScore(many).catch(() => {}); },
          reload: async () => { const r = await Reranker.load(wide, { keepAliveMs: 0 }); await sleep(200); r.computeScore(["a", "b"]).catch(() => {}); },
          dispose: async () => { const r = await Reranker.load(tiny); r.computeScore(many).catch(() => {}); r.dispose(); },
        };
        await start[workerData]();
        parentPort.postMessage("started");
        setInterval(() => {}, 1000);
      }`);
    expect(result).toEqual(ends("alive 1\n"));
  });

  it("lets a job finish whose model nobody holds, and a process end whose models nobody closed", () => {
    const result = run(`
      const answer = await (async () => {
        const job = (await Reranker.load(tiny)).computeScore(many.slice(0, 100));
        await collect();
        return job;
      })();
      for (let i = 0; i < 5; i++) { await Reranker.load(tiny, { keepAliveMs: i }); await collect(); }
      console.log(answer.length);`);
    expect(result).toEqual(ends("100\n"));
  });

  it("closes in any order: twice, in mid-job, after a failed load, from a finalizer, by await using", () => {
    const result = run(`
      const r = await Reranker.load(tiny);
      const job = r.computeScore(many.slice(0, 100));
      const closing = [r.dispose(), r.dispose(), r[Symbol.asyncDispose]()];
      const late = await r.computeScore(["a", "b"]).catch((error) => error.code);
      await Promise.all(closing);
      await r.dispose();
      console.log((await job).length, late);

      const abort = new AbortController();
      const loading = Reranker.load(wide, { signal: abort.signal }).catch((error) => error.name);
      await sleep(20);
      abort.abort();
      console.log(await loading);

      let finalized = 0;
      const registry = new FinalizationRegistry((other) => { finalized++; other.dispose(); });
      await (async () => {
        for (let i = 0; i < 4; i++) registry.register(await Reranker.load(tiny), await Reranker.load(tiny, { keepAliveMs: 0 }));
      })();
      for (let i = 0; i < 50 && finalized < 4; i++) await collect();
      console.log(finalized);`);
    expect(result).toEqual(ends("100 CLOSED\nAbortError\n4\n"));
  });
});

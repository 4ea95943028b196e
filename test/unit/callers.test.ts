// What callers hand over: odd options, arrays that change while we compute, progress that fails, values no message may choke on.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { shown } from "../../src/errors.js";
import { describeModel } from "../../src/gguf/model-facts.js";
import {
  Bm25,
  convert,
  evaluate,
  findCheckpoint,
  formatRun,
  inspectModel,
  loadDataset,
  pullModel,
  quantize,
  rank,
  verifyModel,
} from "../../src/index.js";
import { openModel } from "../../src/reranker/load.js";
import type { LoadOptions } from "../../src/reranker/options.js";
import { Reranker } from "../../src/reranker/reranker.js";
import { resolveScoreOptions } from "../../src/reranker/settings.js";
import { type FakeOptions, fakeNative, MODELS } from "./fake-native.js";

const folder = mkdtempSync(join(tmpdir(), "bge-reranker-"));
const file = join(folder, "model.gguf");
writeFileSync(file, "");
afterAll(() => rmSync(folder, { recursive: true }));

async function load(fake: FakeOptions = {}, options: LoadOptions = {}) {
  const native = fakeNative(fake);
  return { ...native, reranker: new Reranker(await openModel(file, options, undefined, native.environment)) };
}

class Options {
  normalize = true;
}
const circular: Record<string, unknown> = {};
circular["self"] = circular;

describe("options", () => {
  it.each([
    ["a Map", new Map([["normalize", true]])],
    ["an array", [true]],
    ["a number", 5],
    ["a text", "normalize"],
    ["a prototype of the caller's", Object.create({ normalize: true })],
    ["an instance", new Options()],
    [
      "a getter",
      {
        get normalize() {
          return true;
        },
      },
    ],
    ["a function", () => ({})],
    ["a Date", new Date()],
  ])("%s is refused by every call that takes some", async (_, options) => {
    const { reranker } = await load();
    const given = options as never;
    await expect(reranker.rerank("q", ["d"], given)).rejects.toThrow(TypeError);
    await expect(reranker.computeScore(["q", "d"], given)).rejects.toThrow(TypeError);
    await expect(load({}, given)).rejects.toThrow(TypeError);
    for (const call of [convert, pullModel, findCheckpoint, loadDataset, verifyModel])
      await expect(call("/nowhere", given)).rejects.toThrow(TypeError);
    await expect(quantize("a", "b", "q8_0", given)).rejects.toThrow(TypeError);
    expect(() => new Bm25(given)).toThrow(TypeError);
    expect(() => evaluate(new Map(), new Map(), given)).toThrow(TypeError);
  });

  it("without a prototype, or of another realm, are plain ones", async () => {
    const { runInNewContext } = await import("node:vm");
    const { reranker } = await load();
    for (const options of [Object.assign(Object.create(null), { topN: 1 }), runInNewContext("({ topN: 1 })")])
      expect(await reranker.rerank("a", ["a", "b"], options)).toHaveLength(1);
  });

  it("beyond the positions are refused when they are resolved", () => {
    const encoder = describeModel(MODELS.encoder, "encoder.gguf");
    const positions = 100;
    expect(() => resolveScoreOptions({ ...encoder, positions }, {}, { maxLength: 101 })).toThrow(
      /`maxLength` to be at most 100, the positions/,
    );
    expect(resolveScoreOptions({ ...encoder, positions }, {}, { maxLength: 100 }).maxLength).toBe(100);
    expect(resolveScoreOptions({ ...encoder, positions: null }, {}, { maxLength: 1e6 }).maxLength).toBe(1e6);
  });
});

describe("arguments", () => {
  it.each<[string, () => unknown]>([
    ["source", () => convert(5 as never)],
    ["source", () => convert("")],
    ["outtype", () => convert("x", { outtype: 8 as never })],
    ["tensorTypes", () => convert("x", { tensorTypes: new Map() as never })],
    ["input", () => quantize(undefined as never, "b", "q8_0")],
    ["type", () => quantize("a", "b", null as never)],
    ["path", () => inspectModel({} as never)],
    ["name", () => pullModel(1 as never)],
    ["folderOrId", () => findCheckpoint(Symbol("x") as never)],
    ["folder", () => loadDataset(1n as never)],
    ["modelNameOrPath", () => verifyModel([] as never)],
    ["k1", () => new Bm25({ k1: "1" as never })],
    ["id", () => new Bm25().add(1 as never, "x")],
    ["text", () => new Bm25().add("a", null as never)],
    ["limit", () => new Bm25().search("x", 1.5)],
    ["run", () => evaluate({} as never, new Map())],
    ["qrels", () => evaluate(new Map(), [] as never)],
    ["run of", () => evaluate(new Map([["q", [1]]]) as never, new Map())],
    ["scores", () => rank([] as never)],
    ["ranking", () => formatRun("q", "x" as never, "t")],
  ])("`%s` is checked at the door", async (name, call) => {
    const failing = async () => call();
    await expect(failing()).rejects.toSatisfy((error: unknown) => error instanceof TypeError || error instanceof RangeError);
    await expect(failing()).rejects.toThrow(`\`${name}`);
  });

  it.each<[string, unknown]>([
    ["a hole", Object.assign([], { 1: "a" })],
    ["a BigInt", [1n]],
    ["a circle", [circular]],
    ["100 MB of text in an object", [{ texts: "x".repeat(1e8) }]],
    ["a proxy that throws", [new Proxy({}, { ownKeys: () => { throw new Error("no keys"); } })]], // biome-ignore format: one line
  ])("documents with %s are refused by number", async (_, documents) => {
    const { reranker } = await load();
    await expect(reranker.rerank("q", documents as never)).rejects.toThrow(/Expected document 0 to be a string/);
  });

  it("that change while we compute are those of the call", async () => {
    const { reranker } = await load();
    const documents = ["aa", "a"];
    const ranking = reranker.rerank("a", documents);
    documents.length = 0;
    expect((await ranking).map(({ document }) => document).sort()).toEqual(["a", "aa"]);
    const pairs: [string, string][] = [["ab", "b"], ["ab", "ab"]]; // biome-ignore format: one line
    const scoring = reranker.computeScore(pairs);
    pairs.pop();
    expect(await scoring).toEqual([1, 2]);
  });
});

describe("onProgress", () => {
  const reason = new Error("mine");

  it("that throws or rejects ends the call with its reason", async () => {
    for (const onProgress of [
      () => Promise.reject(reason),
      () => {
        throw reason;
      },
    ]) {
      // biome-ignore format: one line
      const { reranker } = await load();
      await expect(reranker.rerank("q", ["a", "b"], { onProgress })).rejects.toBe(reason);
      await expect(reranker.computeScore(["q", "a"], { onProgress })).rejects.toBe(reason);
    }
  });

  it("that is still at work when all is done is waited for", async () => {
    const { reranker } = await load();
    let told = 0;
    await reranker.rerank("q", ["a", "b"], {
      onProgress: async () => {
        await new Promise((resolve) => setTimeout(resolve, 20));
        told++;
      },
    });
    expect(told).toBeGreaterThan(0);
  });
});

describe("a value in a message", () => {
  it.each<[unknown, string]>([
    [{ a: 1, b: [null, "x"] }, '{"a":1,"b":[null,"x"]}'],
    [5n, "5n"],
    [circular, '{"self":(itself)}'],
    [new Map(), "Map {}"],
    [[undefined, () => 1], "[undefined,a function]"],
    ["x".repeat(1e6), `"${"x".repeat(76)}...`],
  ])("%#", (value, text) => {
    expect(shown(value)).toBe(text);
  });
});

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openModel } from "../../src/reranker/load.js";
import type { LoadOptions } from "../../src/reranker/options.js";
import { Reranker } from "../../src/reranker/reranker.js";
import { type CacheOptions, cacheKeys, ScoreCache } from "../../src/reranker/score-cache.js";
import { type FakeOptions, fakeNative, MODELS } from "./fake-native.js";

const folder = mkdtempSync(join(tmpdir(), "bge-cache-"));
const file = join(folder, "model.gguf");
writeFileSync(file, "");
afterAll(() => rmSync(folder, { recursive: true }));

async function load(options: LoadOptions = {}, fake: FakeOptions = {}) {
  const native = fakeNative(fake);
  return { ...native, reranker: new Reranker(await openModel(file, options, undefined, native.environment)) };
}

const cache: CacheOptions = { maxEntries: 100 };

describe("equal pairs of a call", () => {
  it("are computed once and answered each", async () => {
    const { reranker, requests } = await load();
    const done: unknown[] = [];
    const pairs: [string, string][] = [["ab", "b"], ["ab", "ab"], ["ab", "b"], ["b", "ab"], ["ab", "ab"]]; // biome-ignore format: one line
    expect(await reranker.computeScore(pairs, { onProgress: (progress) => done.push(progress) })).toEqual([1, 2, 1, 1, 2]);
    expect(requests).toHaveLength(1);
    expect(requests[0]?.pairs).toHaveLength(2 * 3);
    expect(done).toEqual([{ done: 5, total: 5 }]);
    const ranked = await reranker.rerank("ab", ["b", "ab", "b"]);
    expect(ranked.map(({ index, score }) => [index, score])).toEqual([[1, 2], [0, 1], [2, 1]]); // biome-ignore format: one line
  });

  it("keep the scores of each of several layers", async () => {
    const { reranker, requests } = await load(
      {},
      { header: MODELS.layerwise, logit: (_, document, layer) => layer * 10 + document.length },
    );
    const scores = await reranker.computeScore([["q", "a"], ["q", "bb"], ["q", "a"]], { cutoffLayers: [3, 5] }); // biome-ignore format: one line
    expect(scores).toEqual([[34, 35, 34], [54, 55, 54]]); // biome-ignore format: one line
    expect(requests[0]?.pairs).toHaveLength(4);
  });

  it("leave a cascade what it was given", async () => {
    const { reranker, requests } = await load({ cache }, { header: MODELS.layerwise });
    await reranker.rerank("ab", ["a", "a", "ab"], { cascade: [{ layer: 4, keep: 2 }] });
    expect(requests[0]?.pairs).toHaveLength(6);
    expect(reranker.stats().cacheEntries).toBe(0);
  });

  it("do not shift the number of the pair that an error names", async () => {
    const { reranker } = await load({ maxLength: 8, cache });
    await reranker.rerank("q", ["a"]);
    await expect(reranker.rerank("q", ["a", "a", "a", "b".repeat(50)], { overflow: "error" })).rejects.toThrow("Pair 3 does not fit");
  });
});

describe("a cache", () => {
  it("is off unless asked for", async () => {
    const { reranker, requests } = await load();
    await reranker.computeScore(["a", "b"]);
    await reranker.computeScore(["a", "b"]);
    expect(requests).toHaveLength(2);
    expect(reranker.stats()).toMatchObject({ cacheHits: 0, cacheMisses: 0, cacheEntries: 0 });
  });

  it("answers known pairs without the engine, and asks it for the others alone", async () => {
    const logit = (_: string, document: string) => Math.fround(Math.log(document.length) / 3);
    const { reranker, requests } = await load({ cache }, { logit });
    const first = await reranker.rerank("q", ["a", "bb", "cccc"], { normalize: true });
    expect(await reranker.rerank("q", ["a", "bb", "cccc"], { normalize: true })).toEqual(first);
    expect(requests).toHaveLength(1);
    const raw = await reranker.computeScore([["q", "bb"], ["q", "dd"], ["other", "bb"]]); // biome-ignore format: one line
    expect(raw).toEqual([logit("", "bb"), logit("", "dd"), logit("", "bb")]);
    expect(requests[1]?.texts).toEqual(["q", "dd", "other", "bb"]);
    expect(reranker.stats()).toMatchObject({ cacheHits: 4, cacheMisses: 5, cacheEntries: 5 });
  });

  it("tells tokens, cuts and progress of known pairs", async () => {
    const { reranker } = await load({ cache, maxLength: 8 });
    const [first] = await reranker.rerank("q", ["a".repeat(30)]);
    const done: unknown[] = [];
    const [again] = await reranker.rerank("q", ["a".repeat(30)], { onProgress: (progress) => done.push(progress) });
    expect(again).toEqual(first);
    expect(again).toMatchObject({ truncated: true, tokens: 8 });
    expect(done).toEqual([{ done: 1, total: 1 }]);
  });

  it.each<[string, LoadOptions, object]>([
    ["length", {}, { maxLength: 9 }],
    ["query length", {}, { queryMaxLength: 3 }],
    ["special tokens", {}, { parseSpecialTokens: false }],
  ])("knows that another %s is another score", async (_, atLoad, options) => {
    const { reranker, requests } = await load({ cache, ...atLoad });
    await reranker.rerank("q", ["a"]);
    await reranker.rerank("q", ["a"], options);
    expect(requests).toHaveLength(2);
  });

  it("knows cutoff layers, heads and compression apart", async () => {
    const { reranker, requests } = await load({ cache }, { header: MODELS.lightweight });
    const calls = [
      {},
      { cutoffLayers: 5 },
      { cutoffLayers: 5, headSelection: "layer" as const },
      { compressRatio: 2, compressLayers: 3 },
      { prompt: "x" },
    ];
    for (const options of [...calls, ...calls]) await reranker.computeScore(["q", "a"], options);
    expect(requests).toHaveLength(calls.length);
  });

  it("does not mind how the work is cut", async () => {
    const { reranker, requests } = await load({ cache });
    await reranker.computeScore(["q", "a"], { batchSize: 1 });
    await reranker.computeScore(["q", "a"], { batchSize: 7, maxBatchTokens: 100, normalize: true });
    expect(requests).toHaveLength(1);
  });

  it("does not hide a cut from a call that refuses it", async () => {
    const { reranker } = await load({ cache, maxLength: 8 });
    await reranker.rerank("q", ["a".repeat(30)]);
    await expect(reranker.rerank("q", ["a".repeat(30)], { overflow: "error" })).rejects.toMatchObject({ code: "TRUNCATED" });
  });

  it("drops what was not asked for longest", async () => {
    const { reranker, requests } = await load({ cache: { maxEntries: 2 } });
    for (const text of ["a", "b", "a", "c", "a", "b"]) await reranker.computeScore(["q", text]);
    expect(requests.map(({ texts }) => texts[1])).toEqual(["a", "b", "c", "b"]);
    expect(reranker.stats().cacheEntries).toBe(2);
  });

  it("takes a limit in bytes", async () => {
    const { reranker } = await load({ cache: { maxBytes: "1kB" } });
    await reranker.rerank("q", ["a", "b", "c", "d", "e"]);
    expect(reranker.stats().cacheEntries).toBe(3);
  });

  it.each([[{}], [{ maxEntries: 1, maxBytes: 1 }], [{ maxEntries: 0 }], [{ size: 1 }], [true], [{ maxBytes: "many" }]])(
    "refuses %j",
    async (wrong) => {
      await expect(load({ cache: wrong as never })).rejects.toThrow(/cache|maxEntries|maxBytes|size/);
    },
  );
});

it("keeps digests, no texts, and tells where one text ends and the next begins", async () => {
  const keyOf = cacheKeys({ maxLength: 8 } as never);
  expect(keyOf("query", "document")).toMatch(/^[\w-]{22}$/);
  expect(keyOf("ab", "c")).not.toBe(keyOf("a", "bc"));
  expect(keyOf("a", "b")).not.toBe(keyOf("b", "a"));
  const store = await ScoreCache.create({ maxEntries: 1 });
  expect(store.get("x")).toBeUndefined();
});

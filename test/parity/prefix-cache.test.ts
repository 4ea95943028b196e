// What is kept of queries from one batch to the next (prefixCacheSize) must leave no trace in a score: everything here is compared
// to the bit with a model that keeps nothing.
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type LoadOptions, type Pair, Reranker } from "../../src/index.js";
import { goldenGguf } from "../golden.js";

const work = mkdtempSync(path.join(tmpdir(), "bge-prefix-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const load = async (name: string, options: LoadOptions = {}) =>
  Reranker.load(await goldenGguf(name, "f32"), { devices: "cpu", threads: 2, ...options });

const words = (seed: number, count: number) =>
  Array.from(
    { length: count },
    (_, i) => ["panda", "bear", "forest", "river", "stone", "music", "paper", "light"][(seed * 5 + i * (seed % 7)) % 8],
  ).join(" ");
const documents = (seed: number, count: number) =>
  Array.from({ length: count }, (_, i) => `${seed} ${i} ${words(seed + i, 1 + ((i * 13 + seed) % 60))}`);
const pairsOf = (query: string, texts: readonly string[]): Pair[] => texts.map((text): Pair => [query, text]);

// Some begin alike, one is cut, one is as long as a tile of the attention kernel.
const queries = [words(3, 6), words(3, 9), `${words(3, 6)} and more`, words(4, 40), words(5, 190), "?", ""];

const idle = async (reranker: Reranker) => {
  const { prefixCacheHits: hits, prefixCacheMisses: misses, prefixCacheTokens: tokens, prefixCacheBytes: bytes } = reranker.stats();
  return { hits, misses, tokens, bytes };
};

/** Runs the same calls one after the other on both, and compares each. */
async function same(name: string, options: LoadOptions, calls: readonly ((reranker: Reranker) => Promise<unknown>)[]) {
  await using kept = await load(name, options);
  await using none = await load(name, { ...options, prefixCacheSize: 0 });
  expect(none.model.prefixCacheBytes).toBe(0);
  for (const [i, call] of calls.entries()) expect(await call(kept), `call ${i}`).toEqual(await call(none));
  expect(none.stats()).toMatchObject({ prefixCacheHits: 0, prefixCacheMisses: 0, prefixCacheBytes: 0 });
  const stats = await idle(kept);
  expect(stats.bytes).toBeLessThanOrEqual(kept.model.prefixCacheBytes);
  return stats;
}

const models = [
  { name: "gemma-reranker", options: {} },
  { name: "qwen3-reranker", options: {} },
  { name: "qwen3-seqcls-reranker", options: {} },
  { name: "zerank-reranker", options: {} },
  { name: "mxbai-v2-reranker", options: {} },
  { name: "minicpm-layerwise-reranker", options: {} },
  { name: "minicpm-layerwise-reranker", options: { cutoffLayers: [2, 6] } },
  { name: "gemma2-lightweight-reranker", options: {} },
  { name: "gemma2-lightweight-reranker", options: { cutoffLayers: [2, 8], compressRatio: 2, compressLayers: [3] } },
  { name: "gemma2-lightweight-reranker", options: { cutoffLayers: 6, compressRatio: 8, compressLayers: [2, 5], attentionSoftcap: true } },
] as const;

describe.each(models)("the queries of $name, $options", ({ name, options }) => {
  const score =
    (pairs: readonly Pair[], more = {}) =>
    (reranker: Reranker) =>
      reranker.computeScore(pairs, { ...options, ...more });

  it("are kept without a trace", async () => {
    const stats = await same(name, {}, [
      ...queries.flatMap((query, i) => [score(pairsOf(query, documents(i, 3))), score(pairsOf(query, documents(i + 20, 2)))]),
      ...queries.map((query, i) => score(pairsOf(query, documents(i + 40, 1)))),
      score(queries.flatMap((query, i) => pairsOf(query, documents(i + 60, 3)))),
      score(queries.slice(0, 3).flatMap((query, i) => pairsOf(`new ${query}`, documents(i + 80, 2)))),
    ]);
    expect(stats.hits).toBeGreaterThan(queries.length);
    expect(stats.tokens).toBeGreaterThan(100);
    expect(stats.bytes).toBeGreaterThan(0);
  });

  it("are computed once in a call of many batches", async () => {
    const query = queries[3] as string;
    const [pair] = pairsOf(query, ["x"]) as [Pair];
    await using reranker = await load(name);
    const length = reranker.encodePair(...pair).inputIds.length;
    await reranker.computeScore(pairsOf(query, documents(1, 12)), { ...options, maxBatchTokens: length + 40 });
    const { batches, prefixCacheHits, prefixCacheMisses } = reranker.stats();
    expect(batches).toBeGreaterThan(2);
    expect({ prefixCacheHits, prefixCacheMisses }).toEqual({ prefixCacheHits: batches - 1, prefixCacheMisses: 1 });
    const stats = await same(name, { maxBatchTokens: length + 40 }, [
      score(pairsOf(query, documents(1, 12))),
      score(pairsOf(query, documents(2, 12))),
    ]);
    expect(stats.misses).toBe(1);
  });

  it("are kept without a trace beside calls at the same time", async () => {
    const calls = queries.map((query, i) => score(pairsOf(query, documents(i, 4))));
    const stats = await same(
      name,
      {},
      [1, 2].map(() => (reranker: Reranker) => Promise.all(calls.map((call) => call(reranker)))),
    );
    expect(stats.hits).toBeGreaterThan(0);
  });
});

describe.each(models.filter((_, i) => [0, 1, 6, 8].includes(i)))("the queries of $name, $options", ({ name, options }) => {
  it.each([700, 5_000, 60_000])("stay within %i bytes", async (prefixCacheSize) => {
    const score = (pairs: readonly Pair[]) => (reranker: Reranker) => reranker.computeScore(pairs, options);
    const stats = await same(name, { prefixCacheSize, maxBatchTokens: 300 }, [
      ...[0, 1, 4, 0, 3, 2, 0, 6].map((i) => score(pairsOf(queries[i] as string, documents(i, 3)))),
      score(queries.flatMap((query, i) => pairsOf(query, documents(i + 60, 2)))),
    ]);
    expect(stats.bytes).toBeLessThanOrEqual(prefixCacheSize);
  });
});

describe.each(["minicpm-layerwise-reranker", "gemma2-lightweight-reranker"])("cascades of %s", (name) => {
  const query = queries[3] as string;
  const rank = (seed: number, more: object) => (reranker: Reranker) =>
    reranker.rerank(query, documents(seed, 14), { cutoffLayers: 6, ...more });
  const cascade = [{ layer: 2, keep: 9 }, { layer: 4, keep: 3 }]; // biome-ignore format: a table

  it.each([0, 150])("use what is kept at every stage, and keep it, %i tokens at once", async (maxBatchTokens) => {
    const more = { cascade, ...(maxBatchTokens && { maxBatchTokens }) };
    const stats = await same(name, {}, [
      rank(1, more),
      rank(2, more),
      rank(3, {}),
      rank(4, more),
      rank(5, { ...more, cutoffLayers: 5 }),
      rank(6, more),
    ]);
    expect(stats.hits).toBeGreaterThan(2);
    await using reranker = await load(name);
    await rank(1, { cascade })(reranker);
    const before = reranker.stats();
    await rank(2, { cascade })(reranker);
    const after = reranker.stats();
    expect(after.prefixCacheMisses).toBe(before.prefixCacheMisses);
    expect(after.prefixCacheTokens).toBeGreaterThan(before.prefixCacheTokens);
  });

  it.each([5_000, 60_000])("stay within %i bytes", async (prefixCacheSize) => {
    const others = queries.map(
      (other) => (reranker: Reranker) => reranker.rerank(other, documents(9, 6), { cutoffLayers: 6, cascade, maxBatchTokens: 200 }),
    );
    await same(name, { prefixCacheSize }, [...others, ...others, rank(1, { cascade })]);
  });

  it("of several layers and caps, in any order", async () => {
    const options = name.startsWith("gemma2")
      ? [
          { cutoffLayers: 2 },
          { cutoffLayers: 8 },
          { cutoffLayers: 8, attentionSoftcap: true },
          { cutoffLayers: 4, attentionSoftcap: true },
          { cutoffLayers: 8 },
          { cutoffLayers: 3, compressRatio: 4, compressLayers: [2] },
        ]
      : [{ cutoffLayers: 2 }, { cutoffLayers: 6 }, { cutoffLayers: 3 }, { cutoffLayers: 6 }];
    await same(name, {}, options.flatMap((each, i) => [0, 1].map((q) => (reranker: Reranker) => reranker.computeScore(pairsOf(queries[q] as string, documents(i, 4)), each)))); // biome-ignore format: one call each
  });
});

describe("the prefix cache", () => {
  const pairs = (seed: number) => pairsOf(queries[3] as string, documents(seed, 8));

  it("is as large as asked for, and encoders have none", async () => {
    await using usual = await load("gemma-reranker");
    await using small = await load("gemma-reranker", { prefixCacheSize: "1MB" });
    await using limited = await load("gemma-reranker", { prefixCacheSize: "1GB", maxMemory: "100MB" });
    await using encoder = await load("xlmr-reranker");
    expect(usual.model.prefixCacheBytes).toBe(64e6);
    expect(small.model.prefixCacheBytes).toBe(1e6);
    expect(limited.model.prefixCacheBytes).toBeLessThan(25e6);
    expect(limited.model.prefixCacheBytes).toBeGreaterThan(1e6);
    expect((await limited.plan("q", ["d"])).memory.prefixCacheBytes).toBe(limited.model.prefixCacheBytes);
    expect(encoder.model.prefixCacheBytes).toBe(0);
    await expect(load("gemma-reranker", { prefixCacheSize: -1 })).rejects.toThrow(RangeError);
  });

  it("is emptied when weights are released", async () => {
    await using reranker = await load("gemma-reranker", { keepAliveMs: 5 });
    const first = await reranker.computeScore(pairs(1));
    for (let i = 0; i < 500 && reranker.stats().prefixCacheBytes > 0; i++) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(reranker.stats().prefixCacheBytes).toBe(0);
    expect(await reranker.computeScore(pairs(1))).toEqual(first);
  });

  it("is emptied by dispose()", async () => {
    const reranker = await load("gemma-reranker");
    await reranker.computeScore(pairs(1));
    expect(reranker.stats().prefixCacheBytes).toBeGreaterThan(0);
    await reranker.dispose();
    expect(reranker.stats()).toMatchObject({ prefixCacheBytes: 0, prefixCacheMisses: 1 });
  });

  it("takes nothing from a batch that was stopped", async () => {
    await using none = await load("gemma-reranker", { prefixCacheSize: 0 });
    await using reranker = await load("gemma-reranker");
    for (let ms = 0; ms < 12; ms++) {
      const query = `${ms} ${queries[4]}`;
      const call = reranker.computeScore(pairsOf(query, documents(ms, 8)), { signal: AbortSignal.timeout(ms) });
      await call.catch(() => undefined);
      expect(await reranker.computeScore(pairsOf(query, documents(ms, 3)))).toEqual(
        await none.computeScore(pairsOf(query, documents(ms, 3))),
      );
    }
  });

  it("gives nothing once the file has changed", async () => {
    const copy = path.join(work, "changed.gguf");
    copyFileSync(await goldenGguf("gemma-reranker", "f32"), copy);
    await using reranker = await Reranker.load(copy, { devices: "cpu" });
    await reranker.computeScore(pairs(1));
    writeFileSync(copy, "another");
    await expect(reranker.computeScore(pairs(2))).rejects.toMatchObject({ code: "MODEL_CHANGED" });
  });
});

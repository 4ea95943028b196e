// Counters of a real engine, read while it works.
import { afterAll, expect, it } from "vitest";
import { Reranker } from "../../src/reranker/reranker.js";
import { goldenGguf } from "../golden.js";

const idle = { queuedCalls: 0, runningCalls: 0, queuedPairs: 0, queuedTokens: 0, runningPairs: 0, runningTokens: 0 };
const loaded: Reranker[] = [];
afterAll(() => Promise.all(loaded.map((reranker) => reranker.dispose())));

async function load(name = "xlmr-reranker"): Promise<Reranker> {
  const reranker = await Reranker.load(await goldenGguf(name, "f32"), { devices: "cpu", threads: 1 });
  loaded.push(reranker);
  return reranker;
}

it("tells what waits and runs, and returns to nothing", async () => {
  const reranker = await load();
  expect(reranker.stats()).toMatchObject({ ...idle, completedCalls: 0, computedPairs: 0, computeMs: 0 });
  const documents = Array.from({ length: 300 }, (_, i) => `${"a panda eats bamboo ".repeat(20)}${i}`);
  const seen: ReturnType<Reranker["stats"]>[] = [];
  const calls = [0, 1, 2].map((n) => reranker.rerank(`panda ${n}`, documents, { onProgress: () => seen.push(reranker.stats()) }));
  const atOnce = reranker.stats();
  expect(atOnce.queuedCalls + atOnce.runningCalls).toBe(3);
  expect(atOnce.queuedPairs + atOnce.runningPairs).toBeGreaterThan(0);
  expect(atOnce.queuedTokens).toBeGreaterThan(900);
  const ranked = (await Promise.all(calls)).flat();
  expect(seen.some(({ runningCalls }) => runningCalls === 3)).toBe(true);
  for (const { queuedPairs, runningPairs, computedPairs } of seen) expect(queuedPairs + runningPairs + computedPairs).toBe(900);
  const after = reranker.stats();
  const tokens = ranked.reduce((sum, result) => sum + result.tokens, 0);
  expect(after).toMatchObject({ ...idle, completedCalls: 3, failedCalls: 0, abortedCalls: 0, computedPairs: 900, computedTokens: tokens });
  expect(after.batches).toBeGreaterThan(0);
  expect(after.computeMs).toBeGreaterThan(0);
  await reranker.dispose();
  expect(reranker.stats()).toEqual(after);
});

it("forgets what an abort or an error took out", async () => {
  const reranker = await load();
  const documents = Array.from({ length: 2000 }, (_, i) => `${"a panda eats bamboo ".repeat(20)}${i}`);
  const stop = new AbortController();
  const aborted = reranker.rerank("panda", documents, { signal: stop.signal, onProgress: () => stop.abort() });
  await expect(aborted).rejects.toThrow("abort");
  await expect(reranker.rerank("panda", documents, { overflow: "error", maxLength: 20 })).rejects.toMatchObject({ code: "TRUNCATED" });
  await reranker.computeScore(["panda", "bamboo"]); // behind what was under way
  expect(reranker.stats()).toMatchObject({ ...idle, completedCalls: 1, failedCalls: 1, abortedCalls: 1 });
});

it("counts what was cut, and every stage of a cascade", async () => {
  const encoder = await load();
  await encoder.rerank("panda", ["short", "long ".repeat(100)], { maxLength: 32 });
  expect(encoder.stats()).toMatchObject({ truncatedPairs: 1, computedPairs: 2 });
  const layerwise = await load("minicpm-layerwise-reranker");
  const [early, last] = [layerwise.model.cutoffLayers?.[0], layerwise.model.cutoffLayers?.at(-1)] as [number, number];
  const documents = Array.from({ length: 10 }, (_, i) => `document ${i}`);
  await layerwise.rerank("panda", documents, { cascade: [{ layer: early, keep: 3 }], cutoffLayers: [last] });
  expect(layerwise.stats()).toMatchObject({ ...idle, computedPairs: 13, completedCalls: 1 });
});

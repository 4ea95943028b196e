import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openModel } from "../../src/reranker/load.js";
import type { LoadOptions } from "../../src/reranker/options.js";
import { Reranker } from "../../src/reranker/reranker.js";
import { type FakeOptions, fakeNative, MODELS } from "./fake-native.js";

const folder = mkdtempSync(join(tmpdir(), "bge-reranker-"));
const file = join(folder, "model.gguf");
writeFileSync(file, "");
afterAll(() => rmSync(folder, { recursive: true }));

async function load(fake: FakeOptions = {}, options: LoadOptions = {}) {
  const native = fakeNative(fake);
  return { ...native, reranker: new Reranker(await openModel(file, options, undefined, native.environment)) };
}

describe("plan", () => {
  it("tells tokens, cuts and batches, and computes nothing", async () => {
    const { reranker, requests } = await load();
    // One token a character, and four around: <s> q </s></s> d </s>.
    const plan = await reranker.plan("ab", ["x".repeat(10), { text: "y".repeat(100) }, ""], { maxLength: 50, maxBatchTokens: 60 });
    expect(plan.pairs).toEqual([
      { index: 0, tokens: 16, truncated: false, queryTruncated: false },
      { index: 1, tokens: 50, truncated: true, queryTruncated: false },
      { index: 2, tokens: 6, truncated: false, queryTruncated: false },
    ]);
    expect(plan.batches).toEqual([
      { device: "cpu", pairs: 1, tokens: 50 },
      { device: "cpu", pairs: 2, tokens: 22 },
    ]);
    expect(plan).toMatchObject({ totalTokens: 72, computedTokens: 72, truncatedCount: 1, memory: { weightsBytes: 1000 } });
    expect(requests).toEqual([]);
  });

  it("shares documents out over devices and keeps to the batch size", async () => {
    const { reranker } = await load({ devices: ["cpu", "cuda:0"] }, { devices: ["cpu", "cuda:0"] });
    const { batches } = await reranker.plan("q", ["a", "b", "c", "d", "e"], { batchSize: 2 });
    expect(batches.map(({ device, pairs }) => [device, pairs])).toEqual([
      ["cpu", 2],
      ["cpu", 1],
      ["cuda:0", 2],
    ]);
  });

  it("tells the windows of long documents", async () => {
    const { reranker, requests } = await load();
    const long = Array.from({ length: 20 }, (_, i) => `Sentence ${i}. `).join(""); // no two windows alike, which would be computed once
    const { pairs } = await reranker.plan("q", ["Short.", long], { overflow: "chunk", maxLength: 60 });
    expect(pairs[0]).toMatchObject({ index: 0, chunk: { start: 0, end: 6 } });
    expect(pairs.slice(1).every((pair) => pair.index === 1 && !pair.truncated && pair.tokens <= 60)).toBe(true);
    expect(pairs.length).toBeGreaterThan(4);
    await reranker.rerank("q", ["Short.", long], { overflow: "chunk", maxLength: 60 });
    expect((requests[0]?.pairs.length ?? 0) / 2).toBe(pairs.length);
  });

  it("takes no documents, and refuses what rerank refuses", async () => {
    const { reranker } = await load({ header: MODELS.llm });
    expect(await reranker.plan("q", [])).toMatchObject({ pairs: [], batches: [], totalTokens: 0, memory: { workBytes: 0 } });
    await expect(reranker.plan(3 as never, [])).rejects.toThrow(TypeError);
    await expect(reranker.plan("q", ["d"], { topN: 0 })).rejects.toThrow(RangeError);
    await expect(reranker.plan("q", ["d"], { signal: AbortSignal.abort("why") })).rejects.toBe("why");
    await reranker.dispose();
    await expect(reranker.plan("q", ["d"])).rejects.toMatchObject({ code: "CLOSED" });
  });
});

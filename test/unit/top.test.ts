import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type BudgetWork, spendBudget } from "../../src/reranker/budget.js";
import { openModel } from "../../src/reranker/load.js";
import { Reranker } from "../../src/reranker/reranker.js";
import { budgetLayers } from "../../src/reranker/top.js";
import { type FakeOptions, fakeNative, MODELS } from "./fake-native.js";

const folder = mkdtempSync(join(tmpdir(), "bge-top-"));
const file = join(folder, "model.gguf");
writeFileSync(file, "");
afterAll(() => rmSync(folder, { recursive: true }));

async function load(fake: FakeOptions = {}) {
  const native = fakeNative(fake);
  return { ...native, reranker: new Reranker(await openModel(file, {}, undefined, native.environment)) };
}

interface Scored {
  readonly hit: number;
  readonly logit: number;
}

/** A clock that moves only while hits are scored: `msPerHit` each, and what a slow group takes more. */
function work(hits: number, budgetMs: number, { msPerHit = 1, layers = [undefined] as (number | undefined)[], slowGroup = -1 } = {}) {
  let time = 0;
  const groups: { hits: readonly number[]; layer: number | undefined }[] = [];
  const budget: BudgetWork<Scored> = {
    sizes: Array.from({ length: hits }, () => 99),
    layers,
    budgetMs,
    now: () => time,
    logitOf: ({ logit }) => logit,
    score: async (group, layer, timeLeftMs) => {
      const takes = group.length * msPerHit * (layer ?? 1) * (groups.length === slowGroup ? 100 : 1);
      groups.push({ hits: group, layer });
      time += Math.min(takes, timeLeftMs ?? takes);
      return timeLeftMs !== undefined && takes > timeLeftMs ? undefined : group.map((hit) => ({ hit, logit: hit }));
    },
  };
  return { budget, groups };
}

describe("spendBudget", () => {
  it("reads all hits when there is time, in the order given", async () => {
    const { budget, groups } = work(100, 1000);
    const { ranked, elapsedMs } = await spendBudget(budget);
    expect(ranked.map(({ hit }) => hit)).toEqual(Array.from({ length: 100 }, (_, i) => 99 - i));
    expect(groups.flatMap(({ hits }) => hits)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(elapsedMs).toBe(100);
  });

  it("stops before the group that would end too late", async () => {
    const { budget } = work(100, 50);
    const { ranked, elapsedMs } = await spendBudget(budget);
    expect(ranked).toHaveLength(50);
    expect(elapsedMs).toBe(50);
  });

  it("reads the first few whatever they take", async () => {
    const { budget } = work(100, 1, { msPerHit: 50 });
    expect((await spendBudget(budget)).ranked.map(({ hit }) => hit)).toEqual([3, 2, 1, 0]);
  });

  it("gives up a group that takes longer than those before", async () => {
    const { budget } = work(100, 60, { slowGroup: 1 });
    const { ranked, elapsedMs } = await spendBudget(budget);
    expect(ranked).toHaveLength(4);
    expect(elapsedMs).toBe(60);
  });

  it("reads shallowly first, then the best deeply", async () => {
    const { budget, groups } = work(100, 200, { layers: [1, 5] });
    const { ranked } = await spendBudget(budget);
    const deep = ranked.filter(({ depth }) => depth === 1).map(({ hit }) => hit);
    expect(groups.filter(({ layer }) => layer === 1).flatMap(({ hits }) => hits)).toHaveLength(100);
    expect(deep).toHaveLength(20); // 100 ms at 5 ms each
    expect(deep[0]).toBe(99); // the best of the shallow pass, not the first of the first stage
    expect(ranked.slice(0, 20).map(({ hit }) => hit)).toEqual(deep);
  });

  it("gives nothing for nothing", async () => {
    expect((await spendBudget(work(0, 10).budget)).ranked).toEqual([]);
  });
});

describe("budgetLayers", () => {
  it("is one for models without layers, two for those with", () => {
    expect(budgetLayers([], undefined)).toEqual([undefined]);
    const minicpm = Array.from({ length: 33 }, (_, i) => i + 8);
    expect(budgetLayers(minicpm, 40)).toEqual([16, 40]);
    expect(budgetLayers(minicpm, 8)).toEqual([8]);
    expect(minicpm).toHaveLength(33);
  });
});

describe("rerankTop", () => {
  const HITS = Array.from({ length: 10 }, (_, i) => ({ body: "abc".slice(0, i % 4), id: i }));

  it("gives the best of what it read, and the hits themselves", async () => {
    const { reranker } = await load();
    const top = await reranker.rerankTop("abc", HITS, { field: "body", keep: 2, budgetMs: 60_000 });
    expect(top.results.map(({ index, document, score }) => [index, document, score])).toEqual([
      [3, HITS[3], 3],
      [7, HITS[7], 3],
    ]);
    expect(top).toMatchObject({ read: 10, readDeeply: 10, rest: [] });
    expect(top.elapsedMs).toBeGreaterThan(0);
  });

  it("reads the first few when time is up before them; the rest come back unread", async () => {
    let answer: (() => void) | undefined;
    const gate = new Promise<void>((resolve) => {
      answer = resolve;
    });
    const { reranker, cancelled } = await load({ gate });
    setTimeout(() => answer?.(), 30);
    const top = await reranker.rerankTop("abc", HITS, { field: "body", keep: 5, budgetMs: 1 });
    expect(top.results.map(({ index }) => index)).toEqual([3, 2, 1, 0]);
    expect(top.rest).toEqual(HITS.slice(4));
    expect(top.read).toBe(4);
    expect(cancelled).toEqual([]);
  });

  it("goes deeper with models that have layers", async () => {
    const { reranker, requests } = await load({ header: MODELS.layerwise, logit: (_, d, layer) => d.length * layer });
    const top = await reranker.rerankTop("q", HITS, { field: "body", keep: 1, budgetMs: 60_000 });
    expect(new Set(requests.map(({ cutoffLayers }) => cutoffLayers[0]))).toEqual(new Set([3, 8]));
    expect(top.results[0]).toMatchObject({ logit: 48 }); // the 6 characters of "B: abc", at layer 8
    expect(top).toMatchObject({ read: 10, readDeeply: 10 });
  });

  it("normalizes and drops as rerank does", async () => {
    const { reranker } = await load();
    const { results } = await reranker.rerankTop("abc", ["abc", "x"], { keep: 9, budgetMs: 60_000, normalize: true, minScore: 0.9 });
    expect(results).toMatchObject([{ index: 0, logit: 3, score: 1 / (1 + Math.exp(-3)) }]);
  });

  it("rejects with the caller's reason", async () => {
    const { reranker } = await load({ gate: new Promise(() => {}) });
    const controller = new AbortController();
    const call = reranker.rerankTop("q", ["a"], { keep: 1, budgetMs: 60_000, signal: controller.signal });
    controller.abort(new Error("enough"));
    await expect(call).rejects.toThrow("enough");
  });

  it.each([
    [{ keep: 0, budgetMs: 1 }, RangeError],
    [{ keep: 1, budgetMs: 0 }, RangeError],
    [{ keep: 1 }, TypeError],
    [undefined, TypeError],
    [{ keep: 1, budgetMs: 1, topN: 1 }, TypeError],
    [{ keep: 1, budgetMs: 1, budget: 1 }, TypeError],
  ])("rejects %j", async (options, error) => {
    const { reranker } = await load();
    await expect(reranker.rerankTop("q", ["a"], options as never)).rejects.toThrow(error);
  });
});

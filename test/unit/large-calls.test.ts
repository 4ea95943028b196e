// Calls of a size that the caller chooses: they go in steps, and others have the thread in between.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { openModel } from "../../src/reranker/load.js";
import { Reranker } from "../../src/reranker/reranker.js";
import { type FakeOptions, fakeNative } from "./fake-native.js";

const folder = mkdtempSync(join(tmpdir(), "bge-large-calls-"));
const file = join(folder, "model.gguf");
writeFileSync(file, "");
afterAll(() => rmSync(folder, { recursive: true }));

async function load(fake: FakeOptions = {}) {
  const native = fakeNative(fake);
  return { ...native, reranker: new Reranker(await openModel(file, {}, undefined, native.environment)) };
}

/** How often others had the thread until the promise settled. */
async function turnsOf(promise: Promise<unknown>): Promise<number> {
  let turns = 0;
  let isOver = false;
  const turn = () => {
    turns++;
    if (!isOver) setImmediate(turn);
  };
  setImmediate(turn);
  await promise.catch(() => undefined);
  isOver = true;
  return turns;
}

const COUNT = 600_000; // so many that a fast machine takes several steps too
const documents = Array.from({ length: COUNT }, (_, i) => `${(i * 7919) % 10_007}`);
const logit = (_: string, document: string) => Number(document) % 1000;

describe("a call of 600,000 documents", () => {
  it("ranks as a sort of all would, and lets others run", async () => {
    const { reranker, requests } = await load({ logit });
    const call = reranker.rerank("q", documents, { topN: 300 });
    expect(await turnsOf(call)).toBeGreaterThan(3);
    const wanted = documents
      .map((document, index) => ({ index, logit: logit("", document) }))
      .sort((a, b) => b.logit - a.logit || a.index - b.index)
      .slice(0, 300);
    expect((await call).map(({ index, logit }) => ({ index, logit }))).toEqual(wanted);
    expect(requests[0]?.texts).toHaveLength(10_008); // each text crosses once
  });

  it("scores pairs in order, each equal one with the same score", async () => {
    const { reranker } = await load({ logit });
    const call = reranker.computeScore(documents.map((document) => ["q", document] as const));
    expect(await turnsOf(call)).toBeGreaterThan(3);
    const scores = await call;
    expect(scores).toHaveLength(COUNT);
    expect(scores.findIndex((score, i) => score !== logit("", documents[i] as string))).toBe(-1);
  });

  it("plans them in steps", async () => {
    const { reranker } = await load();
    const call = reranker.plan("q", documents);
    expect(await turnsOf(call)).toBeGreaterThan(3);
    expect((await call).pairs).toHaveLength(COUNT);
  });

  it("hears an abort before anything is computed", async () => {
    const { reranker, requests } = await load({ logit });
    const stop = new AbortController();
    const call = reranker.rerank("q", documents, { signal: stop.signal });
    setImmediate(() => stop.abort());
    await expect(call).rejects.toThrow("abort");
    expect(requests).toHaveLength(0);
    expect(reranker.stats()).toMatchObject({ queuedCalls: 0, queuedPairs: 0, queuedTokens: 0, abortedCalls: 1 });
  });

  it("is finished by a dispose() that comes while its texts are on their way", async () => {
    const { reranker, closed } = await load({ logit });
    const call = reranker.rerank("q", documents, { topN: 1 });
    const late = Promise.resolve().then(() => reranker.computeScore(["a", "b"]));
    const disposed = reranker.dispose();
    await expect(late).rejects.toMatchObject({ code: "CLOSED" });
    expect((await call)[0]?.logit).toBe(999);
    await disposed;
    expect(closed).toEqual(["cpu"]);
  });

  it("takes no notice of what the caller does to the arrays meanwhile", async () => {
    const { reranker } = await load({ logit });
    const mine = documents.slice();
    const pairs = documents.map((document): [string, string] => ["q", document]);
    const ranking = reranker.rerank("q", mine, { topN: 2 });
    const scoring = reranker.computeScore(pairs);
    mine.fill("0");
    for (const pair of pairs) pair[1] = "0";
    expect((await ranking).map(({ document }) => logit("", document))).toEqual([999, 999]);
    expect((await scoring).slice(0, 3)).toEqual(documents.slice(0, 3).map((document) => logit("", document)));
  });
});

describe("texts of megabytes", () => {
  const large = "a\u{1f43c}".repeat(600_000); // 1.8 million units; no slice of it may split a character

  it("cross in parts and arrive whole", async () => {
    const { reranker, requests } = await load();
    await reranker.rerank("q", ["small", large, "other"]);
    expect(requests[0]?.texts.includes(large)).toBe(true);
    expect(requests[0]?.texts).toHaveLength(4);
  });

  it("are tokenized off the event loop by the asynchronous twins", async () => {
    const { reranker } = await load();
    expect(await reranker.tokenizeAsync("abc")).toEqual(reranker.tokenize("abc"));
    expect(await reranker.encodePairAsync("q", "abc")).toEqual(reranker.encodePair("q", "abc"));
    expect((await reranker.tokenizeAsync(large)).length).toBe(1_200_000);
    await expect(reranker.tokenizeAsync(1 as never)).rejects.toThrow(TypeError);
    await expect(reranker.encodePairAsync("q", 1 as never)).rejects.toThrow(TypeError);
    await reranker.dispose();
    await expect(reranker.tokenizeAsync("abc")).rejects.toMatchObject({ code: "CLOSED" });
  });
});

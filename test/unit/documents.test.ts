import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, expectTypeOf, it } from "vitest";
import { openModel } from "../../src/reranker/load.js";
import type { LoadOptions } from "../../src/reranker/options.js";
import { Reranker } from "../../src/reranker/reranker.js";
import type { RerankResult } from "../../src/reranker/results.js";
import { type FakeOptions, fakeNative, MODELS } from "./fake-native.js";

const folder = mkdtempSync(join(tmpdir(), "bge-documents-"));
const file = join(folder, "model.gguf");
writeFileSync(file, "");
afterAll(() => rmSync(folder, { recursive: true }));

async function load(fake: FakeOptions = {}, options: LoadOptions = {}) {
  const native = fakeNative(fake);
  return { ...native, reranker: new Reranker(await openModel(file, options, undefined, native.environment)) };
}

const HITS = [
  { pageContent: "x", id: 1 },
  { pageContent: "abc", id: 2 },
  { pageContent: "ab", id: 3 },
];

describe("documents of any shape", () => {
  it("are read by a field and come back themselves", async () => {
    const { reranker } = await load();
    const results = await reranker.rerank("abc", HITS, { field: "pageContent" });
    expect(results.map(({ document }) => document)).toEqual([HITS[1], HITS[2], HITS[0]]);
    expect(results[0]?.document).toBe(HITS[1]);
    expectTypeOf(results).toEqualTypeOf<RerankResult<{ pageContent: string; id: number }>[]>();
  });

  it("are read by a function", async () => {
    const { reranker, requests } = await load();
    const results = await reranker.rerank("abc", HITS, { text: (hit) => `${hit.pageContent}${hit.id}`, topN: 1 });
    expect(results[0]?.document.id).toBe(2);
    expect(requests[0]?.texts).toEqual(["abc", "x1", "abc2", "ab3"]);
  });

  it("are planned the same way", async () => {
    const { reranker } = await load();
    expect((await reranker.plan("abc", HITS, { field: "pageContent" })).pairs).toHaveLength(3);
  });

  it.each([
    ["a field that is missing", HITS, { field: "title" }, "document 0 to be an object with a string `title`"],
    ["a field that is no string", HITS, { field: "id" }, "string `id`"],
    ["a field of strings", ["a"], { field: "pageContent" }, "document 0"],
    ["a field that is no name", HITS, { field: 1 }, "`field` to be a string"],
    ["a function that returns none", HITS, { text: (): unknown => 1 }, "`text` to return a string, got `1` for document 0"],
    ["both", HITS, { field: "pageContent", text: (): unknown => "" }, "give one of them"],
    ["neither", HITS, {}, "document 0 to be a string or an object with a string `text`"],
    ["null", [null], {}, "document 0"],
  ])("reject %s", async (_, documents, options, message) => {
    const { reranker } = await load();
    const call = reranker.rerank("q", documents as never, options as never);
    await expect(call).rejects.toThrow(TypeError);
    await expect(call).rejects.toThrow(message);
  });

  it("are checked by the compiler", () => {
    const wrong = async ({ reranker }: { reranker: Reranker }) => {
      // @ts-expect-error no such key
      await reranker.rerank("q", HITS, { field: "title" });
      // @ts-expect-error objects without a text, and no word where it is
      await reranker.rerank("q", HITS);
    };
    expect(wrong).toBeTypeOf("function");
  });
});

describe("minScore", () => {
  it("leaves out what scores less, in the unit of the scores", async () => {
    const { reranker } = await load();
    expect((await reranker.rerank("abc", ["x", "abc", "ab"], { minScore: 2 })).map(({ index }) => index)).toEqual([1, 2]);
    const normalized = await reranker.rerank("abc", ["x", "abc", "ab"], { minScore: 0.9, normalize: true });
    expect(normalized.map(({ index }) => index)).toEqual([1]); // sigmoid(2) = 0.88
    expect(await reranker.rerank("abc", ["x"], { minScore: 1 })).toEqual([]);
  });

  it.each([
    [Number.NaN, RangeError],
    [Number.POSITIVE_INFINITY, RangeError],
    ["0.5", TypeError],
  ])("rejects %s", async (minScore, error) => {
    const { reranker } = await load();
    await expect(reranker.rerank("q", ["d"], { minScore: minScore as number })).rejects.toThrow(error);
  });
});

async function* each<T>(items: readonly T[], ms?: number) {
  for (const item of items) {
    if (ms !== undefined) await sleep(ms);
    yield item;
  }
}

describe("rerank over an async iterable", () => {
  it("gives every result, with its place and document, as groups finish", async () => {
    const { reranker, requests } = await load();
    const documents = Array.from({ length: 150 }, (_, i) => ({ body: "abc".slice(0, i % 4), i }));
    const seen: RerankResult<{ body: string; i: number }>[] = [];
    for await (const result of reranker.rerank("abc", each(documents), { field: "body" })) seen.push(result);
    expect(seen.map(({ index, document }) => [index, document.i])).toEqual(documents.map(({ i }) => [i, i]));
    expect(seen.map(({ score }) => score)).toEqual(documents.map(({ i }) => i % 4));
    expect(requests.length).toBeGreaterThan(1);
    expect(requests.length).toBeLessThan(10);
  });

  it("does not wait for more than is there", async () => {
    const { reranker } = await load();
    let goOn: (() => void) | undefined;
    async function* slow() {
      yield "a";
      await new Promise<void>((resolve) => {
        goOn = resolve;
      });
      yield "b";
    }
    const stream = reranker.rerank("ab", slow());
    expect((await stream.next()).value?.document).toBe("a");
    goOn?.();
    expect((await stream.next()).value?.document).toBe("b");
    expect((await stream.next()).done).toBe(true);
  });

  it("reads no more than a group ahead of its reader", async () => {
    const { reranker } = await load();
    let taken = 0;
    async function* endless() {
      for (;;) {
        taken++;
        yield "a";
      }
    }
    const stream = reranker.rerank("a", endless());
    await stream.next();
    await sleep(20);
    expect(taken).toBeLessThanOrEqual(130);
    await stream.return(undefined);
  });

  it("closes the source when its reader stops, even one that is silent", async () => {
    const { reranker } = await load();
    let closed = false;
    async function* source() {
      try {
        yield* ["a", "b"];
        yield await new Promise<string>(() => {});
      } finally {
        closed = true;
      }
    }
    for await (const { document } of reranker.rerank("a", source())) if (document === "b") break;
    expect(closed).toBe(false); // it waits for ever; nobody else does
    async function* finite() {
      try {
        for (let i = 0; i < 1000; i++) yield "a";
      } finally {
        closed = true;
      }
    }
    for await (const _ of reranker.rerank("a", finite())) break;
    expect(closed).toBe(true);
  });

  it("leaves out what misses minScore and reports progress of what has come", async () => {
    const { reranker } = await load();
    const progress: { done: number; total: number }[] = [];
    const scores: number[] = [];
    const options = { minScore: 2, onProgress: (each: { done: number; total: number }) => progress.push(each) };
    for await (const { score } of reranker.rerank("abc", each(["x", "ab", "abc"]), options)) scores.push(score);
    expect(scores).toEqual([2, 3]);
    expect(progress.at(-1)).toEqual({ done: 3, total: 3 });
  });

  it("passes on the source's error after the results before it", async () => {
    const { reranker } = await load();
    async function* failing() {
      yield "a";
      throw new Error("the cursor broke");
    }
    const seen: string[] = [];
    const read = async () => {
      for await (const { document } of reranker.rerank("a", failing())) seen.push(document);
    };
    await expect(read()).rejects.toThrow("the cursor broke");
    expect(seen).toEqual(["a"]);
  });

  it("ends with the signal's reason, also while the source is silent", async () => {
    const { reranker } = await load();
    const controller = new AbortController();
    async function* silent() {
      yield "a";
      yield await new Promise<string>(() => {});
    }
    const stream = reranker.rerank("a", silent(), { signal: controller.signal });
    await stream.next();
    const next = stream.next();
    controller.abort(new Error("enough"));
    await expect(next).rejects.toThrow("enough");
  });

  it.each(["topN", "cascade"])("rejects %s, which needs all documents", async (name) => {
    const { reranker } = await load({ header: MODELS.layerwise });
    const options = { topN: 1, cascade: [{ layer: 2, keep: 1 }] };
    const stream = reranker.rerank("q", each(["a"]), { [name]: options[name as "topN"] });
    await expect(stream.next()).rejects.toThrow(`\`${name}\` needs all documents at once`);
  });

  it("rejects a document without a text, named by its place", async () => {
    const { reranker } = await load();
    const read = async () => {
      for await (const _ of reranker.rerank("a", each(["a", 1 as never])));
    };
    await expect(read()).rejects.toThrow("Expected document 1 to be a string");
  });
});

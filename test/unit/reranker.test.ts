import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, expectTypeOf, it, vi } from "vitest";
import type { RerankerError } from "../../src/errors.js";
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

describe("computeScore", () => {
  it.each([
    ["a bare string", "abc"],
    ["one text", ["q"]],
    ["three texts", ["q", "p", "x"]],
    ["a third element in a pair", [["q", "p", "x"]]],
    ["a number for a text", [["q", 1]]],
    ["null for a pair", [null]],
    ["a pair after a text", ["q", ["q", "p"]]],
    ["an object", { query: "q" }],
    ["nothing", undefined],
  ])("rejects %s with a TypeError", async (_, pairs) => {
    const { reranker } = await load();
    await expect(reranker.computeScore(pairs as never)).rejects.toThrow(TypeError);
  });

  it("gives [] for []", async () => {
    const { reranker, requests } = await load();
    expect(await reranker.computeScore([])).toEqual([]);
    expect(requests).toEqual([]);
  });

  it("takes one pair, and empty and malformed texts", async () => {
    const { reranker } = await load();
    expect(await reranker.computeScore(["ab", "b"])).toEqual([1]);
    expect(await reranker.computeScore(["", ""])).toEqual([0]);
    expect(await reranker.computeScore([["\ud800", "\ud800"]])).toEqual([1]);
  });

  it("sends equal texts once and keeps the order", async () => {
    const { reranker, requests } = await load();
    const scores = await reranker.computeScore([
      ["ab", "b"],
      ["ab", "ab"],
      ["b", "ab"],
    ]);
    expect(scores).toEqual([1, 2, 1]);
    expect(requests[0]?.texts).toEqual(["ab", "b"]);
    expect([...(requests[0]?.pairs ?? [])]).toEqual([0, 1, 0, 0, 1, 0]);
  });

  it("normalizes in double, without overflow", async () => {
    const logits = [-5.65625, -5.65234375, 1000, -1000];
    const { reranker } = await load({ logit: (_, document) => logits[Number(document)] ?? 0 });
    const pairs = logits.map((_, i): [string, string] => ["", String(i)]);
    expect(await reranker.computeScore(pairs, { normalize: true })).toEqual([0.003483424193080668, 0.003497010252573502, 1, 0]);
  });

  it("gives a list for each of several cutoffs, ascending", async () => {
    const { reranker } = await load({ header: MODELS.layerwise, logit: (_, document, layer) => layer * 10 + document.length });
    expect(await reranker.computeScore([["q", ""]], { cutoffLayers: [6, 2, 6] })).toHaveLength(2);
    const scores = await reranker.computeScore(
      [
        ["q", "p"],
        ["q", "pp"],
      ],
      { cutoffLayers: [6, 2] },
    );
    expect(scores).toEqual([
      [24, 25],
      [64, 65],
    ]);
    expect(await reranker.computeScore([["q", ""]], { cutoffLayers: [4, 4] })).toEqual([43]);
  });

  it("types its result by the cutoffs asked", async () => {
    const { reranker } = await load({ header: MODELS.layerwise });
    const layers: number[] = [2];
    expectTypeOf(reranker.computeScore(["q", "p"])).resolves.toEqualTypeOf<number[]>();
    expectTypeOf(reranker.computeScore([["q", "p"]], { cutoffLayers: [2], normalize: true })).resolves.toEqualTypeOf<number[]>();
    expectTypeOf(reranker.computeScore([["q", "p"]], { cutoffLayers: [2, 3] })).resolves.toEqualTypeOf<number[][]>();
    expectTypeOf(reranker.computeScore([["q", "p"]], { cutoffLayers: layers })).resolves.toEqualTypeOf<number[] | number[][]>();
    const [result] = await reranker.rerank("q", [{ text: "p", id: 7 }]);
    expect(result?.document.id satisfies number | undefined).toBe(7);
  });

  it.each([[[]], [1], [9], [[2, 9]], [-1]])("rejects cutoffs %j, naming the range", async (cutoffLayers) => {
    const { reranker } = await load({ header: MODELS.layerwise });
    const scores = reranker.computeScore(["q", "p"], { cutoffLayers } as never);
    await expect(scores).rejects.toThrow(RangeError);
    await expect(scores).rejects.toThrow("integers from 2 to 8");
  });

  it("picks heads by layer, or by rank where the class does", async () => {
    const layerwise = await load({ header: MODELS.layerwise });
    await layerwise.reranker.computeScore(["q", "p"], { cutoffLayers: [8, 3] });
    expect([...(layerwise.requests[0]?.heads ?? [])]).toEqual([1, 6]);
    const lightweight = await load({ header: MODELS.lightweight });
    await lightweight.reranker.computeScore(["q", "p"], { cutoffLayers: [8, 3] });
    await lightweight.reranker.computeScore(["q", "p"], { cutoffLayers: [8, 3], headSelection: "layer" });
    await lightweight.reranker.computeScore(["q", "p"]);
    expect(lightweight.requests.map(({ heads }) => [...heads])).toEqual([[0, 1], [1, 6], [0]]);
  });

  it("never returns a logit that is not finite", async () => {
    for (const logit of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const { reranker } = await load({ logit: () => logit });
      await expect(reranker.computeScore(["q", "p"])).rejects.toMatchObject({ code: "COMPUTE_FAILED" });
    }
  });

  it("keeps the caller's stack and the native code", async () => {
    const { reranker } = await load({ failWith: { code: "INPUT_TOO_LONG", message: "too long" } });
    async function theCallersFunction() {
      await reranker.computeScore(["q", "p"]);
    }
    const error = await theCallersFunction().catch((reason: RerankerError) => reason);
    expect(error).toMatchObject({ name: "RerankerError", code: "INPUT_TOO_LONG", message: "too long" });
    expect((error as Error).stack).toContain("theCallersFunction");
    expect((error as Error).cause).toBeInstanceOf(Error);
  });

  it("shares pairs out over devices and joins the answers", async () => {
    const { reranker, requests } = await load(
      { header: MODELS.layerwise, devices: ["cpu", "cuda:0"], logit: (_, document, layer) => layer * 10 + Number(document.slice(-1)) },
      { devices: ["cpu", "cuda:0"] },
    );
    const onProgress = vi.fn();
    const pairs = ["1", "2", "3"].map((document): [string, string] => ["q", document]);
    expect(await reranker.computeScore(pairs, { cutoffLayers: [2, 3], onProgress })).toEqual([
      [21, 22, 23],
      [31, 32, 33],
    ]);
    expect(requests.map(({ pairs: part }) => part.length / 2)).toEqual([2, 1]);
    expect(onProgress).toHaveBeenLastCalledWith({ done: 3, total: 3 });
  });

  it("names the device that failed", async () => {
    const devices = ["cpu", "cuda:0"];
    const { reranker } = await load({ devices, failWith: { code: "OUT_OF_MEMORY", message: "no room" } }, { devices });
    const pairs = ["1", "2"].map((document): [string, string] => ["q", document]);
    await expect(reranker.computeScore(pairs)).rejects.toMatchObject({ code: "OUT_OF_MEMORY", message: "On cpu: no room" });
  });

  it("rejects with the error that onProgress throws", async () => {
    const { reranker, cancelled } = await load();
    const mine = new Error("mine");
    const scores = reranker.computeScore(["q", "p"], {
      onProgress: () => {
        throw mine;
      },
    });
    await expect(scores).rejects.toBe(mine);
    expect(cancelled).toEqual(["cpu"]);
  });
});

describe("abort", () => {
  it("rejects at once with the reason of a signal aborted before", async () => {
    const { reranker, requests } = await load();
    const reason = new Error("no more");
    await expect(reranker.computeScore(["q", "p"], { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(requests).toEqual([]);
  });

  it("rejects and cancels the job when the signal aborts", async () => {
    const { reranker, cancelled } = await load({ gate: new Promise(() => {}) });
    const controller = new AbortController();
    const ranking = reranker.rerank("q", ["p"], { signal: controller.signal });
    setTimeout(() => controller.abort("reason"), 5);
    await expect(ranking).rejects.toBe("reason");
    expect(cancelled).toEqual(["cpu"]);
  });
});

describe("rerank", () => {
  it.each([
    ["a query that is no string", [1, ["d"]]],
    ["documents that are no array", ["q", "d"]],
    ["a document that is no text", ["q", ["d", 3]]],
    ["a document without text", ["q", [{ body: "d" }]]],
  ])("rejects %s with a TypeError", async (_, [query, documents]) => {
    const { reranker } = await load();
    await expect(reranker.rerank(query as never, documents as never)).rejects.toThrow(TypeError);
  });

  it("ranks best first, ties in the order given, and returns your objects", async () => {
    const { reranker } = await load();
    const documents = [{ text: "x" }, { text: "ab", id: 7 }, { text: "y" }, { text: "a" }];
    const results = await reranker.rerank("ab", documents);
    expect(results.map(({ index }) => index)).toEqual([1, 3, 0, 2]);
    expect(results[0]).toMatchObject({ score: 2, logit: 2, tokens: 8, truncated: false });
    expect(results[0]?.document).toBe(documents[1]);
    expect(await reranker.rerank("ab", documents, { topN: 1, normalize: true })).toMatchObject([
      { index: 1, logit: 2, score: 1 / (1 + Math.exp(-2)) },
    ]);
    expect(await reranker.rerank("q", [])).toEqual([]);
  });

  it("reports what was cut, or refuses it", async () => {
    const { reranker } = await load({}, { maxLength: 16 });
    const results = await reranker.rerank("abc", ["a", "b".repeat(50)]);
    expect(results.map(({ truncated, queryTruncated, tokens }) => ({ truncated, queryTruncated, tokens }))).toEqual([
      { truncated: false, queryTruncated: false, tokens: 8 },
      { truncated: true, queryTruncated: false, tokens: 16 },
    ]);
    await expect(reranker.rerank("abc", ["b".repeat(50)], { overflow: "error" })).rejects.toMatchObject({ code: "TRUNCATED" });
    expect(await reranker.rerank("q".repeat(30), ["a"])).toMatchObject([{ truncated: true, queryTruncated: true }]);
  });

  it("ranks by one layer only", async () => {
    const { reranker } = await load({ header: MODELS.layerwise });
    await expect(reranker.rerank("q", ["d"], { cutoffLayers: [2, 3] as never })).rejects.toThrow("computeScore()");
  });

  it("keeps the best of each stage of a cascade", async () => {
    const { reranker, requests } = await load({
      header: MODELS.lightweight,
      logit: (_, document, layer) => Number(document.slice(-1)) * (layer === 4 ? 1 : -1),
    });
    const results = await reranker.rerank("q", ["1", "2", "3", "4"], { cascade: [{ layer: 4, keep: 2 }] });
    expect(results.map(({ index, logit }) => [index, logit])).toEqual([
      [2, -3],
      [3, -4],
    ]);
    expect([...(requests[0]?.cutoffLayers ?? [])]).toEqual([4, 8]);
    expect([...(requests[0]?.heads ?? [])]).toEqual([0, 0]); // what either layer alone would read
  });

  it.each([
    [[{ layer: 8, keep: 2 }], "below the last cutoff"],
    [[{ layer: 1, keep: 2 }], "integers from 2 to 8"],
    [
      [
        { layer: 3, keep: 2 },
        { layer: 5, keep: 3 },
      ],
      "fewer documents",
    ],
    [[{ layer: 3, keep: 0 }], "at least 1"],
  ])("rejects the cascade %j", async (cascade, message) => {
    const { reranker } = await load({ header: MODELS.layerwise });
    await expect(reranker.rerank("q", ["d"], { cascade })).rejects.toThrow(message);
  });

  it("chunks long documents at sentences and reports the best window", async () => {
    const { reranker, requests } = await load({}, { maxLength: 40 });
    const text = "One thing is here. Another one there. The answer is zebra. And then the end.";
    const [result] = await reranker.rerank("z", [text, "short"], { overflow: "chunk" });
    expect(result).toMatchObject({ index: 0, truncated: false });
    const { start = 0, end = 0, count } = result?.chunk ?? {};
    expect(text.slice(start, end)).toContain("zebra");
    expect(count).toBeGreaterThan(1);
    expect(requests[0]?.texts.every((each) => each.length <= 35)).toBe(true);
  });

  it("covers a text without sentences or spaces, whole characters only, up to the cap", async () => {
    const { reranker } = await load({ logit: (_, document) => (document.includes("X") ? 1 : 0) }, { maxLength: 20 });
    const text = `${"😀".repeat(100)}X`;
    const [whole] = await reranker.rerank("q", [text], { overflow: "chunk", maxChunks: 100, chunkOverlap: 0 });
    expect(whole).toMatchObject({ logit: 1, truncated: false });
    expect(encodeURIComponent(text.slice(whole?.chunk?.start))).toBeTruthy(); // throws at half a character
    const [capped] = await reranker.rerank("q", [text], { overflow: "chunk", maxChunks: 2 });
    expect(capped).toMatchObject({ logit: 0, truncated: true });
  });
});

describe("tokens", () => {
  it("tokenizes without instruction or special tokens", async () => {
    const { reranker } = await load({ header: MODELS.llm });
    expect([...reranker.tokenize("hi")]).toEqual([104, 105]);
    expect(() => reranker.tokenize(5 as never)).toThrow(TypeError);
  });

  it("encodes a pair with all that is around it", async () => {
    const { reranker } = await load();
    expect(reranker.encodePair("ab", "c")).toMatchObject({ truncated: false, queryTruncated: false, documentTruncated: false });
    expect(reranker.encodePair("ab", "c").inputIds).toHaveLength(7);
    expect(reranker.encodePair("ab", "c".repeat(20), { maxLength: 10 })).toMatchObject({ truncated: true, documentTruncated: true });
    expect(() => reranker.encodePair("ab", "c", { normalize: true } as never)).toThrow("computeScore() and rerank()");
  });

  it("puts the instructions of the class, the file or the caller before the texts", async () => {
    const texts = async (fake: FakeOptions, options: LoadOptions) => {
      const { reranker, requests } = await load(fake, options);
      await reranker.computeScore(["q", "p"]);
      return requests[0]?.texts;
    };
    expect(await texts({}, {})).toEqual(["q", "p"]);
    expect(await texts({ header: MODELS.llm }, {})).toEqual(["A: q", "B: p"]);
    expect(await texts({ header: MODELS.llm }, { queryInstructionForRerank: null, passageInstructionForRerank: undefined })).toEqual([
      "q",
      "B: p",
    ]);
    expect(await texts({}, { queryInstructionForRerank: "I", queryInstructionFormat: "<{{{0}}}>\\n{1}{0}" })).toEqual(["<{I}>\nqI", "p"]);
    expect(await texts({}, { queryInstructionFormat: "[{}] {}" })).toEqual(["q", "p"]);
  });
});

describe("dispose", () => {
  it("is idempotent, waits for the model and closes every call", async () => {
    let open = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const { reranker, closed } = await load({ gate });
    const scores = reranker.computeScore(["q", "q"]);
    const first = reranker.dispose();
    expect(reranker.dispose()).toBe(first);
    expect(closed).toEqual([]);
    open();
    await first;
    expect(await scores).toEqual([1]);
    expect(closed).toEqual(["cpu"]);
    await expect(reranker.computeScore(["q", "p"])).rejects.toMatchObject({ code: "CLOSED" });
    await expect(reranker.rerank("q", ["p"])).rejects.toMatchObject({ code: "CLOSED" });
    await expect(reranker.computeScore([])).rejects.toMatchObject({ code: "CLOSED" });
    expect(() => reranker.tokenize("q")).toThrow("disposed");
    expect(() => reranker.encodePair("q", "p")).toThrow("disposed");
  });

  it("happens at the end of `await using`", async () => {
    const { reranker, closed } = await load();
    await reranker[Symbol.asyncDispose]();
    expect(closed).toEqual(["cpu"]);
  });
});

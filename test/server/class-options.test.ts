// The options of each class by their names in the API: the scores of the library, and nothing ignored.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Reranker, type RerankOptions } from "../../src/index.js";
import { createHandler, type Handler } from "../../src/server/index.js";
import { goldenGguf } from "../golden.js";
import { post } from "./rerank.js";

const MODELS = {
  m3: "xlmr-m3-reranker",
  gemma: "gemma-reranker",
  minicpm: "minicpm-layerwise-reranker",
  light: "gemma2-lightweight-reranker",
  qwen: "qwen3-reranker",
} as const;
type Name = keyof typeof MODELS;

const QUERY = "which river runs through the town?";
const DOCUMENTS = Array.from({ length: 12 }, (_, i) => `sentence ${i} about a river and ${"the old town ".repeat(i % 5)}by the bridge`);

const rerankers = {} as Record<Name, Reranker>;
let handler: Handler;

beforeAll(async () => {
  for (const [name, checkpoint] of Object.entries(MODELS))
    rerankers[name as Name] = await Reranker.load(await goldenGguf(checkpoint, "f32"), { devices: "cpu" });
  handler = createHandler({ models: rerankers });
});

afterAll(async () => {
  await handler.close();
  for (const reranker of Object.values(rerankers)) await reranker.dispose();
});

const ask = (model: Name, fields: object) =>
  post(handler, "/v1/rerank", { model, query: QUERY, documents: DOCUMENTS, return_details: true, ...fields });
const layersOf = (name: Name) => rerankers[name].model.cutoffLayers;

test.each<[Name, (layers: readonly number[]) => object, (layers: readonly number[]) => RerankOptions]>([
  ["m3", () => ({}), () => ({})],
  ["m3", () => ({ max_length: 24, query_max_length: 6 }), () => ({ maxLength: 24, queryMaxLength: 6 })],
  ["m3", () => ({ maxLength: 24, batchSize: 3 }), () => ({ maxLength: 24, batchSize: 3 })],
  ["qwen", () => ({ instruct: "Find the river." }), () => ({ instruction: "Find the river." })],
  ["m3", () => ({ truncation: "longest_first", max_length: 16 }), () => ({ truncation: "longest_first", maxLength: 16 })],
  [
    "m3",
    () => ({ overflow: "chunk", max_length: 24, chunk_overlap: 0.25, max_chunks: 3 }),
    () => ({ overflow: "chunk", maxLength: 24, chunkOverlap: 0.25, maxChunks: 3 }),
  ],
  ["m3", () => ({ max_chunks_per_doc: 3, max_length: 24 }), () => ({ overflow: "chunk", maxLength: 24, maxChunks: 3 })],
  ["gemma", () => ({ prompt: "Is B about A?" }), () => ({ prompt: "Is B about A?" })],
  ["minicpm", (layers) => ({ cutoff_layers: [layers[0]] }), (layers) => ({ cutoffLayers: layers[0] ?? 0 })],
  ["minicpm", (layers) => ({ cutoffLayers: layers[1] }), (layers) => ({ cutoffLayers: layers[1] ?? 0 })],
  [
    "minicpm",
    (layers) => ({ cascade: [{ layer: layers[0], keep: 5 }], top_n: 2 }),
    (layers) => ({ cascade: [{ layer: layers[0] ?? 0, keep: 5 }], topN: 2 }),
  ],
  [
    "light",
    (layers) => ({ cutoff_layers: layers[2], compress_ratio: 2, compress_layers: [1] }),
    (layers) => ({ cutoffLayers: layers[2] ?? 0, compressRatio: 2, compressLayers: [1] }),
  ],
  [
    "light",
    (layers) => ({ cutoff_layers: layers[1], head_selection: "layer", attention_softcap: "true" }),
    (layers) => ({ cutoffLayers: layers[1] ?? 0, headSelection: "layer", attentionSoftcap: true }),
  ],
])("%s %#", async (name, fields, options) => {
  const layers = layersOf(name);
  const { status, body } = await ask(name, { ...fields(layers), raw_scores: true });
  expect(body.message).toBeUndefined();
  expect(status).toBe(200);
  const expected = await rerankers[name].rerank(QUERY, DOCUMENTS, { normalize: false, ...options(layers) });
  expect(body.results).toEqual(
    expected.map(({ index, score, logit, tokens, truncated, queryTruncated, chunk }) => ({
      index, relevance_score: score, logit, tokens, truncated, query_truncated: queryTruncated, ...(chunk && { chunk }),
    })), // biome-ignore format: one row
  );
  expect(body.results.length).toBeGreaterThan(0);
});

describe("what the model does not have, or not so", () => {
  test.each<[Name, object, string]>([
    ["m3", { cutoff_layers: [1] }, "cutoff_layers"],
    ["m3", { prompt: "x" }, "prompt"],
    ["gemma", { compress_ratio: 2 }, "compress_ratio"],
    ["minicpm", { compress_layers: [1] }, "compress_layers"],
    ["minicpm", { cutoff_layers: [99] }, "cutoff_layers"],
    ["minicpm", { cutoff_layers: [] }, "cutoff_layers"],
    ["minicpm", { cutoff_layers: "all" }, "cutoff_layers"],
    ["light", { compress_layers: [99], compress_ratio: 2 }, "compress_layers"],
    ["light", { head_selection: "last" }, "head_selection"],
    ["minicpm", { cascade: [{ layer: 1 }] }, "cascade"],
    ["minicpm", { cascade: "fast" }, "cascade"],
  ])("%s %j", async (name, fields, param) => {
    const { status, body } = await ask(name, fields);
    expect(status).toBe(400);
    expect(body.error.param).toContain(param);
    expect(body.message).not.toMatch(/cutoffLayers|compressLayers|compressRatio/);
  });

  test("TEI is told in its own way", async () => {
    const { status, body } = await post(handler, "/rerank", { model: "m3", query: QUERY, texts: DOCUMENTS, cutoff_layers: [2] });
    expect(status).toBe(400);
    expect(body).toEqual({ error: expect.stringContaining("cutoff_layers"), error_type: "validation" });
  });
});

test("results below min_score are left out, and counted all the same", async () => {
  const all = (await ask("m3", {})).body;
  const middle = all.results[5].relevance_score;
  const { body } = await ask("m3", { min_score: middle });
  expect(body.results).toEqual(all.results.slice(0, 6));
  expect(body.usage).toEqual(all.usage);
});

describe("lengths", () => {
  const long = "river ".repeat(1200);

  test("max_tokens_per_doc keeps the first tokens of each document", async () => {
    const { tokens } = (await ask("m3", { documents: [""] })).body.results[0];
    const { body, headers } = await ask("m3", { documents: [long, "river"], max_tokens_per_doc: 5 });
    const [cut, whole] = [0, 1].map((index) => body.results.find((each: { index: number }) => each.index === index));
    expect(cut.truncated).toBe(true);
    expect(whole.truncated).toBe(false);
    expect(cut.tokens).toBeLessThanOrEqual(tokens + 5);
    expect(cut.tokens).toBeGreaterThan(tokens + 2);
    expect(headers.get("x-truncated-documents")).toBe("1");
    expect(body.meta.warnings[0]).toContain("1 of 2 documents");
  });

  test("max_tokens_per_query cuts the query", async () => {
    const { body } = await ask("m3", { query: long, documents: ["river"], max_tokens_per_query: 4 });
    expect(body.results[0].tokens).toBeLessThan(15);
    expect(body.results[0].truncated).toBe(true);
  });

  test("a text cut at the left keeps its end", async () => {
    const end = `${"filler words ".repeat(1000)}the river at the end`;
    const ask = async (document: string, side: string) =>
      (
        await post(handler, "/rerank", {
          model: "m3",
          query: QUERY,
          documents: [document],
          truncation_direction: side,
          return_details: true,
        })
      ).body.results[0];
    const [one, other] = [await ask(`a river ${end}`, "Left"), await ask(`nothing of the kind ${end}`, "left")];
    expect(one).toEqual(other);
    expect(one).toMatchObject({ truncated: true, query_truncated: false });
    expect(one.tokens).toBeGreaterThan(rerankers.m3.model.maxLength - 5);
    expect((await ask(`a river ${end}`, "Right")).logit).not.toBe(one.logit);
  });

  test("cutting is a refusal when asked so, naming the document", async () => {
    for (const fields of [{ truncation: false }, { truncate: false }, { truncate: "NONE" }, { overflow: "error" }]) {
      const { status, body } = await ask("m3", { documents: ["a", "b", long], ...fields });
      expect(status).toBe(400);
      expect(body.message).toContain("2");
    }
  });

  test("a cut is told to Cohere's clients, not to Infinity's, which stumble over it", async () => {
    const plain = { model: "m3", query: QUERY, documents: [long] };
    expect((await post(handler, "/rerank", plain)).body.meta.warnings).toHaveLength(1);
    expect((await post(handler, "/rerank", { ...plain, raw_scores: false })).body.meta).not.toHaveProperty("warnings");
    expect((await post(handler, "/rerank", { ...plain, raw_scores: false, return_details: true })).body.meta.warnings).toHaveLength(1);
  });
});

test.each<[Name]>([["m3"], ["gemma"]])("%s takes another instruction for a call", async (name) => {
  const ask1 = await ask(name, { query_instruction: "Find: ", passage_instruction: "Text: ", raw_scores: true });
  expect(ask1.status).toBe(200);
  const loaded = await Reranker.load(rerankers[name].model.path, {
    devices: "cpu",
    queryInstructionForRerank: "Find: ",
    passageInstructionForRerank: "Text: ",
  });
  const expected = await loaded.rerank(QUERY, DOCUMENTS);
  await loaded.dispose();
  expect(ask1.body.results.map((each: { logit: number }) => each.logit)).toEqual(expected.map(({ logit }) => logit));
  const usual = await ask(name, { raw_scores: true });
  expect(usual.body.results[0].logit).toBe((await rerankers[name].rerank(QUERY, DOCUMENTS))[0]?.logit);
});

test("large requests are cut into slices and come out whole", async () => {
  const documents = Array.from({ length: 300 }, (_, i) => `${DOCUMENTS[i % DOCUMENTS.length]} ${i}`);
  const { body } = await ask("m3", { documents, raw_scores: true });
  const expected = await rerankers.m3.rerank(QUERY, documents);
  expect(body.results.map((each: { index: number; logit: number }) => [each.index, each.logit])).toEqual(
    expected.map(({ index, logit }) => [index, logit]),
  );
  expect(body.usage.prompt_tokens).toBe(expected.reduce((sum, { tokens }) => sum + tokens, 0));
});

test("equal documents are computed once, whatever slice they stand in, and all are answered", async () => {
  const documents = Array.from({ length: 400 }, (_, i) => DOCUMENTS[i % DOCUMENTS.length] ?? "");
  const before = rerankers.m3.stats().computedPairs;
  const { body } = await ask("m3", { documents });
  expect(rerankers.m3.stats().computedPairs - before).toBe(DOCUMENTS.length);
  expect(body.results.map(({ index }: { index: number }) => index).sort((a: number, b: number) => a - b)).toEqual(
    documents.map((_, i) => i),
  );
  const once = (await ask("m3", {})).body;
  expect(body.results[0].relevance_score).toBe(once.results[0].relevance_score);
});

test("an error names a document by its place in the request", async () => {
  const documents = [...Array.from({ length: 300 }, (_, i) => `${DOCUMENTS[0]} ${i}`), "word ".repeat(9000)];
  const { status, body } = await ask("m3", { documents, overflow: "error" });
  expect(status).toBe(400);
  expect(body.message).toMatch(/^Document 300: /);
});

test("top_n of pairs takes the best and keeps their order", async () => {
  const { body } = await post(handler, "/score", { model: "m3", text_1: QUERY, text_2: DOCUMENTS, top_n: 3 });
  const best = (await ask("m3", { top_n: 3 })).body.results.map(({ index }: { index: number }) => index);
  expect(body.data.map(({ index }: { index: number }) => index)).toEqual(best.sort((a: number, b: number) => a - b));
});

test("a calibrated model answers probabilities, whoever asks for 0 to 1, and logits to who asks for them", async () => {
  const { path, name } = rerankers.m3.model;
  const curve = { kind: "platt", slope: 3, intercept: 0.5 } as const;
  const threshold = { logit: 0, score: 0.6, precision: 1, recall: 1, pairs: 1 };
  const calibration = {
    ...({ format: "bge-reranker-calibration", version: 1, model: name, cutoffLayer: null, compressRatio: null } as const),
    ...{ curve, threshold, wantedPrecision: 0.9, pairs: 2, relevantPairs: 1 },
  };
  const calibrated = createHandler({ models: { m3: path }, load: { devices: "cpu", calibration } });
  const expected = (await rerankers.m3.rerank(QUERY, DOCUMENTS)).map(({ logit }) => logit);
  const scores = async (fields: object) =>
    (await post(calibrated, "/rerank", { query: QUERY, documents: DOCUMENTS, ...fields })).body.results.map(
      (each: { relevance_score: number }) => each.relevance_score,
    );
  const probabilities = expected.map((logit) => 1 / (1 + Math.exp(-(3 * logit + 0.5))));
  expect(await scores({})).toEqual(probabilities);
  expect(await scores({ raw_scores: false })).toEqual(probabilities);
  expect(await scores({ raw_scores: true })).toEqual(expected);
  const { body } = await post(calibrated, "/rerank", { query: QUERY, documents: DOCUMENTS, return_details: true });
  expect(body.results.map(({ relevant }: { relevant: boolean }) => relevant)).toEqual(expected.map((logit) => logit >= 0));
  await calibrated.close();
});

// Bodies that clients send in forms of their own, and those that no one should have an answer to.
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Reranker } from "../../src/index.js";
import { createHandler, type Handler } from "../../src/server/index.js";
import { post, send } from "./rerank.js";

const QUERY = "what is a panda?";
const DOCUMENTS = ["hi", "The giant panda is a bear.", "pandas eat bamboo"];

let reranker: Reranker;
let handler: Handler;
let scores: number[];
let logits: number[];

beforeAll(async () => {
  reranker = await Reranker.load("default");
  handler = createHandler({ reranker });
  const pairs = DOCUMENTS.map((text): [string, string] => [QUERY, text]);
  scores = await reranker.computeScore(pairs, { normalize: true });
  logits = await reranker.computeScore(pairs);
});

afterAll(async () => {
  await handler.close();
  await reranker.dispose();
});

const rerank = (fields: object, path = "/v1/rerank") => post(handler, path, { query: QUERY, documents: DOCUMENTS, ...fields });
const byIndex = (results: { index: number; relevance_score: number }[]) =>
  [...results].sort((a, b) => a.index - b.index).map((each) => each.relevance_score);

describe("forms", () => {
  test.each<[string, object, number]>([
    ["top_n 0 is all", { top_n: 0 }, 3],
    ["top_n above the list is all", { top_n: 99 }, 3],
    ["top_n as text", { top_n: "2" }, 2],
    ["top_k", { top_k: 1 }, 1],
    ["top_n and an equal top_k", { top_n: 1, top_k: 1 }, 1],
    ["camelCase", { topN: 2 }, 2],
    [
      "null for anything",
      { top_n: null, top_k: null, model: null, max_chunks_per_doc: null, rank_fields: null, cutoff_layers: null, overflow: null },
      3,
    ],
    ["priority and user, whatever they are", { priority: 7, user: { id: 1 } }, 3],
    ["a field nobody knows", { return_len: "true", extra: [1] }, 3],
    ["an empty model", { model: "" }, 3],
    ["another vendor's model", { model: "jina-reranker-v2-base-multilingual" }, 3],
    ["Infinity's default model", { model: "default/not-specified" }, 3],
    ["truncation of Voyage", { truncation: true }, 3],
    ["truncation false with texts that fit", { truncation: false }, 3],
    ["truncate as a word", { truncate: "END" }, 3],
    ["max_tokens_per_doc above what the model reads", { max_tokens_per_doc: 4096 }, 3],
    ["a query in an object", { query: { text: QUERY } }, 3],
  ])("%s", async (_, fields, count) => {
    const { status, body } = await rerank(fields);
    expect(status).toBe(200);
    expect(body.results).toHaveLength(count);
    expect(body.results.map((each: { relevance_score: number }) => each.relevance_score)).toEqual(
      [...scores].sort((a, b) => b - a).slice(0, count),
    );
  });

  test.each<[string, object]>([
    ["raw_scores", { raw_scores: true }],
    ["raw_scores as text", { raw_scores: "true" }],
    ["normalize false", { normalize: false }],
    ["use_activation false", { use_activation: false }],
    ["all of them", { raw_scores: true, normalize: false, use_activation: false }],
  ])("logits for %s", async (_, fields) => {
    expect(byIndex((await rerank(fields)).body.results)).toEqual(logits);
  });

  test("a server of raw scores gives 0 to 1 to who asks", async () => {
    const raw = createHandler({ reranker, rawScores: true });
    const ask = async (fields: object) =>
      byIndex((await post(raw, "/rerank", { query: QUERY, documents: DOCUMENTS, ...fields })).body.results);
    expect(await ask({})).toEqual(logits);
    expect(await ask({ raw_scores: false })).toEqual(scores);
    expect(await ask({ use_activation: true })).toEqual(scores);
  });

  test("documents as texts, as {text}, and by their rank fields in order", async () => {
    const objects = DOCUMENTS.map((text, n) => ({ text, n }));
    expect(byIndex((await rerank({ documents: objects })).body.results)).toEqual(scores);
    const fields = [{ body: "bear.", title: "The giant panda is a", n: 4, gone: null }, "hi"];
    const { body } = await rerank({ documents: fields, rank_fields: ["title", "gone", "missing", "body"], return_documents: true });
    const expected = await reranker.computeScore([[QUERY, "The giant panda is a\nbear."], [QUERY, "hi"]], { normalize: true }); // biome-ignore format: one line
    expect(byIndex(body.results)).toEqual(expected);
    expect(body.results.find(({ index }: { index: number }) => index === 0).document).toEqual({ text: "The giant panda is a\nbear." });
  });

  test.each([
    "/rerank",
    "/v1/rerank",
    "/v2/rerank",
    "/reranking",
    "/v1/reranking",
    "/v1/models/rerank",
    "/score",
    "/v1/score",
    "/predict",
    "//v1//rerank",
    "/v1/rerank/",
  ])("the body decides at %s", async (path) => {
    expect(byIndex((await rerank({}, path)).body.results)).toEqual(scores);
    const tei = await post(handler, path, { query: QUERY, texts: DOCUMENTS });
    expect(tei.body.map(({ score }: { score: number }) => score)).toEqual([...scores].sort((a, b) => b - a));
    const score = await post(handler, path, { text_1: QUERY, text_2: DOCUMENTS });
    expect(score.body.data.map((each: { score: number }) => each.score)).toEqual(scores);
    const predict = await post(handler, path, { inputs: DOCUMENTS.map((text) => [QUERY, text]) });
    expect(predict.body.map((each: { score: number }) => each.score)).toEqual(scores);
  });

  test.each<[string, object, number[]]>([
    ["1:N of text_1", { text_1: QUERY, text_2: DOCUMENTS }, [0, 1, 2]],
    ["1:1 of data_1", { data_1: QUERY, data_2: DOCUMENTS[1] }, [1]],
    ["N:N of queries and documents", { queries: [QUERY, QUERY], documents: [DOCUMENTS[2], DOCUMENTS[0]] }, [2, 0]],
    ["1:N of queries and items", { queries: [QUERY], items: DOCUMENTS }, [0, 1, 2]],
    ["documents that are objects", { queries: QUERY, documents: [{ text: DOCUMENTS[1] }] }, [1]],
  ])("pairs %s", async (_, fields, places) => {
    const { status, body } = await post(handler, "/v1/score", fields);
    expect(status).toBe(200);
    expect(body).toMatchObject({ object: "list", id: expect.any(String), model: "default-reranker-en", created: expect.any(Number) });
    expect(body.data).toEqual(places.map((place, index) => ({ index, object: "score", score: scores[place] })));
    expect(body.usage).toEqual({ prompt_tokens: expect.any(Number), completion_tokens: 0, total_tokens: body.usage.prompt_tokens });
  });

  test("TEI: one pair, raw scores, top_n, its text when asked", async () => {
    expect((await post(handler, "/predict", { inputs: [QUERY, DOCUMENTS[1]], raw_scores: true })).body).toEqual([
      { index: 0, score: logits[1], label: "LABEL_0" },
    ]);
    const { body } = await post(handler, "/rerank", { query: QUERY, texts: DOCUMENTS, top_n: 1, return_text: true, raw_scores: true });
    expect(body).toEqual([{ index: 1, text: DOCUMENTS[1], score: logits[1] }]);
  });

  test("Mixedbread: input when asked, and for langchain-mixedbread always", async () => {
    const ask = (fields: object, headers = {}) =>
      post(handler, "/v1/reranking", { query: QUERY, input: DOCUMENTS, top_k: 1, ...fields }, headers);
    expect((await ask({})).body).toMatchObject({
      object: "list",
      top_k: 1,
      return_input: false,
      data: [{ index: 1, score: scores[1], object: "rank_result" }],
    });
    expect((await ask({})).body.data[0]).not.toHaveProperty("input");
    for (const { body } of [
      await ask({ return_input: true }),
      await ask({ return_input: null }),
      await ask({}, { "x-fern-language": "JavaScript" }),
    ]) {
      expect(body.data[0].input).toBe(DOCUMENTS[1]);
    }
  });

  test.each<[string, RequestInit & { duplex?: "half" }]>([
    ["text/plain", { headers: { "content-type": "text/plain" } }],
    ["no content type", {}],
    ["a form's content type", { headers: { "content-type": "application/x-www-form-urlencoded" } }],
  ])("JSON with %s", async (_, init) => {
    const body = JSON.stringify({ query: QUERY, documents: DOCUMENTS });
    expect((await send(handler, "/rerank", { method: "POST", body: new TextEncoder().encode(body), ...init })).status).toBe(200);
  });

  test("chunks without a length, a byte order mark, gzip", async () => {
    const json = JSON.stringify({ query: QUERY, documents: DOCUMENTS });
    const bytes = new TextEncoder().encode(json);
    const stream = new ReadableStream({ start: (c) => { for (const byte of bytes) c.enqueue(Uint8Array.of(byte)); c.close(); } }); // biome-ignore format: one line
    expect((await send(handler, "/rerank", { method: "POST", body: stream, duplex: "half" })).status).toBe(200);
    expect((await send(handler, "/rerank", { method: "POST", body: `\ufeff${json}` })).status).toBe(200);
    expect((await send(handler, "/rerank", { method: "POST", body: gzipSync(json), headers: { "content-encoding": "gzip" } })).status).toBe(
      200,
    );
  });

  test("texts of every kind come back as they were", async () => {
    const documents = ["", "\ud800", "a\u0000b", "🐼".repeat(3), "line\u2028line", "<script>"];
    const { status, body } = await rerank({ documents, return_documents: true });
    expect(status).toBe(200);
    for (const { index, document } of body.results) expect(document.text).toBe(documents[index]);
  });
});

describe("refusals", () => {
  test.each<[string, object, string]>([
    ["no query", { query: undefined }, "query"],
    ["a number for a query", { query: 5 }, "query"],
    ["no documents", { documents: undefined }, "documents"],
    ["an empty list", { documents: [] }, "documents"],
    ["documents that are a text", { documents: "hi" }, "documents"],
    ["documents that are an object", { documents: { text: "hi" } }, "documents"],
    ["a document without text", { documents: ["hi", { title: "x" }] }, "documents[1]"],
    ["a document that is null", { documents: ["hi", null] }, "documents[1]"],
    ["a document that is a number", { documents: [3] }, "documents[0]"],
    ["a text that is an object", { documents: [{ text: {} }] }, "documents[0]"],
    ["a document without rank fields", { documents: [{ text: "x" }], rank_fields: ["title"] }, "documents[0]"],
    ["a name that objects inherit", { documents: [{ a: 1 }], rank_fields: ["toString"] }, "documents[0]"],
    ["a negative top_n", { top_n: -1 }, "top_n"],
    ["half a top_n", { top_n: 1.5 }, "top_n"],
    ["a word for top_n", { top_n: "many" }, "top_n"],
    ["top_n against top_k", { top_n: 1, top_k: 2 }, "top_k"],
    ["scores that contradict", { raw_scores: true, normalize: true }, "raw_scores"],
    ["a number for a flag", { return_documents: 1 }, "return_documents"],
    ["a model that is a number", { model: 3 }, "model"],
    ["an unknown side", { truncation_direction: "up" }, "truncation_direction"],
    ["an unknown overflow", { overflow: "drop" }, "overflow"],
    ["a cutoff layer for a model without", { cutoff_layers: [3] }, "cutoff_layers"],
    ["compression for a model without", { compress_ratio: 2 }, "compress_ratio"],
    ["a cascade for a model without", { cascade: [{ layer: 2, keep: 1 }] }, "cascade"],
    ["a prompt for a model without", { prompt: "Is it?" }, "prompt"],
    ["too few windows", { overflow: "chunk", max_chunks: 0 }, "max_chunks"],
    ["too much overlap", { overflow: "chunk", chunk_overlap: 2 }, "chunk_overlap"],
    ["the same field twice", { top_n: 1, topN: 2 }, "topN"],
  ])("%s", async (_, fields, param) => {
    const { status, body } = await rerank(fields);
    expect(status).toBe(400);
    expect(body).toEqual({
      message: body.message,
      detail: body.message,
      error: { message: body.message, type: "invalid_request_error", param, code: 400 },
    });
    expect(body.message).not.toMatch(/undefined|\[object/);
  });

  test.each<[string, string]>([
    ["nothing", ""],
    ["no JSON", "{"],
    ["a list", "[]"],
    ["a number", "7"],
    ["null", "null"],
    ["an empty object", "{}"],
  ])("a body that is %s", async (_, body) => {
    const answer = await post(handler, "/v1/rerank", body);
    expect(answer.status).toBe(400);
    expect(answer.body.error.code).toBe(400);
  });

  test("bytes that are not UTF-8, and not gzip", async () => {
    const bytes = Buffer.concat([Buffer.from('{"query":"'), Buffer.from([0xff]), Buffer.from('","documents":["a"]}')]);
    expect((await send(handler, "/rerank", { method: "POST", body: bytes })).status).toBe(400);
    expect((await send(handler, "/rerank", { method: "POST", body: "{}", headers: { "content-encoding": "gzip" } })).status).toBe(400);
    expect((await send(handler, "/rerank", { method: "POST", body: "{}", headers: { "content-encoding": "zip" } })).status).toBe(400);
  });

  test.each<[string, object]>([
    ["no texts", { query: QUERY, texts: [] }],
    ["a number", { query: QUERY, texts: [1] }],
    ["no query", { texts: ["a"] }],
    ["a text that does not fit, uncut", { query: QUERY, texts: ["word ".repeat(2000)], truncate: false }],
    ["one text of a pair", { inputs: [["a"]] }],
    ["no pairs", { inputs: [] }],
  ])("TEI's way: %s", async (_, body) => {
    const answer = await post(handler, "/rerank", body);
    expect(answer.status).toBe(400);
    expect(answer.body).toEqual({ error: expect.any(String), error_type: "validation" });
  });

  test.each<[string, object]>([
    ["one side", { text_1: "a" }],
    ["sides of two names", { text_1: "a", data_2: "b" }],
    ["two pairs of sides", { text_1: "a", text_2: "b", data_1: "a", data_2: "b" }],
    ["2 against 3", { queries: ["a", "b"], documents: ["a", "b", "c"] }],
    ["an empty side", { queries: [], documents: ["a"] }],
  ])("scores of %s", async (_, body) => {
    expect((await post(handler, "/score", body)).status).toBe(400);
  });
});

// What a server will not do, and what it says then.
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Reranker } from "../../src/index.js";
import { createHandler, type HandlerOptions } from "../../src/server/index.js";
import { type Answer, post, send } from "./rerank.js";

let reranker: Reranker;
beforeAll(async () => {
  reranker = await Reranker.load("default");
});
afterAll(() => reranker.dispose());

const serving = (options: HandlerOptions) => createHandler({ reranker, ...options });
const ask = { query: "what is a panda?", documents: ["hi", "a bear"] };

describe("size", () => {
  const small = { maxBody: 1000, maxDocuments: 3 };
  const large = JSON.stringify({ ...ask, documents: ["x".repeat(2000)] });

  test.each<[string, RequestInit & { duplex?: "half" }]>([
    ["that says its length", { body: large, headers: { "content-length": String(large.length) } }],
    ["that does not say it", { body: new TextEncoder().encode(large) }],
    ["that lies about it", { body: new TextEncoder().encode(large), headers: { "content-length": "5" } }],
    ["that unpacks to more", { body: gzipSync(large), headers: { "content-encoding": "gzip" } }],
  ])("a body %s", async (_, init) => {
    const { status, body } = await send(serving(small), "/v1/rerank", { method: "POST", ...init });
    expect(status).toBe(413);
    expect(body.error).toMatchObject({ type: "request_too_large", code: 413 });
  });

  test("a body without end is refused while it arrives", async () => {
    let sent = 0;
    const stream = new ReadableStream({ pull: (controller) => { sent += 500; controller.enqueue(new Uint8Array(500)); } }); // biome-ignore format: one line
    expect((await send(serving(small), "/rerank", { method: "POST", body: stream, duplex: "half" })).status).toBe(413);
    expect(sent).toBeLessThan(5000);
  });

  test("documents", async () => {
    const { status, body } = await post(serving(small), "/rerank", { ...ask, documents: ["a", "b", "c", "d"] });
    expect(status).toBe(413);
    expect(body.message).toContain("4 documents");
    expect((await post(serving(small), "/rerank", { query: "a", texts: ["a", "b", "c", "d"] })).body).toEqual({
      error: body.message,
      error_type: "validation",
    });
    expect((await post(serving(small), "/rerank", { ...ask, documents: ["a", "b", "c"] })).status).toBe(200);
  });
});

describe("keys", () => {
  const handler = () => serving({ apiKey: ["secret", "other"] });
  const status = async (headers: Record<string, string>) => (await post(handler(), "/v1/rerank", ask, headers)).status;

  test.each<[string, Record<string, string>, number]>([
    ["a bearer", { authorization: "Bearer secret" }, 200],
    ["the second key, in small letters", { authorization: "bearer other" }, 200],
    ["x-api-key", { "x-api-key": "secret" }, 200],
    ["a bare key", { authorization: "secret" }, 200],
    ["an empty bearer beside x-api-key", { authorization: "Bearer ", "x-api-key": "secret" }, 200],
    ["none", {}, 401],
    ["an empty bearer", { authorization: "Bearer " }, 401],
    ["a wrong one", { authorization: "Bearer secre" }, 401],
    ["a longer one", { authorization: "Bearer secrets" }, 401],
    ["both at once", { authorization: "Bearer secret other" }, 401],
  ])("%s", async (_, headers, expected) => expect(await status(headers)).toBe(expected));

  test("are asked for before the body is read, and say how", async () => {
    const { status, body, headers } = await post(handler(), "/v1/rerank", "{");
    expect(status).toBe(401);
    expect(body.error).toMatchObject({ type: "authentication_error", code: 401 });
    expect(headers.get("www-authenticate")).toBe("Bearer");
  });

  test("guard models and info; health, metrics, version, page and OpenAPI are open", async () => {
    const of = async (path: string) => (await send(handler(), path)).status;
    for (const path of ["/v1/models", "/models", "/info", "/v1/models/default"]) expect(await of(path), path).toBe(401);
    for (const path of ["/health", "/healthz/live", "/healthz/ready", "/metrics", "/version", "/openapi.json", "/"])
      expect(await of(path), path).toBe(200);
  });

  test("without keys an empty bearer is welcome", async () => {
    expect((await post(serving({}), "/v1/rerank", ask, { authorization: "Bearer " })).status).toBe(200);
  });

  test("that are empty are no keys", () => {
    expect(() => createHandler({ apiKey: "" })).toThrow(TypeError);
  });
});

describe("overload", () => {
  const texts = Array.from({ length: 200 }, (_, i) => `document ${i} about pandas and what they eat when it rains`);

  test("is refused at once, with a time to come again", async () => {
    const handler = serving({ maxQueueTokens: 5000 });
    const answers = await Promise.all(
      Array.from({ length: 20 }, async (_, i): Promise<Answer> => post(handler, "/v1/rerank", { query: `q${i}`, documents: texts })),
    );
    const refused = answers.filter(({ status }) => status === 429);
    expect(answers.every(({ status }) => status === 200 || status === 429)).toBe(true);
    expect(refused.length).toBeGreaterThan(10);
    for (const { headers, body } of refused) {
      const ms = Number(headers.get("retry-after-ms"));
      expect(ms).toBeGreaterThanOrEqual(100);
      expect(ms).toBeLessThanOrEqual(10_000);
      expect(Number(headers.get("retry-after"))).toBe(Math.ceil(ms / 1000));
      expect(body.error).toMatchObject({ type: "rate_limit_error", code: 429 });
    }
    expect(handler.load()).toEqual({ requests: 0, tokens: 0 });
    expect((await post(handler, "/v1/rerank", ask)).status).toBe(200);
  });

  test("speaks TEI to who speaks it", async () => {
    const handler = serving({ maxConcurrent: 1 });
    const [first, second] = await Promise.all([
      post(handler, "/rerank", { query: "a", texts }),
      post(handler, "/rerank", { query: "b", texts }),
    ]);
    expect([first.status, second.status].sort()).toEqual([200, 429]);
    expect([first, second].find(({ status }) => status === 429)?.body).toEqual({ error: expect.any(String), error_type: "overloaded" });
  });

  test("a request that is larger than the queue is taken when nothing else is there", async () => {
    expect((await post(serving({ maxQueueTokens: 10 }), "/rerank", { query: "a", documents: texts })).status).toBe(200);
  });

  test("a request that is not done in time ends, and its place is free again", async () => {
    const handler = serving({ requestTimeout: 30 });
    const long = Array.from({ length: 1000 }, (_, i) => `${i} ${"panda bamboo forest rain ".repeat(50)}`);
    const { status, body } = await post(handler, "/v1/rerank", { query: "a", documents: long });
    expect([504, 429]).toContain(status);
    expect(body.message).toContain("30 ms");
    expect(handler.load()).toEqual({ requests: 0, tokens: 0 });
    expect((await post(serving({}), "/v1/rerank", ask)).status).toBe(200);
  });

  test("a body that does not arrive in time", async () => {
    const stream = new ReadableStream({ start: (controller) => controller.enqueue(new TextEncoder().encode('{"query":')) });
    const { status } = await send(serving({ requestTimeout: 50 }), "/rerank", { method: "POST", body: stream, duplex: "half" });
    expect(status).toBe(400);
  });
});

test("other methods and paths", async () => {
  const handler = serving({});
  const wrong = await send(handler, "/v1/rerank");
  expect(wrong.status).toBe(405);
  expect(wrong.headers.get("allow")).toBe("POST");
  const missing = await send(handler, "/v1/embeddings", { method: "POST", body: "{}" });
  expect(missing.status).toBe(404);
  expect(missing.body.error).toMatchObject({ type: "not_found_error", code: 404 });
});

test.each<[string, unknown]>([
  ["an unknown option", { maxDocument: 5 }],
  ["no documents", { maxDocuments: 0 }],
  ["no time", { requestTimeout: 0 }],
  ["more time than a timer holds", { requestTimeout: "1000h" }],
  ["a body of text", { maxBody: "large" }],
  ["a log of another kind", { log: "xml" }],
  ["two ways to name models", { model: "default", models: ["default"] }],
  ["a model that is none", { models: [5] }],
  ["two models of one name", { models: ["default", "default"] }],
  ["a base path without slash", { basePath: "api" }],
])("options: %s", (_, options) => {
  expect(() => createHandler(options as never)).toThrow(/Expected|Unknown option|Give one|named/);
});

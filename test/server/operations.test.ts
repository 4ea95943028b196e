// What operators see: log lines, request ids, metrics, spans, headers, the OpenAPI document.
import { trace } from "@opentelemetry/api";
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { Validator } from "@seriousme/openapi-schema-validator";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Reranker, version } from "../../src/index.js";
import { createHandler, type HandlerOptions, type LogLine } from "../../src/server/index.js";
import { post, send } from "./rerank.js";

let reranker: Reranker;
beforeAll(async () => {
  reranker = await Reranker.load("default");
});
afterAll(() => reranker.dispose());

const serving = (options: HandlerOptions = {}) => createHandler({ reranker, ...options });
const ask = { query: "secret question", documents: ["secret answer", "secret rumour"] };

describe("log", () => {
  test("one line a request: what, how much, how long, and never a text", async () => {
    const lines: LogLine[] = [];
    const handler = serving({ log: (line) => lines.push(line), apiKey: "key-of-mine" });
    const headers = { authorization: "Bearer key-of-mine", "x-request-id": "abc-123" };
    await post(handler, "/v1/rerank", { ...ask, odd_field: "secret" }, headers);
    await post(handler, "/rerank", { query: "secret", texts: [5, "secret"] }, headers);
    await post(handler, "/rerank", '{"query": "secret', headers);
    await post(handler, "/v1/rerank", { ...ask, overflow: "secret" }, headers);
    await post(handler, "/v1/rerank", { ...ask, documents: ["secret ".repeat(999)], overflow: "error" }, headers);
    await post(handler, "/v1/rerank", ask);
    await send(handler, "/healthz/ready");
    expect(lines[0]).toEqual({
      time: expect.stringMatching(/^\d{4}-/), level: "info", msg: "request", id: "abc-123", method: "POST", path: "/v1/rerank", status: 200,
      bytes: expect.any(Number), dialect: "union", model: "default-reranker-en", documents: 2, tokens: expect.any(Number), truncated: undefined,
      queue_ms: expect.any(Number), compute_ms: expect.any(Number), unknown_fields: ["odd_field"], total_ms: expect.any(Number),
    }); // biome-ignore format: one line
    expect(lines.map(({ status, error, param }) => [status, error, param])).toEqual([
      [200, undefined, undefined],
      [400, "invalid_request_error", "texts[0]"],
      [400, "invalid_request_error", undefined],
      [400, "invalid_request_error", "overflow"],
      [400, "invalid_request_error", undefined],
      [401, "authentication_error", undefined],
    ]);
    expect(JSON.stringify(lines)).not.toMatch(/secret|key-of-mine/);
  });

  test("a refusal for load says why", async () => {
    const lines: LogLine[] = [];
    const handler = serving({ log: (line) => lines.push(line), maxConcurrent: 1 });
    await Promise.all([post(handler, "/rerank", ask), post(handler, "/rerank", ask)]);
    expect(lines.find(({ status }) => status === 429)).toMatchObject({
      level: "warn",
      error: "rate_limit_error",
      reason: expect.stringContaining("--max-concurrent"),
    });
  });
});

describe("request ids", () => {
  test("come back, or are made", async () => {
    const handler = serving();
    expect((await post(handler, "/rerank", ask, { "x-request-id": "mine_1" })).headers.get("x-request-id")).toBe("mine_1");
    const gateway = "Root=1-67.a:b;Parent=5";
    expect((await post(handler, "/rerank", ask, { "x-request-id": gateway })).headers.get("x-request-id")).toBe(gateway);
    for (const given of ["", "a b", 'x"y', "z".repeat(300)]) {
      const { headers } = await post(handler, "/rerank", ask, given ? { "x-request-id": given } : {});
      expect(headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
    }
    const { body, headers } = await post(handler, "/rerank", ask);
    expect(body.id).toContain(headers.get("x-request-id"));
  });
});

describe("metrics", () => {
  test("count what happens, with paths of strangers as one", async () => {
    const handler = serving({ maxConcurrent: 1, maxDocuments: 2 });
    await post(handler, "/v1/rerank", ask);
    await post(handler, "/v1/rerank", { ...ask, documents: ["x ".repeat(1000)] });
    await post(handler, "/v1/rerank", { ...ask, documents: ["a", "b", "c"] });
    await post(handler, "/v1/rerank", "{");
    for (const path of ["/wp-login.php", "/.env", "/v1/models/x", "/v1/models/y"]) await send(handler, path);
    const { body, headers } = await send(handler, "/metrics");
    expect(headers.get("content-type")).toContain("text/plain");
    const values = new Map((body as string).split("\n").flatMap((line) => (/^[a-z]/.test(line) ? [[line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ") + 1))]] : [])) as [string, number][]); // biome-ignore format: one line
    expect(values.get('bge_requests_total{path="/v1/rerank",status="200"}')).toBe(2);
    expect(values.get('bge_requests_total{path="/v1/rerank",status="400"}')).toBe(1);
    expect(values.get('bge_requests_total{path="other",status="404"}')).toBe(2);
    expect(values.get('bge_requests_total{path="/v1/models/{model}",status="404"}')).toBe(2);
    expect(values.get("bge_documents_total")).toBe(3);
    expect(values.get("bge_truncated_total")).toBe(1);
    expect(values.get('bge_refused_total{reason="request_too_large"}')).toBe(1);
    expect(values.get("bge_queue_tokens")).toBe(0);
    expect(values.get("bge_queue_requests")).toBe(0);
    expect(values.get("bge_inference_duration_seconds_count")).toBe(2);
    expect(values.get("bge_queue_duration_seconds_count")).toBe(2);
    expect(values.get('bge_request_duration_seconds_count{path="/v1/rerank"}')).toBe(4);
    expect(values.get("bge_batch_tokens_count")).toBe(2);
    expect(values.get("bge_tokens_total")).toBeGreaterThan(200);
    expect(values.get("bge_cancelled_total")).toBe(0);
    expect(values.get('bge_model_loaded{model="default-reranker-en"}')).toBe(1);
    expect(values.get("process_resident_memory_bytes")).toBeGreaterThan(1e6);
  });

  test("are of one handler each; those of the process can be asked of all", async () => {
    const [one, two] = [serving(), serving()];
    await post(one, "/rerank", ask);
    expect((await send(two, "/metrics")).body).not.toContain('path="/rerank"');
    expect((await send(one, "/metrics")).body).toContain("process_cpu_seconds_total");
  });
});

test("times and tokens in headers, as text-embeddings-inference has them", async () => {
  const { headers } = await post(serving(), "/rerank", { query: "a", texts: ["b"] });
  for (const name of ["x-compute-time", "x-queue-time", "x-inference-time", "x-compute-tokens"])
    expect(headers.get(name), name).toMatch(/^\d+$/);
});

test("security headers everywhere, and a strict policy on the page", async () => {
  const handler = serving();
  for (const { headers } of [await post(handler, "/rerank", ask), await send(handler, "/nothing"), await send(handler, "/")]) {
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("x-frame-options")).toBe("DENY");
    expect(headers.get("referrer-policy")).toBe("no-referrer");
  }
  const page = await send(handler, "/");
  expect(page.status).toBe(200);
  expect(page.headers.get("content-type")).toContain("text/html");
  expect(page.headers.get("content-security-policy")).toContain("default-src 'none'");
  expect((await send(serving({ page: false }), "/")).status).toBe(404);
  expect((await send(handler, "/page/../index.js")).status).toBe(404);
});

test("pages of other origins are let in when they are named", async () => {
  const preflight = (options: HandlerOptions, origin: string) =>
    send(serving(options), "/v1/rerank", {
      method: "OPTIONS",
      headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type" },
    });
  expect((await preflight({}, "https://a.example")).headers.get("access-control-allow-origin")).toBeNull();
  const named = await preflight({ cors: ["https://a.example"], apiKey: "k" }, "https://a.example");
  expect(named.headers.get("access-control-allow-origin")).toBe("https://a.example");
  expect(named.headers.get("access-control-allow-headers")).toContain("authorization");
  expect((await preflight({ cors: ["https://a.example"] }, "https://b.example")).headers.get("access-control-allow-origin")).toBeNull();
  const refused = await post(serving({ cors: "*" }), "/v1/rerank", "{", { origin: "https://c.example" });
  expect(refused.status).toBe(400);
  expect(refused.headers.get("access-control-allow-origin")).toBe("*");
});

describe("OpenAPI", () => {
  test("the document is valid 3.1", async () => {
    for (const options of [{}, { apiKey: "key" }]) {
      const { body } = await send(serving(options), "/openapi.json");
      expect(body.openapi).toMatch(/^3\.1/);
      expect(body.info.version).toBe(version);
      const result = await new Validator().validate(structuredClone(body));
      expect(result.errors ?? []).toEqual([]);
      expect(result.valid).toBe(true);
    }
  });

  test("has every path that answers, and every $ref leads somewhere", async () => {
    const { body } = await send(serving(), "/openapi.json");
    const paths = [
      "/rerank",
      "/v1/rerank",
      "/v2/rerank",
      "/reranking",
      "/v1/reranking",
      "/v1/models/rerank",
      "/score",
      "/v1/score",
      "/predict",
    ];
    expect(Object.keys(body.paths)).toEqual(
      expect.arrayContaining([
        ...paths,
        "/v1/models",
        "/info",
        "/health",
        "/healthz/live",
        "/healthz/ready",
        "/metrics",
        "/openapi.json",
        "/version",
      ]),
    );
    for (const [, name] of JSON.stringify(body).matchAll(/#\/components\/schemas\/(\w+)/g))
      expect(body.components.schemas).toHaveProperty(name ?? "");
    const { properties } = body.components.schemas.RerankRequest;
    expect(Object.keys(properties)).toEqual(
      expect.arrayContaining([
        "query",
        "documents",
        "top_n",
        "cutoff_layers",
        "cascade",
        "compress_ratio",
        "overflow",
        "max_tokens_per_doc",
      ]),
    );
  });
});

test("spans go to the tracer of the application, below the caller's", async () => {
  const exporter = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  trace.setGlobalTracerProvider(provider);
  try {
    const handler = serving();
    await post(handler, "/v1/rerank", ask);
    await post(handler, "/v1/rerank", "{");
    const [good, bad] = exporter.getFinishedSpans();
    expect(good?.name).toBe("POST /v1/rerank");
    expect(good?.attributes).toMatchObject({
      "http.request.method": "POST",
      "http.route": "/v1/rerank",
      "http.response.status_code": 200,
      "bge.documents": 2,
      "bge.model": "default-reranker-en",
    });
    expect(bad?.attributes).toMatchObject({ "http.response.status_code": 400, "error.type": "invalid_request_error" });
    expect(JSON.stringify(good?.attributes)).not.toContain("secret");
  } finally {
    trace.disable();
    await provider.shutdown();
  }
});

test("version, and health that tells the time", async () => {
  expect((await send(serving(), "/version")).body).toEqual({ name: "bge-reranker", version });
  expect((await send(serving(), "/health")).body).toEqual({ status: "ok", unix: expect.any(Number) });
});

// Several models: names, loading when needed, room made, failures that concern one alone.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { inspectModel, Reranker } from "../../src/index.js";
import { createHandler, type Handler, type HandlerOptions } from "../../src/server/index.js";
import { goldenGguf } from "../golden.js";
import { type Answer, post, send } from "./rerank.js";

const folder = mkdtempSync(join(tmpdir(), "bge-models-"));
const handlers: Handler[] = [];
let base: string;
let gemma: string;
let broken: string;

beforeAll(async () => {
  base = await goldenGguf("xlmr-reranker", "f32");
  gemma = await goldenGguf("gemma-reranker", "f32");
  broken = join(folder, "broken.gguf");
  writeFileSync(broken, "GGUF and no more");
});

afterAll(async () => {
  for (const handler of handlers) await handler.close();
  rmSync(folder, { recursive: true });
});

function serving(options: HandlerOptions): Handler {
  const handler = createHandler({ load: { devices: "cpu" }, ...options });
  handlers.push(handler);
  return handler;
}

const ask = (handler: Handler, model?: string): Promise<Answer> =>
  post(handler, "/v1/rerank", { ...(model !== undefined && { model }), query: "a river", documents: ["the river", "a town"] });
const states = async (handler: Handler) => {
  const { body } = await send(handler, "/v1/models");
  return Object.fromEntries(body.data.map(({ id, state }: { id: string; state: string }) => [id, state]));
};

describe("names", () => {
  test("with one model any name serves; with strictModel only its own", async () => {
    const one = serving({ models: { base } });
    for (const name of [undefined, "", "base", "rerank-v3.5", "jina-reranker-v2-base-multilingual"]) {
      const { status, body } = await ask(one, name);
      expect([status, body.model]).toEqual([200, "base"]);
    }
    const strict = serving({ models: [{ model: base, name: "org/Base-Model", aliases: ["rerank-english-v3.0"] }], strictModel: true });
    for (const name of [undefined, "org/Base-Model", "ORG/base-model", "base-model", "rerank-english-v3.0", base]) {
      expect((await ask(strict, name)).status, name).toBe(200);
    }
    const { status, body } = await ask(strict, "gpt");
    expect(status).toBe(404);
    expect(body.error).toMatchObject({ type: "not_found_error", param: "model", code: 404 });
    expect(body.message).toContain("org/Base-Model");
  });

  test("with several the first is for who names none, and a strange name is a 404", async () => {
    const two = serving({ models: { base, gemma: { model: gemma, aliases: ["llm"] } } });
    expect((await ask(two)).body.model).toBe("base");
    expect((await ask(two, "default/not-specified")).body.model).toBe("base");
    expect((await ask(two, "llm")).body.model).toBe("gemma");
    expect((await ask(two, "other")).status).toBe(404);
    expect((await post(two, "/rerank", { query: "a", texts: ["b"], model: "other" })).body).toEqual({
      error: expect.any(String),
      error_type: "validation",
    });
    const { body } = await send(two, "/v1/models");
    expect(body).toMatchObject({
      object: "list",
      data: [
        { id: "base", object: "model" },
        { id: "gemma", object: "model", aliases: ["llm"] },
      ],
    });
    expect((await send(two, "/v1/models/gemma")).body.id).toBe("gemma");
    expect((await send(two, "/v1/models/other")).status).toBe(404);
    expect((await send(two, "/info?model=llm")).body.model_id).toBe("gemma");
  });

  test("a model by its file, a model loaded already, and no model at all", async () => {
    expect((await ask(serving({ models: base }))).body.model).toMatch(/^xlmr-reranker/);
    const own = await Reranker.load("default");
    const handler = serving({ models: [own, { model: base, name: "base" }] });
    expect((await ask(handler)).body.model).toBe("default-reranker-en");
    await handler.close();
    expect(await own.computeScore(["still", "open"])).toHaveLength(1);
    expect((await ask(createHandler(own))).body.model).toBe("default-reranker-en");
    expect((await ask(createHandler([own]))).body.model).toBe("default-reranker-en");
    await own.dispose();
    expect((await ask(serving({}))).body.model).toBe("default");
  });
});

describe("loading", () => {
  test("comes with the first request, once for all that come together", async () => {
    const load = vi.spyOn(Reranker, "load");
    const handler = serving({ models: { base, gemma } });
    expect(await states(handler)).toEqual({ base: "unloaded", gemma: "unloaded" });
    const answers = await Promise.all(Array.from({ length: 8 }, () => ask(handler)));
    expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(200));
    expect(load).toHaveBeenCalledTimes(1);
    expect(await states(handler)).toEqual({ base: "loaded", gemma: "unloaded" });
    load.mockRestore();
  });

  test("an idle model is released, and loaded again when it is asked for", async () => {
    const handler = serving({ models: { base }, keepAlive: 30 });
    const first = await ask(handler);
    await vi.waitUntil(async () => (await states(handler))["base"] === "unloaded", { timeout: 20_000 });
    expect((await send(handler, "/healthz/ready")).status).toBe(200);
    expect((await send(handler, "/info")).body.max_input_length).toBe(512);
    expect((await ask(handler)).body.results).toEqual(first.body.results);
  });

  test("a request that runs keeps its model", async () => {
    const handler = serving({ models: { base }, keepAlive: 0 });
    const answers = await Promise.all(Array.from({ length: 10 }, () => ask(handler)));
    expect(answers.every(({ status }) => status === 200)).toBe(true);
  });

  test("the least recently used one makes room", async () => {
    const third = await goldenGguf("bert-reranker", "f32");
    const needOf = async (file: string) => {
      const { memory } = await inspectModel(file);
      return (memory?.weightsBytes ?? 0) + (memory?.tokenizerBytes ?? 0) + (memory?.workBytes ?? 0);
    };
    const needs = await Promise.all([base, gemma, third].map(needOf));
    const largestTwo = Math.max(...needs) + needs.sort((a, b) => b - a)[1]!;
    const handler = serving({ models: { base, gemma, third }, maxMemory: Math.ceil(largestTwo * 1.15) });
    const order: string[] = [];
    for (const model of ["base", "gemma", "base", "third", "base", "gemma"]) {
      expect((await ask(handler, model)).status).toBe(200);
      order.push(Object.entries(await states(handler)).filter(([, state]) => state === "loaded").map(([name]) => name).join()); // biome-ignore format: one line
    }
    expect(order).toEqual(["base", "base,gemma", "base,gemma", "base,third", "base,third", "base,gemma"]);
    const at_once = await Promise.all(["base", "gemma", "base", "gemma"].map((model) => ask(handler, model)));
    expect(at_once.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  });

  test("two models that do not fit together take turns under load, and every request is answered", async () => {
    const needs = await Promise.all([base, gemma].map(async (file) => (await inspectModel(file)).memory));
    const largest = Math.max(
      ...needs.map((memory) => (memory?.weightsBytes ?? 0) + (memory?.tokenizerBytes ?? 0) + (memory?.workBytes ?? 0)),
    );
    const handler = serving({ models: { base, gemma }, maxMemory: Math.ceil(largest * 1.3) });
    const answers = await Promise.all(Array.from({ length: 12 }, (_, i) => ask(handler, i % 2 ? "base" : "gemma")));
    expect(answers.map(({ status }) => status)).toEqual(Array(12).fill(200));
    expect(answers.map(({ body }) => body.model)).toEqual(Array.from({ length: 12 }, (_, i) => (i % 2 ? "base" : "gemma")));
    expect(Object.values(await states(handler)).sort()).toEqual(["loaded", "unloaded"]);
  });

  test("the end does not wait for a load", async () => {
    let aborted = false;
    const load = vi.spyOn(Reranker, "load").mockImplementation((_, options) => new Promise((_, reject) => options?.signal?.addEventListener("abort", () => { aborted = true; reject(options.signal?.reason); }))); // biome-ignore format: one line
    const handler = serving({ models: "some/model" });
    const waiting = ask(handler);
    await vi.waitUntil(() => load.mock.calls.length > 0);
    await handler.close();
    expect(aborted).toBe(true);
    expect((await waiting).status).toBe(503);
    load.mockRestore();
  });

  test("a load that takes longer than a request may is a 503, and goes on", async () => {
    const own = await Reranker.load("default");
    let finish: (reranker: Reranker) => void = () => {};
    const load = vi.spyOn(Reranker, "load").mockImplementation(() => new Promise((resolve) => { finish = resolve; })); // biome-ignore format: one line
    const handler = serving({ models: "some/model", requestTimeout: 50 });
    const { status, body, headers } = await ask(handler);
    expect(status).toBe(503);
    expect(body.message).toContain("being loaded");
    expect(headers.get("retry-after")).toBe("2");
    finish(own);
    load.mockRestore();
    await vi.waitUntil(async () => (await states(handler))["some/model"] === "loaded");
  });

  test("a model larger than all the memory is a 503 that says so", async () => {
    const { status, body } = await ask(serving({ models: { base }, maxMemory: "1MB" }));
    expect(status).toBe(503);
    expect(body.message).toContain("needs about");
  });

  test("a damaged model is a 503 with the reason, and the others go on", async () => {
    const handler = serving({ models: { base, broken, missing: "/no/such/file.gguf" } });
    for (const [name, reason] of [
      ["broken", "broken.gguf"],
      ["missing", "file.gguf"],
    ] as const) {
      const { status, body, headers } = await ask(handler, name);
      expect(status).toBe(503);
      expect(body.message).toContain(reason);
      expect(body.error).toMatchObject({ type: "unavailable_error", code: 503 });
      expect(Number(headers.get("retry-after"))).toBeGreaterThan(0);
    }
    expect((await ask(handler, "base")).status).toBe(200);
    expect(await states(handler)).toEqual({ base: "loaded", broken: "failed", missing: "failed" });
    expect((await send(handler, "/healthz/ready")).status).toBe(200);
    expect(await post(handler, "/rerank", { model: "broken", query: "a", texts: ["b"] })).toMatchObject({
      status: 503,
      body: { error_type: "unhealthy" },
    });
  });

  test("ready waits for what is preloaded, and tells when nothing could be", async () => {
    const handler = serving({ models: { base, gemma }, preload: "all" });
    expect(await send(handler, "/healthz/ready")).toMatchObject({ status: 503, body: { status: "loading" } });
    expect((await send(handler, "/healthz/live")).status).toBe(200);
    await handler.ready();
    expect((await send(handler, "/health")).status).toBe(200);
    expect(await states(handler)).toEqual({ base: "loaded", gemma: "loaded" });
    const nothing = serving({ models: { broken }, preload: "first" });
    await expect(nothing.ready()).rejects.toThrow("broken");
    expect(await send(nothing, "/healthz/ready")).toMatchObject({ status: 503, body: { status: "failed" } });
  });
});

test("the cache answers what was asked before, and can be turned off", async () => {
  const counts = async (options: HandlerOptions) => {
    const handler = serving({ models: { base }, ...options });
    const [first, second] = [await ask(handler), await ask(handler)];
    expect(second.body.results).toEqual(first.body.results);
    const text: string = (await send(handler, "/metrics")).body;
    return ["hits", "misses"].map((what) => Number(new RegExp(`^bge_cache_${what}_total (\\d+)`, "m").exec(text)?.[1]));
  };
  expect(await counts({})).toEqual([2, 2]);
  expect(await counts({ cacheSize: 0 })).toEqual([0, 0]);
});

// docs/recipes.md and docs/ranking.md, run as written.
import { EventEmitter } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { whyNotInstalled } from "./install.js";
import { writeRecipes } from "./recipe-files.js";

const why = await whyNotInstalled();
const { names, json } = writeRecipes();
const { FlagAutoReranker } = await import("bge-reranker");
const { serve } = await import("bge-reranker/server");

// biome-ignore lint/suspicious/noExplicitAny: recipes are compiled by types.test.ts
const recipe = (name: string): Promise<any> => import(/* @vite-ignore */ `./build/recipes/${name}.ts`);

const QUERY = "what is a panda?";
const DOCUMENTS = ["hi", "The giant panda is a bear endemic to China.", "Bread keeps in a paper bag."];
const BEST = DOCUMENTS[1] as string;
const used = new Set<string>();

describe.skipIf(why)("recipes", () => {
  let reranker: Awaited<ReturnType<typeof FlagAutoReranker.fromFinetuned>>;
  beforeAll(async () => {
    reranker = await FlagAutoReranker.fromFinetuned("default");
  });
  afterAll(() => reranker?.dispose());

  const test = (name: string, run: () => Promise<void>) => {
    used.add(`${name}.ts`);
    it(name, run);
  };

  test("hybrid", async () => {
    const { search } = await recipe("hybrid");
    const notes = DOCUMENTS.map((text, i) => ({ id: String(i), text }));
    const found = await search(reranker, QUERY, notes, [...notes].reverse());
    expect(found[0]).toBe(notes[1]);
    expect(found).toHaveLength(3);
  });

  test("ranking", async () => {
    const { byField, relevantOnes, within, learn } = await recipe("ranking");
    const hits = DOCUMENTS.map((pageContent, i) => ({ id: String(i), pageContent, title: "note" }));
    expect(await byField(reranker, QUERY, hits)).toEqual([hits[1]]);
    const seen: unknown[] = [];
    async function* arriving() {
      yield* hits;
    }
    for await (const hit of relevantOnes(reranker, "The giant panda is a bear", arriving())) seen.push(hit);
    expect(seen).toEqual([hits[1]]);
    const [first, ...others] = await within(reranker, QUERY, 10_000, hits, [...hits].reverse());
    expect(first).toBe(hits[1]);
    expect(others).toHaveLength(2);
    const judged = DOCUMENTS.map((document, i) => ({ query: QUERY, document, relevant: i === 1 }));
    const calibration = await learn(reranker, judged);
    expect(calibration.threshold).toMatchObject({ precision: 1, recall: 1 });
    const ranked = await reranker.rerank(QUERY, DOCUMENTS, { calibration: JSON.parse(JSON.stringify(calibration)) });
    expect(ranked.map(({ relevant }) => relevant)).toEqual([true, false, false]);
    // Adapters take it among their options.
    const { bgeRerankingModel } = await import("bge-reranker/ai-sdk");
    const call = {
      documents: { type: "text" as const, values: DOCUMENTS },
      query: QUERY,
      providerOptions: { bgeReranker: { calibration } },
    };
    const { ranking } = await bgeRerankingModel(reranker).doRerank(call);
    expect(ranking[0]?.relevanceScore).toBe(ranked[0]?.score);
  });

  test("rag", async () => {
    const { answer } = await recipe("rag");
    const { MockLanguageModelV3 } = await import("ai/test");
    let prompt = "";
    const model = new MockLanguageModelV3({
      doGenerate: async (options) => {
        prompt = JSON.stringify(options.prompt);
        const usage = { inputTokens: { total: 1 }, outputTokens: { total: 1 } };
        return { content: [{ type: "text", text: "A bear [1]" }], finishReason: { unified: "stop" }, usage, warnings: [] } as never;
      },
    });
    expect(await answer(QUERY, DOCUMENTS, model)).toBe("A bear [1]");
    expect(prompt).toContain(`[1] ${BEST}`);
  });

  const post = (url: string, body: object) =>
    new Request(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

  test("next-route", async () => {
    const { POST } = await recipe("next-route");
    const results = (await (await POST(post("http://localhost/api", { query: QUERY, documents: DOCUMENTS }))).json()) as {
      index: number;
    }[];
    expect(results[0]?.index).toBe(1);
  });

  test("express-app", async () => {
    const app = await (await recipe("express-app")).createApp();
    const server = app.listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const answer = await fetch(post(`http://127.0.0.1:${server.address().port}/rerank`, { query: QUERY, documents: DOCUMENTS }));
    expect(((await answer.json()) as { index: number }[])[0]?.index).toBe(1);
    server.close();
  });

  test("fastify-app", async () => {
    const app = await (await recipe("fastify-app")).createApp();
    const answer = await app.inject({ method: "POST", url: "/rerank", payload: { query: QUERY, documents: DOCUMENTS } });
    expect(answer.json()[0].index).toBe(1);
    expect((await app.inject({ method: "POST", url: "/rerank", payload: { query: QUERY } })).statusCode).toBe(400);
    await app.close();
  });

  used.add("electron-main.ts");
  test("electron-child", async () => {
    // Both sides of the channel; Electron's own is not to be had here.
    const [parent, child] = [new EventEmitter(), new EventEmitter()];
    const postMessage = (data: unknown) => queueMicrotask(() => child.emit("message", data));
    Object.assign(process, { parentPort: Object.assign(parent, { postMessage }) });
    const fork = () => Object.assign(child, { postMessage: (data: unknown) => parent.emit("message", { data }) });
    vi.doMock("electron", () => ({ utilityProcess: { fork } }));
    await recipe("electron-child");
    const rerank = (await recipe("electron-main")).startReranker("/app");
    expect((await rerank(QUERY, DOCUMENTS))[0].document).toBe(BEST);
    await expect(rerank(QUERY, [1])).rejects.toThrow("document 0");
  });

  test("genkit-reranker", async () => {
    const { genkit } = await import("genkit");
    const { Document } = await import("genkit/retriever");
    const ai = genkit({});
    const bge = await (await recipe("genkit-reranker")).defineBge(ai);
    const documents = DOCUMENTS.map((text, i) => Document.fromText(text, { i }));
    const ranked = await ai.rerank({ reranker: bge, query: QUERY, documents, options: { k: 2 } });
    expect(ranked).toHaveLength(2);
    expect(ranked[0]?.text).toBe(BEST);
    expect(ranked[0]?.metadata).toMatchObject({ i: 1, score: expect.any(Number) });
  });

  test("tanstack-adapter", async () => {
    const { rerank } = await import("@tanstack/ai");
    const { bgeRerank } = await recipe("tanstack-adapter");
    const result = await rerank({ adapter: bgeRerank(), query: QUERY, documents: DOCUMENTS, topN: 2 });
    expect(JSON.stringify(result)).toContain('"index":1');
  });

  test("llamaindex-postprocessor", async () => {
    const { TextNode } = await import("@llamaindex/core/schema");
    const { bgePostprocessor } = await recipe("llamaindex-postprocessor");
    const nodes = DOCUMENTS.map((text) => ({ node: new TextNode({ text }), score: 0 }));
    const ranked = await bgePostprocessor(reranker, 2).postprocessNodes(nodes, QUERY);
    expect(ranked.map(({ node }: { node: { text: string } }) => node.text)[0]).toBe(BEST);
    expect(ranked).toHaveLength(2);
  });

  describe("that ask serve", () => {
    let url = "";
    let close = async () => {};
    beforeAll(async () => {
      const server = await serve({ models: ["default"], port: 0, log: "off" } as never);
      await server.ready;
      url = server.url;
      close = () => server.close();
    });
    afterAll(() => close());

    test("worker", async () => {
      const { default: worker } = await recipe("worker");
      const answer = await worker.fetch(post("http://edge/", { query: QUERY, documents: DOCUMENTS }), { RERANKER_URL: url });
      expect((await answer.json())[0].text).toBe(BEST);
      const down = createServer((_, response) => response.writeHead(503).end());
      await new Promise<void>((resolve) => down.listen(0, "127.0.0.1", resolve));
      const RERANKER_URL = `http://127.0.0.1:${(down.address() as AddressInfo).port}`;
      expect((await worker.fetch(post("http://edge/", { query: QUERY, documents: DOCUMENTS }), { RERANKER_URL })).status).toBe(502);
      down.close();
    });

    it("n8n's HTTP Request node", async () => {
      const { parameters } = json[0] as { parameters: { method: string; url: string; jsonBody: string } };
      // n8n evaluates what stands between ={{ and }} with $json, the item that came in.
      const expression = /^=\{\{(.*)\}\}$/.exec(parameters.jsonBody)?.[1] ?? "";
      const body = new Function("$json", `return ${expression}`)({ query: QUERY, documents: DOCUMENTS });
      const target = parameters.url.replace("http://127.0.0.1:8787", url);
      const answer = await fetch(target, { method: parameters.method, headers: { "content-type": "application/json" }, body });
      expect(((await answer.json()) as { results: unknown[] }).results[0]).toMatchObject({ index: 1, document: { text: BEST } });
    });
  });

  it("are all run here", () => expect([...used].sort()).toEqual([...names].sort()));
});

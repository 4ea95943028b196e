// The npm clients themselves, against a server with the embedded model: what they return is what the library computes in process.
// `npm run conformance` installs them and runs this; without them it is skipped.
import { existsSync } from "node:fs";
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Reranker } from "../../src/index.js";
import { type Server, serve } from "../../src/server/index.js";

interface Client {
  readonly name: string;
  /** Whether it tries again after a 429. */
  readonly retries: boolean;
  readonly withoutScores?: boolean;
  readonly withoutTopN?: boolean;
  rank(call: {
    url: string;
    key: string;
    model: string;
    query: string;
    documents: string[];
    topN?: number | undefined;
  }): Promise<{ index: number; score?: number }[]>;
}

const installed = existsSync(new URL("node_modules/cohere-ai", import.meta.url));
if (!installed) console.warn("The server is not held against the npm clients: `npm run conformance` installs them.");

const names = ["cohere", "ai-sdk", "vendors", "langchain", "recorded"];
const clients: Client[] = installed
  ? (await Promise.all(names.map((name) => import(new URL(`clients/${name}.mjs`, import.meta.url).href)))).flatMap(
      (module) => module.clients,
    )
  : [];

const query = "how do I keep bread fresh?";
const documents = [
  "The city council moved the weekly market behind the station.",
  "Store a loaf in a paper bag or a bread box; the fridge makes it go stale faster.",
  "Sourdough starter is a culture of wild yeast and lactic acid bacteria.",
  "Bread goes stale because its starch crystallises again as it cools. 漢字 😀",
];

/** A server that counts what it is asked. */
async function counting(answer: (incoming: IncomingMessage, outgoing: ServerResponse) => void) {
  let requests = 0;
  const http = createServer((incoming, outgoing) => {
    requests++;
    answer(incoming, outgoing);
  });
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    count: () => requests,
    close: () => {
      http.closeAllConnections();
      return new Promise((resolve) => http.close(resolve));
    },
  };
}

const passOnTo = (target: string) => (incoming: IncomingMessage, outgoing: ServerResponse) => {
  const onward = httpRequest(`${target}${incoming.url}`, { method: incoming.method, headers: incoming.headers }, (answer) => {
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(outgoing);
  });
  incoming.pipe(onward);
};

/** What a server says that has one call in hand and takes no other. */
async function realRefusal(reranker: Reranker) {
  const busy = await serve({ reranker, port: 0, maxConcurrent: 1, log: "off" });
  const post = (body: object, signal?: AbortSignal) =>
    fetch(`${busy.url}/v1/rerank`, { method: "POST", body: JSON.stringify(body), ...(signal && { signal }) });
  const leaving = new AbortController();
  const occupant = post(
    { query: "q", documents: Array.from({ length: 60 }, (_, i) => `${"words ".repeat(100)}${i}`) },
    leaving.signal,
  ).catch(() => {});
  while (busy.handler.load().requests === 0) await wait(5);
  const refusal = await post({ query, documents });
  const answer = { status: refusal.status, headers: Object.fromEntries(refusal.headers), text: await refusal.text() };
  leaving.abort();
  await occupant;
  await busy.close();
  return answer;
}

describe.skipIf(!installed)("npm clients", () => {
  let reranker: Reranker;
  let server: Server;
  let refusal: Awaited<ReturnType<typeof realRefusal>>;
  let expected: { index: number; score: number }[];

  beforeAll(async () => {
    reranker = await Reranker.load("default");
    server = await serve({ reranker, port: 0, apiKey: "the-key", log: "off" });
    refusal = await realRefusal(reranker);
    const results = await reranker.rerank(query, documents, { normalize: true });
    expected = results.map(({ index, score }) => ({ index, score }));
  });
  afterAll(async () => {
    await server?.close();
    await reranker?.dispose();
  });

  const call = (url: string, key = "the-key") => ({ url: url.replace(/\/$/, ""), key, model: "default", query, documents });
  const only = (client: Client, ranking: readonly { index: number; score: number }[]) =>
    client.withoutScores ? ranking.map(({ index }) => ({ index })) : ranking;

  it.each(clients)("$name returns the scores of the library", async (client) => {
    expect(await client.rank(call(server.url))).toEqual(only(client, expected));
  });

  it.each(clients.filter(({ withoutTopN }) => !withoutTopN))("$name takes the best two", async (client) => {
    expect(await client.rank({ ...call(server.url), topN: 2 })).toEqual(only(client, expected.slice(0, 2)));
  });

  it.each(clients)("$name is told that its key is wrong, once", async (client) => {
    const proxy = await counting(passOnTo(server.url.replace(/\/$/, "")));
    const error = await client
      .rank(call(proxy.url, "another"))
      .catch((reason: unknown) => reason as Error & { statusCode?: number; status?: number });
    expect(error).toBeInstanceOf(Error);
    expect(String((error as Error).message) + JSON.stringify(error)).toMatch(/key/i);
    expect(proxy.count()).toBe(1);
    await proxy.close();
  });

  it.each(clients)("$name understands that the server is full, and comes again when it does so at all", async (client) => {
    expect(refusal.status).toBe(429);
    const full = await counting((incoming, outgoing) => {
      incoming.resume().on("end", () => outgoing.writeHead(refusal.status, refusal.headers).end(refusal.text));
    });
    await expect(client.rank(call(full.url))).rejects.toThrow();
    if (client.retries) expect(full.count()).toBeGreaterThan(1);
    else expect(full.count()).toBe(1);
    expect(full.count()).toBeLessThanOrEqual(7);
    await full.close();
  });
});

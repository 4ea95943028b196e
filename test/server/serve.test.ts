// On a port: clients that leave, break off or wait, and the server's end.
import { createServer, request as httpRequest } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { Hono } from "hono";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { Reranker } from "../../src/index.js";
import { createHandler, type LogLine, type ServeOptions, type Server, serve, toNodeHandler } from "../../src/server/index.js";

let reranker: Reranker;
const open: Server[] = [];
beforeAll(async () => {
  reranker = await Reranker.load("default");
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((server) => server.close()));
});
afterAll(() => reranker.dispose());

async function start(options: ServeOptions = {}): Promise<Server> {
  const server = await serve({ port: 0, reranker, log: "off", drainTimeout: 60_000, ...options });
  open.push(server);
  return server;
}

const QUERY = "what do pandas eat?";
/** Some tenths of a second of work. */
const LONG = Array.from({ length: 100 }, (_, i) => `${i} ${"the panda eats bamboo in the rainy forest ".repeat(20)}`);
const SHORT = ["bamboo", "trains"];

const rerank = (server: Server, documents: readonly string[], init: RequestInit = {}) =>
  fetch(`${server.url}/v1/rerank`, { method: "POST", body: JSON.stringify({ query: QUERY, documents }), ...init });
const metric = async (server: Server, name: string) =>
  Number(new RegExp(`^${name} (\\S+)`, "m").exec(await (await fetch(`${server.url}/metrics`)).text())?.[1]);
const idle = (server: Server) => vi.waitUntil(() => server.handler.load().requests === 0, { timeout: 20_000 });

function raw(server: Server, text: string): Socket {
  const socket = connect(server.port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(text);
  return socket;
}

describe("clients", () => {
  test("one that leaves frees its work, and is counted and logged", async () => {
    const lines: LogLine[] = [];
    const server = await start({ log: (line) => lines.push(line) });
    const leaving = new AbortController();
    const request = rerank(server, LONG, { signal: leaving.signal }).catch((error: Error) => error.name);
    await vi.waitUntil(() => server.handler.load().requests === 1, { timeout: 20_000 });
    await wait(50);
    leaving.abort();
    expect(await request).toBe("AbortError");
    await idle(server);
    expect(await metric(server, "bge_cancelled_total")).toBe(1);
    await vi.waitUntil(() => reranker.stats().queuedPairs === 0, { timeout: 20_000 }); // the batch at work ends first
    expect(lines.find(({ status }) => status === 499)).toMatchObject({
      level: "warn",
      path: "/v1/rerank",
      documents: LONG.length,
      error: "client_closed_request",
    });
    expect((await rerank(server, SHORT)).status).toBe(200);
  });

  test("halves of requests break nothing", async () => {
    const server = await start();
    const head = "POST /v1/rerank HTTP/1.1\r\nHost: x\r\n";
    const parts = [
      "GET",
      head,
      `${head}Content-Length: 100\r\n\r\n{"query":`,
      `${head}Transfer-Encoding: chunked\r\n\r\n5\r\n{"que`,
      "\u0000\u0001 HTTP/9\r\n\r\n",
    ];
    const sockets = parts.flatMap((part) => [raw(server, part), raw(server, part)]);
    await wait(100);
    for (const socket of sockets) socket.destroy();
    await idle(server);
    const answer = await rerank(server, SHORT);
    expect(answer.status).toBe(200);
  });

  test("a body that is too large gets its answer while it is sent", async () => {
    const server = await start({ maxBody: "1MB" });
    for (const chunked of [true, false]) {
      const body = Buffer.alloc(3 << 20, " ");
      const status = await new Promise((resolve, reject) => {
        const request = httpRequest(`${server.url}/rerank`, {
          method: "POST",
          headers: chunked ? { "transfer-encoding": "chunked" } : { "content-length": body.length },
        });
        request.on("response", (response) => resolve(response.resume().statusCode)).on("error", reject);
        request.end(body);
      });
      expect(status).toBe(413);
    }
  });

  test("many at once, some of whom leave: all others get the right scores, and nothing stays behind", async () => {
    const server = await start({ requestTimeout: "60s" });
    const expected = new Map<string, number>();
    for (let i = 0; i < 8; i++)
      expected.set(`bamboo ${i}`, (await reranker.computeScore([QUERY, `bamboo ${i}`], { normalize: true }))[0] ?? 0);
    const texts = [...expected.keys()];
    const ask = async (i: number) => {
      const documents = [texts[i % 8] ?? "", texts[(i * 3) % 8] ?? ""];
      const answer = await rerank(server, documents, i % 20 === 0 ? { signal: AbortSignal.timeout(5) } : {}).catch(() => undefined);
      if (!answer || i % 20 === 0) return;
      expect(answer.status).toBe(200);
      const { results } = (await answer.json()) as { results: { index: number; relevance_score: number }[] };
      for (const { index, relevance_score } of results) expect(relevance_score).toBe(expected.get(documents[index] ?? ""));
    };
    for (let round = 0; round < 5; round++) await Promise.all(Array.from({ length: 60 }, (_, i) => ask(round * 60 + i)));
    await idle(server);
    expect(server.handler.load()).toEqual({ requests: 0, tokens: 0 });
    await vi.waitUntil(() => reranker.stats().queuedPairs === 0, { timeout: 20_000 });
  });
});

describe("the end", () => {
  test("waits for requests in flight, refuses new ones, and is not ready meanwhile", async () => {
    const server = await start();
    const flight = rerank(server, LONG);
    await vi.waitUntil(() => server.handler.load().requests === 1, { timeout: 20_000 });
    const closing = server.close();
    const refused = await rerank(server, SHORT);
    expect(refused.status).toBe(503);
    expect(refused.headers.get("retry-after")).toBe("1");
    expect((await fetch(`${server.url}/healthz/ready`)).status).toBe(503);
    expect((await fetch(`${server.url}/healthz/live`)).status).toBe(200);
    const { status } = await flight;
    expect(status).toBe(200);
    await closing;
    await server.closed;
    await expect(fetch(`${server.url}/health`)).rejects.toThrow();
    await server.close();
  });

  test("comes at the deadline, whatever runs, and tells whoever waits", async () => {
    const server = await start({ drainTimeout: 50 });
    const flight = rerank(server, [...LONG, ...LONG.map((text) => `again ${text}`)]);
    await vi.waitUntil(() => server.handler.load().requests === 1, { timeout: 20_000 });
    await server.close();
    const answer = await flight;
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({ error: { code: 503 } });
  });

  test("is not held up by a connection that says nothing", async () => {
    const server = await start();
    const sockets = [raw(server, ""), raw(server, "POST /v1/rerank HTTP/1.1\r\n")];
    await wait(50);
    const began = performance.now();
    await server.close();
    expect(performance.now() - began).toBeLessThan(3000);
    for (const socket of sockets) socket.destroy();
  });

  test("comes by a signal too", async () => {
    const controller = new AbortController();
    const server = await start({ signal: controller.signal });
    controller.abort();
    await server.closed;
    await expect(fetch(server.url)).rejects.toThrow();
  });

  test("a port that is taken is an error, and leaves nothing open", async () => {
    const server = await start();
    await expect(serve({ port: server.port, reranker, log: "off" })).rejects.toMatchObject({ code: "EADDRINUSE" });
  });
});

describe("mounted", () => {
  const body = JSON.stringify({ query: QUERY, documents: SHORT });

  test("in Node's http", async () => {
    const handler = createHandler({ reranker });
    const server = createServer(toNodeHandler(handler)).listen(0);
    const { port } = server.address() as AddressInfo;
    const answer = await fetch(`http://127.0.0.1:${port}/v1/rerank`, { method: "POST", body });
    expect(answer.status).toBe(200);
    server.close();
    server.closeAllConnections();
  });

  test("in Hono, and below a path as Next.js has it", async () => {
    const app = new Hono().mount("/ai", createHandler({ reranker }));
    expect((await app.request("/ai/v1/rerank", { method: "POST", body })).status).toBe(200);
    const POST = createHandler({ reranker, basePath: "/api/" });
    expect((await POST(new Request("http://x/api/v1/rerank", { method: "POST", body }))).status).toBe(200);
    expect((await POST(new Request("http://x/v1/rerank", { method: "POST", body }))).status).toBe(200);
  });

  test("the host's Request and Response stay its own", async () => {
    const [request, response] = [globalThis.Request, globalThis.Response];
    await (await start()).close();
    expect([globalThis.Request, globalThis.Response]).toEqual([request, response]);
  });
});

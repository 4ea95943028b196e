// serve(): the handler on a port of this machine.
import type { Server as HttpServer, IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createHandler, type Handler } from "./handler.js";
import type { ServeOptions } from "./options.js";
import { parseDuration } from "./units.js";

export interface Server {
  /** Such as `http://127.0.0.1:8787`. */
  readonly url: string;
  readonly port: number;
  readonly handler: Handler;
  /** Resolves when the models to load at the start are in memory; rejects when none could be loaded. */
  readonly ready: Promise<void>;
  /** Resolves when the server has ended, by close() or by the signal. */
  readonly closed: Promise<void>;
  /** Refuses new requests, lets those in flight finish within `drainTimeout`, and ends. Calling it again is fine. */
  readonly close: () => Promise<void>;
}

// A client has so long for its headers, and as long again after each answer for its next request: longer than the 60 s after
// which load balancers close, so that it is not us who do it under a request.
const HEADERS_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_TIMEOUT_MS = 75_000;
// For answers that are on their way; an idle connection would hold up the end for ever.
const CLOSE_GRACE_MS = 2000;

/**
 * Starts the server. It listens when this resolves; models may still be loading (`ready`).
 *
 * @throws {TypeError | RangeError} A wrong option. Node's own error when the port is taken.
 */
export async function serve(options: ServeOptions = {}): Promise<Server> {
  const { port = 8787, host = "127.0.0.1", drainTimeout = "30s", signal, ...handlerOptions } = options;
  const drainMs = parseDuration("drainTimeout", drainTimeout);
  const handler = createHandler({ preload: "first", log: "json", ...handlerOptions });
  const http = await createServer(handler, parseDuration("requestTimeout", handlerOptions.requestTimeout ?? "60s"));
  try {
    await listen(http, port, host);
  } catch (error) {
    await handler.close();
    throw error;
  }
  const address = http.address() as AddressInfo;
  const ended = new Promise<void>((resolve) => http.once("close", resolve));
  let closing: Promise<void> | undefined;
  const close = () => {
    closing ??= end(http, handler, drainMs).then(() => ended);
    return closing;
  };
  if (signal?.aborted) void close();
  signal?.addEventListener("abort", () => void close(), { once: true });
  const ready = handler.ready();
  ready.catch(() => {}); // whoever waits for it hears of it
  return { url: urlOf(address, host), port: address.port, handler, ready, closed: ended.then(() => closing), close };
}

async function createServer(handler: Handler, requestTimeoutMs: number): Promise<HttpServer> {
  const { createAdaptorServer } = await import("@hono/node-server");
  const http = createAdaptorServer({
    fetch: handler,
    overrideGlobalObjects: false,
    serverOptions: {
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: Math.max(requestTimeoutMs, HEADERS_TIMEOUT_MS), // of receiving a request whole
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
      connectionsCheckingInterval: 1000,
    },
  }) as HttpServer;
  http.prependListener("request", surviveErrors);
  return http;
}

/**
 * A connection that breaks makes its request emit an error, once the adapter may have stopped listening: nobody's to hear, but
 * unheard it would end the process. The request's signal tells.
 */
function surviveErrors(request: IncomingMessage, response: ServerResponse): void {
  request.on("error", () => {});
  response.on("error", () => {});
}

function listen(http: HttpServer, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    http.once("error", reject);
    http.listen(port, host, () => {
      http.off("error", reject);
      resolve();
    });
  });
}

/** An idle connection delays the end of a server, so those are closed first, and all of them at the deadline. */
async function end(http: HttpServer, handler: Handler, drainMs: number): Promise<void> {
  handler.drain();
  const deadline = performance.now() + drainMs;
  while (handler.active() > 0 && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
  http.close();
  http.closeIdleConnections();
  await handler.close();
  const last = setTimeout(() => http.closeAllConnections(), CLOSE_GRACE_MS);
  http.once("close", () => clearTimeout(last));
}

function urlOf({ address, family, port }: AddressInfo, host: string): string {
  const name = host === "localhost" ? host : family === "IPv6" ? `[${address}]` : address;
  return `http://${name}:${port}`;
}

/** A handler for `http.createServer()`, Express and Fastify's raw requests. */
export function toNodeHandler(handler: Handler): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  let listener: Promise<(request: IncomingMessage, response: ServerResponse) => unknown> | undefined;
  return async (request, response) => {
    surviveErrors(request, response);
    listener ??= import("@hono/node-server").then(({ getRequestListener }) =>
      getRequestListener(handler, { overrideGlobalObjects: false }),
    );
    await (await listener)(request, response);
  };
}

// bge-reranker/mcp: a server of the Model Context Protocol with the tools rerank, score and list_models.
import { createMcpHandler, hostHeaderValidationResponse, type McpServer, originValidationResponse } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import type { LoadOptions, RerankOptions } from "../index.js";
import { LazyReranker, type RerankerSource } from "./lazy-reranker.js";
import { createServer, type ToolSettings } from "./mcp-tools.js";
import { sameSecret } from "./same-secret.js";

export interface McpOptions {
  /** A loaded reranker, or the name or path of a model, loaded at the first call. @default "default", the embedded model */
  readonly model?: RerankerSource | undefined;
  /** Options of loading, when the model is given by name. */
  readonly load?: LoadOptions | undefined;
  /** Options of every `rerank`: `cutoffLayers`, `maxLength`, `overflow` ... Long documents are read in chunks unless these say otherwise. */
  readonly options?: Omit<RerankOptions, "topN" | "minScore" | "signal" | "onProgress"> | undefined;
  /** Folders whose text files may be ranked. @default none; over stdio those that the client opens */
  readonly roots?: readonly string[] | undefined;
}

/** What runs, until it is closed. */
export interface McpService {
  /** Ends connections and frees a model that was loaded here. */
  close(): Promise<void>;
}

function settingsOf({ model = "default", load, options = {}, roots = [] }: McpOptions, clientRoots: boolean): ToolSettings {
  return { lazy: new LazyReranker(model, load), options, roots, clientRoots };
}

/** Serves the process that started this one, over standard input and output; nothing else may be written there. */
export function serveMcpStdio(options: McpOptions = {}): McpService & { readonly closed: Promise<void> } {
  const settings = settingsOf(options, true);
  const closed = new Promise<void>((resolve) => process.stdin.once("close", resolve).once("end", resolve));
  const service = serveStdio(() => createServer(settings));
  return {
    closed,
    close: async () => {
      await service.close();
      await settings.lazy.dispose();
    },
  };
}

export interface McpHandlerOptions extends McpOptions {
  /**
   * Host names that requests may be addressed to, and that pages which send them may come from, without ports: what keeps web pages
   * that a browser on this machine shows from calling. IPv6 in brackets.
   * @default localhost, 127.0.0.1 and [::1]
   */
  readonly allowedHosts?: readonly string[] | undefined;
  /** Requests have to bring it as `Authorization: Bearer`. @default none */
  readonly apiKey?: string | undefined;
}

/**
 * Streamable HTTP as a web-standard handler, stateless: any copy can answer any request.
 *
 * @example
 * const { fetch } = mcpHandler({ model: "BAAI/bge-reranker-v2-m3" });
 * serve({ fetch, port: 8091 }); // @hono/node-server, Bun, Deno ...
 */
export function mcpHandler(options: McpHandlerOptions = {}): McpService & { fetch(request: Request): Promise<Response> } {
  const { allowedHosts = ["localhost", "127.0.0.1", "[::1]"], apiKey } = options;
  const settings = settingsOf(options, false);
  const handler = createMcpHandler(() => createServer(settings), { maxRequestBodySize: 32 * 2 ** 20 });
  return {
    fetch: async (request) => {
      const hosts = [...allowedHosts];
      const refused = hostHeaderValidationResponse(request, hosts) ?? originValidationResponse(request, hosts);
      if (refused) return refused;
      if (apiKey !== undefined && !sameSecret(request.headers.get("authorization") ?? "", `Bearer ${apiKey}`)) {
        return Response.json(
          { error: "Send the API key as `Authorization: Bearer KEY`" },
          { status: 401, headers: { "WWW-Authenticate": "Bearer" } },
        );
      }
      return handler.fetch(request);
    },
    close: async () => {
      await handler.close();
      await settings.lazy.dispose();
    },
  };
}

export interface McpHttpOptions extends McpHandlerOptions {
  /** @default 127.0.0.1: this machine only. Another one needs an `apiKey`. */
  readonly host?: string | undefined;
  /** 0 takes a free one. @default 8091 */
  readonly port?: number | undefined;
}

/**
 * Serves streamable HTTP at `/mcp`.
 *
 * @throws {TypeError} A host that others can reach, and no key.
 * @throws The system's error when the port is taken.
 */
export async function serveMcpHttp(options: McpHttpOptions = {}): Promise<McpService & { readonly url: string }> {
  const { host = "127.0.0.1", port = 8091 } = options;
  if (!LOOPBACK.test(host) && options.apiKey === undefined) {
    throw new TypeError(`Expected an \`apiKey\` for the host ${host}, which other machines reach: the tools read files of the roots`);
  }
  const { serve } = await import("@hono/node-server");
  const named = host.includes(":") ? `[${host}]` : host;
  const handler = mcpHandler({ ...options, allowedHosts: options.allowedHosts ?? ["localhost", "127.0.0.1", "[::1]", named] });
  const fetch = (request: Request) =>
    new URL(request.url).pathname === "/mcp" ? handler.fetch(request) : new Response("The server is at /mcp\n", { status: 404 });
  const server = serve({ fetch, hostname: host, port });
  await new Promise<void>((resolve, reject) => server.once("listening", resolve).once("error", reject));
  const address = server.address();
  return {
    url: `http://${named}:${typeof address === "object" ? address?.port : port}/mcp`,
    close: async () => {
      await handler.close();
      await new Promise((resolve) => {
        server.close(resolve);
        if ("closeAllConnections" in server) server.closeAllConnections();
      });
    },
  };
}

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|::1)$/;

/** A server to connect to a transport of your own. */
export function createMcpServer(options: McpOptions = {}): McpServer {
  return createServer(settingsOf(options, false));
}

// A server with the page and with answers that a test chooses: states that a real one is slow or hard to bring about.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { pageFile } from "../../src/server/page/index.js";

export interface StubRequest {
  readonly path: string;
  readonly authorization: string | undefined;
  readonly body: Record<string, unknown>;
}

export interface StubAnswer {
  readonly status?: number;
  readonly headers?: Record<string, string>;
  readonly body: unknown;
  /** Resolves when the answer is to go out. */
  readonly after?: Promise<void>;
}

/** @param prefix - Where the server is mounted, as behind a proxy: `""` or `/rerank`. */
export async function startStub(answer: (request: StubRequest) => StubAnswer, prefix = "") {
  const requests: StubRequest[] = [];
  const closed: string[] = [];
  const respond = async (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const path = (incoming.url ?? "").slice(prefix.length);
    const page = incoming.method === "GET" ? await pageFile(path, incoming.headers["if-none-match"]) : undefined;
    if (page) {
      outgoing.writeHead(page.status, Object.fromEntries(page.headers)).end(Buffer.from(await page.arrayBuffer()));
      return;
    }
    let text = "";
    for await (const chunk of incoming) text += chunk;
    const request = { path, authorization: incoming.headers.authorization, body: text === "" ? {} : JSON.parse(text) };
    requests.push(request);
    outgoing.on("close", () => outgoing.writableFinished || closed.push(path));
    const { status = 200, headers = {}, body, after } = answer(request);
    await after;
    outgoing.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
  };
  const server = createServer((incoming, outgoing) => void respond(incoming, outgoing));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}${prefix}/`,
    requests,
    /** Paths of the calls that the browser gave up. */
    closed,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

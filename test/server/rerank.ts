// Calls on a handler without a socket.
import type { Handler } from "../../src/server/index.js";

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: answers of many dialects are looked into
  readonly body: any;
}

export async function send(handler: Handler, path: string, init: RequestInit & { duplex?: "half" } = {}): Promise<Answer> {
  const response = await handler(new Request(`http://server.test${path}`, init));
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    body: response.headers.get("content-type")?.includes("json") ? JSON.parse(text) : text,
  };
}

export function post(handler: Handler, path: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  return send(handler, path, { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body), headers });
}

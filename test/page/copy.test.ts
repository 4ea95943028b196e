import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it } from "vitest";
import { asCurl, asFetch } from "../../src/server/page/static/copy.js";

const request = { query: `it's "so" $HOME \`id\` \\ !`, documents: ["a\nb", "ß 漢字 😀", "'\\''", "x".repeat(10)] };
const hasShell = process.platform !== "win32";

/** What `code` prints when `curl` is a program that prints its body argument or standard input. */
function bodyOfCurl(command: string): unknown {
  const curl = `curl() { while [ $# -gt 0 ]; do case "$1" in -d) printf %s "$2"; return;; --data-binary) cat; return;; esac; shift; done; }\n`;
  return JSON.parse(execFileSync("sh", { input: curl + command, encoding: "utf8", maxBuffer: 1e8 }));
}

describe("copied code", () => {
  it.skipIf(!hasShell)("as curl sends the texts untouched by the shell", () => {
    expect(bodyOfCurl(asCurl("http://localhost:8787/v1/rerank", request, true))).toEqual(request);
  });

  it.skipIf(!hasShell)("as curl takes more than an argument can hold", () => {
    const large = { ...request, documents: Array.from({ length: 200 }, (_, i) => `${request.query} ${i} ${"y".repeat(2000)}`) };
    expect(bodyOfCurl(asCurl("http://localhost:8787/v1/rerank", large, false))).toEqual(large);
  });

  it("as fetch runs as it is", async () => {
    const bodies: unknown[] = [];
    const server = createServer(async (incoming, outgoing) => {
      let text = "";
      for await (const chunk of incoming) text += chunk;
      bodies.push([incoming.headers.authorization, JSON.parse(text)]);
      outgoing.end('{"results":[]}');
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/rerank`;
    const run = (code: string) => new Function("process", `return (async () => { ${code} })()`)({ env: { BGE_API_KEY: "k" } });
    await run(asFetch(url, request, true));
    await run(asFetch(url, request, false));
    server.close();
    expect(bodies).toEqual([
      ["Bearer k", request],
      [undefined, request],
    ]);
  });
});

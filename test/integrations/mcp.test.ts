// bge-reranker mcp, by the clients of the SDK's second and first generation, over stdio and streamable HTTP.
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { root, whyNotInstalled } from "./install.js";

const why = await whyNotInstalled();
const { serveMcpHttp } = await import("bge-reranker/mcp");

interface Ranked {
  readonly results: { index: number; file?: string; score: number; excerpt: string; start: number; truncated: boolean }[];
  readonly skipped?: string[];
}

/** What the clients of both generations do alike. */
interface AnyClient {
  callTool(call: { name: string; arguments: Record<string, unknown> }, options?: CallOptions): Promise<CallResult>;
  listTools(): Promise<{ tools: { name: string; inputSchema: object; outputSchema?: object | undefined }[] }>;
  close(): Promise<void>;
}
interface CallOptions {
  signal?: AbortSignal;
  onprogress?: (progress: { progress: number; total?: number | undefined }) => void;
}
interface CallResult {
  structuredContent?: unknown;
  content?: unknown;
  isError?: boolean | undefined;
}

type Where = { readonly command: readonly string[] } | { readonly url: string; readonly token?: string };
type Connect = (where: Where, folders?: readonly string[]) => Promise<AnyClient>;

const roots = (folders: readonly string[]) => ({ roots: folders.map((folder) => ({ uri: pathToFileURL(folder).href, name: "notes" })) });

/** @param mode - Which revision of the protocol it speaks. */
const second =
  (mode: "auto" | "legacy"): Connect =>
  async (where, folders) => {
    const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
    const { StdioClientTransport } = await import("@modelcontextprotocol/client/stdio");
    const client = new Client({ name: "test", version: "1" }, { capabilities: folders ? { roots: {} } : {}, versionNegotiation: { mode } });
    if (folders) client.setRequestHandler("roots/list", () => roots(folders));
    const headers: Record<string, string> = "token" in where && where.token ? { authorization: `Bearer ${where.token}` } : {};
    await client.connect(
      "url" in where
        ? new StreamableHTTPClientTransport(new URL(where.url), { requestInit: { headers } })
        : new StdioClientTransport({ command: where.command[0] as string, args: where.command.slice(1) }),
    );
    return client as unknown as AnyClient;
  };

const first: Connect = async (where, folders) => {
  const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
  const { StdioClientTransport } = await import("@modelcontextprotocol/sdk/client/stdio.js");
  const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
  const { ListRootsRequestSchema } = await import("@modelcontextprotocol/sdk/types.js");
  const client = new Client({ name: "test", version: "1" }, { capabilities: folders ? { roots: {} } : {} });
  if (folders) client.setRequestHandler(ListRootsRequestSchema, () => roots(folders));
  const transport =
    "url" in where
      ? new StreamableHTTPClientTransport(new URL(where.url))
      : new StdioClientTransport({ command: where.command[0] as string, args: where.command.slice(1) });
  await client.connect(transport as Parameters<typeof client.connect>[0]);
  return {
    callTool: ({ name, arguments: args }, options) => client.callTool({ name, arguments: args }, undefined, options),
    listTools: () => client.listTools(),
    close: () => client.close(),
  } as AnyClient;
};

const folder = mkdtempSync(path.join(tmpdir(), "bge-mcp-"));
const notes = path.join(folder, "notes");
const command = (...args: string[]) => [process.execPath, path.join(root, "lib", "cli.js"), "mcp", ...args];

beforeAll(() => {
  mkdirSync(path.join(notes, "deep"), { recursive: true });
  writeFileSync(path.join(notes, "bread.md"), "Bread keeps in a paper bag or a bread box.");
  writeFileSync(path.join(notes, "deep", "panda.md"), `${"Nothing here. ".repeat(300)}The giant panda is a bear endemic to China.`);
  writeFileSync(path.join(notes, "broken.md"), Buffer.from([0xff, 0xfe, 0x00]));
  writeFileSync(path.join(folder, "secret.md"), "The giant panda is a bear: a secret.");
  symlinkSync(path.join(folder, "secret.md"), path.join(notes, "link.md"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(why)("bge-reranker mcp", () => {
  describe.each<[string, Connect, "stdio" | "http"]>([
    ["client 2 over stdio", second("auto"), "stdio"],
    ["client 2 over HTTP", second("auto"), "http"],
    ["client 2, the protocol of 2025, over HTTP", second("legacy"), "http"],
    ["client 1 over stdio", first, "stdio"],
    ["client 1 over HTTP", first, "http"],
  ])("%s", (_, connect, transport) => {
    let client: AnyClient;
    let close = async () => {};
    beforeAll(async () => {
      if (transport === "stdio") {
        client = await connect({ command: command("--root", notes) });
      } else {
        const service = await serveMcpHttp({ roots: [notes], port: 0 });
        close = service.close;
        client = await connect({ url: service.url });
      }
    });
    afterAll(async () => {
      await client?.close();
      await close();
    });

    it("lists its tools with schemas", async () => {
      const { tools } = await client.listTools();
      expect(tools.map(({ name }) => name)).toEqual(["rerank", "score", "list_models"]);
      for (const { outputSchema } of tools) expect(outputSchema).toMatchObject({ type: "object" });
    });

    it("tells of progress", async () => {
      const progress: number[] = [];
      const documents = Array.from({ length: 200 }, (_each, i) => `${"panda bear ".repeat(30)}${i}`);
      const call = { name: "rerank", arguments: { query: "panda", documents, topN: 1 } };
      await client.callTool(call, { onprogress: (each) => progress.push(each.progress) });
      // The last may come with the answer, and clients drop what they hear then.
      expect(progress.length).toBeGreaterThan(0);
      expect(progress).toEqual([...progress].sort((a, b) => a - b));
      expect(progress.at(-1)).toBeLessThanOrEqual(200);
    });

    it("ranks texts, as structure and as text", async () => {
      const documents = ["hi", "The giant panda is a bear.", "Bread keeps in a bag."];
      const result = await client.callTool({ name: "rerank", arguments: { query: "what is a panda?", documents, topN: 2 } });
      const { results } = result.structuredContent as Ranked;
      expect(results).toHaveLength(2);
      expect(results[0]).toMatchObject({ index: 1, excerpt: documents[1], start: 0, truncated: false });
      expect(results[0]?.score).toBeGreaterThan(results[1]?.score as number);
      expect((result.content as { type: string; text: string }[])[0]).toEqual({
        type: "text",
        text: JSON.stringify(result.structuredContent),
      });
    });

    it("ranks files of a folder and quotes the passage that fits", async () => {
      const result = await client.callTool({ name: "rerank", arguments: { query: "giant panda bear", files: ["."] } });
      const { results, skipped } = result.structuredContent as Ranked;
      expect(results[0]).toMatchObject({ file: "deep/panda.md" });
      expect(results[0]?.excerpt).toContain("giant panda");
      expect(results[0]?.start).toBeGreaterThan(0);
      expect(results.map(({ file }) => file).sort()).toEqual(["bread.md", "deep/panda.md"]);
      expect(skipped).toEqual(["broken.md"]);
    });

    it.each([
      ["outside, by dots", ["../secret.md"], "not in the folders"],
      ["outside, by its path", [path.join(folder, "secret.md")], "not in the folders"],
      ["outside, by a link", ["link.md"], "not in the folders"],
      ["that is missing", ["none.md"], "none.md is not in the folders"],
      ["that is no text", ["broken.md"], "no UTF-8 text"],
    ])("refuses a file %s", async (_why, files, message) => {
      const result = await client.callTool({ name: "rerank", arguments: { query: "panda", files } });
      expect(result.isError).toBe(true);
      expect(JSON.stringify(result.content)).toContain(message);
      expect(JSON.stringify(result.content)).not.toContain("a secret");
    });

    it("scores pairs in order, and lists models", async () => {
      const pairs = [
        { query: "what is a panda?", document: "hi" },
        { query: "what is a panda?", document: "The giant panda is a bear." },
      ];
      const { scores } = (await client.callTool({ name: "score", arguments: { pairs } })).structuredContent as { scores: number[] };
      expect(scores[1]).toBeGreaterThan(scores[0] as number);
      const listed = (await client.callTool({ name: "list_models", arguments: {} })).structuredContent;
      expect(listed).toMatchObject({
        current: "default",
        models: expect.arrayContaining([expect.objectContaining({ name: "bge-reranker-v2-m3" })]),
      });
    });

    it.each([
      ["neither texts nor files", { query: "q" }, "Give either"],
      ["both", { query: "q", documents: ["a"], files: ["."] }, "Give either"],
      ["a wrong type", { query: "q", documents: "a" }, "documents"],
      ["no query", { documents: ["a"] }, "query"],
    ])("tells what is wrong with %s", async (_why, args, message) => {
      const told = await client.callTool({ name: "rerank", arguments: args }).then(
        (result) => {
          expect(result.isError).toBe(true);
          return JSON.stringify(result.content);
        },
        (error: Error) => error.message,
      );
      expect(told).toContain(message);
    });

    it("stops when it is cancelled, and goes on serving", async () => {
      const controller = new AbortController();
      const documents = Array.from({ length: 3000 }, (_each, i) => `${"panda bear ".repeat(100)}${i}`);
      const call = client.callTool(
        { name: "rerank", arguments: { query: "panda", documents } },
        { signal: controller.signal, onprogress: () => controller.abort(new Error("enough")) },
      );
      await expect(call).rejects.toThrow();
      const again = await client.callTool({ name: "rerank", arguments: { query: "panda", documents: ["panda"] } });
      expect((again.structuredContent as Ranked).results).toHaveLength(1);
    });
  });

  it.each<[string, Connect]>([
    ["client 2", second("auto")],
    ["client 2, the protocol of 2025", second("legacy")],
    ["client 1", first],
  ])("reads the folders that the client opens, over stdio: %s", async (_, connect) => {
    const client = await connect({ command: command() }, [notes]);
    const result = await client.callTool({ name: "rerank", arguments: { query: "panda", files: ["deep"] } });
    expect((result.structuredContent as Ranked).results).toMatchObject([{ file: "deep/panda.md" }]);
    await client.close();
  });

  it("opens no folder by itself", async () => {
    const client = await second("auto")({ command: command() });
    const result = await client.callTool({ name: "rerank", arguments: { query: "panda", files: ["."] } });
    expect(JSON.stringify(result.content)).toContain("No folder is open to this server");
    await client.close();
  });

  it("serves HTTP from the command line until it is told to end", async () => {
    const [program = "", ...args] = command("--http", "--port", "0", "--root", notes);
    const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
    const ended = new Promise((resolve) => child.once("exit", resolve));
    const url = await new Promise<string>((resolve, reject) => {
      let printed = "";
      child.stderr.on("data", (chunk) => {
        printed += chunk;
        const found = /MCP at (\S+)/.exec(printed)?.[1];
        if (found) resolve(found);
      });
      child.once("exit", () => reject(new Error(printed)));
    });
    const client = await second("auto")({ url });
    const result = await client.callTool({ name: "rerank", arguments: { query: "giant panda", files: ["deep"] } });
    expect((result.structuredContent as Ranked).results).toMatchObject([{ file: "deep/panda.md" }]);
    await client.close();
    child.kill("SIGTERM");
    await ended;
  });

  it("over HTTP refuses other hosts' pages, and callers without the key", async () => {
    const service = await serveMcpHttp({ port: 0, apiKey: "k" });
    const ping = (headers: Record<string, string>) =>
      fetch(service.url, {
        method: "POST",
        headers: { "content-type": "application/json", accept: "application/json, text/event-stream", ...headers },
        body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" }),
      });
    expect((await ping({ authorization: "Bearer k" })).status).toBe(200);
    expect((await ping({})).status).toBe(401);
    expect((await ping({ authorization: "Bearer x" })).status).toBe(401);
    expect((await ping({ authorization: "Bearer k", origin: "https://evil.example" })).status).toBe(403);
    expect((await fetch(new URL("/other", service.url))).status).toBe(404);
    const client = await second("auto")({ url: service.url, token: "k" });
    expect((await client.listTools()).tools).toHaveLength(3);
    await client.close();
    await service.close();
    await expect(serveMcpHttp({ host: "0.0.0.0" })).rejects.toThrow("apiKey");
  });
});

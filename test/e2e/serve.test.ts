// bge-reranker serve as a process: what it prints, where its options come from, how it ends.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, describe, expect, test, vi } from "vitest";

const cli = fileURLToPath(new URL("../../lib/cli.js", import.meta.url));
const model = fileURLToPath(new URL("../../models/default.gguf", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "bge-serve-"));
afterAll(() => rmSync(folder, { recursive: true }));

interface Running {
  readonly child: ChildProcess;
  readonly out: () => string;
  readonly err: () => string;
  readonly url: string;
  readonly exit: Promise<unknown[]>;
}
const running: ChildProcess[] = [];
afterEach(() => {
  for (const child of running.splice(0)) child.kill("SIGKILL");
});

function run(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [cli, "serve", ...args], { env: { ...process.env, NO_COLOR: "1", ...env } });
  running.push(child);
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk) => { out += chunk; }); // biome-ignore format: one line
  child.stderr.on("data", (chunk) => { err += chunk; }); // biome-ignore format: one line
  return { child, out: () => out, err: () => err, exit: once(child, "exit") };
}

async function start(args: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Promise<Running> {
  const server = run(["--port", "0", ...args], env);
  for (;;) {
    const url = / at (http:\S+)/.exec(server.out())?.[1];
    if (url && server.out().includes("curl")) return { ...server, url };
    if (server.child.exitCode !== null) throw new Error(`ended: ${server.err()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const post = (url: string, body: object, headers: Record<string, string> = {}) =>
  fetch(`${url}/v1/rerank`, { method: "POST", body: JSON.stringify(body), headers });
const begun = (server: Running, requests: number) =>
  vi.waitUntil(async () => (await (await fetch(`${server.url}/metrics`)).text()).includes(`\nbge_queue_requests ${requests}\n`), {
    timeout: 20_000,
  });
const ask = { query: "what is a panda?", documents: ["hi", "The giant panda is a bear."] };
const lines = (text: string) => text.trim().split("\n").filter(Boolean).map((line) => JSON.parse(line)); // biome-ignore format: one line

describe.skipIf(!existsSync(cli) || !existsSync(model))("bge-reranker serve", () => {
  test("serves the embedded model, and prints a curl that works", async () => {
    const server = await start();
    const curl = /^ {2}(curl .*)$/m.exec(server.out())?.[1] ?? "";
    const shell = spawn("sh", ["-c", `${curl} --silent`]);
    let answer = "";
    shell.stdout.on("data", (chunk) => { answer += chunk; }); // biome-ignore format: one line
    await once(shell, "close");
    expect(JSON.parse(answer)).toMatchObject({ object: "rerank", model: "default", results: [{ index: 1 }, { index: 0 }] });
    const log = lines(server.err());
    expect(log.map(({ msg, status }) => [msg, status])).toEqual([["model loaded", undefined], ["request", 200]]); // biome-ignore format: one line
    server.child.kill("SIGTERM");
    expect(await server.exit).toEqual([0, null]);
  });

  test("says what is wrong with its address, and nothing else", async () => {
    const first = await start();
    const second = run(["--port", new URL(first.url).port]);
    expect(await second.exit).toEqual([1, null]);
    expect(second.err()).toMatch(/^error: Port \d+ of 127\.0\.0\.1 is taken: another server runs there\. Choose one with --port\n$/);
  });

  test("ends what it has begun at SIGTERM, and exits with 0", async () => {
    const server = await start(["--drain-timeout", "60", "--cache-size", "0"]);
    const documents = Array.from({ length: 100 }, (_, i) => `${i} ${"the panda eats bamboo in the rainy forest ".repeat(20)}`);
    const flights = Array.from({ length: 4 }, () => post(server.url, { query: "a", documents }));
    await begun(server, 4);
    server.child.kill("SIGTERM");
    for (const answer of await Promise.all(flights)) {
      expect(answer.status).toBe(200);
      expect(((await answer.json()) as { results: unknown[] }).results).toHaveLength(100);
    }
    expect(await server.exit).toEqual([0, null]);
  });

  test("a second signal ends it at once", async () => {
    const server = await start(["--drain-timeout", "60", "--max-concurrent", "9"]);
    const documents = Array.from({ length: 1000 }, (_, i) => `${i} ${"the panda eats bamboo in the rainy forest ".repeat(30)}`);
    const flight = post(server.url, { query: "a", documents }).catch(() => undefined);
    await begun(server, 1);
    server.child.kill("SIGTERM");
    await vi.waitUntil(async () => (await fetch(`${server.url}/healthz/ready`)).status === 503);
    server.child.kill("SIGTERM");
    expect(await server.exit).toEqual([null, "SIGTERM"]);
    await flight;
  });

  test("flags win over the environment, and that over the config file", async () => {
    const config = join(folder, "serve.json");
    writeFileSync(
      config,
      JSON.stringify({
        "max-documents": 1,
        maxBody: "300B",
        rawScores: true,
        apiKey: ["file-key"],
        model: ["file=default"],
        page: false,
        log: "off",
      }),
    );
    const server = await start(["--config", config, "--max-documents", "3"], {
      BGE_API_KEY: "one,two",
      BGE_MAX_DOCUMENTS: "2",
      BGE_RETURN_DETAILS: "true",
    });
    const status = async (body: object, key: string) => (await post(server.url, body, { authorization: `Bearer ${key}` })).status;
    expect(server.out()).toContain("serves file");
    expect(server.out()).toContain("$BGE_API_KEY");
    expect(server.out()).not.toContain("one");
    expect(await status({ query: "a", documents: ["a", "b", "c"] }, "two")).toBe(200);
    expect(await status({ query: "a", documents: ["a", "b", "c", "d"] }, "two")).toBe(413);
    expect(await status({ query: "a", documents: ["x".repeat(400)] }, "one")).toBe(413);
    expect(await status(ask, "file-key")).toBe(401);
    const answer = (await (await post(server.url, ask, { authorization: "Bearer one" })).json()) as {
      results: { relevance_score: number; logit: number }[];
    };
    expect(answer.results[0]?.relevance_score).toBe(answer.results[0]?.logit);
    expect((await fetch(server.url)).status).toBe(404);
    expect(server.err()).toBe("");
  });

  test("serves several models under the names they are given", async () => {
    const server = await start([
      "--no-special-tokens",
      "--max-batch-tokens",
      "512",
      "-m",
      "small=default",
      "-m",
      `file=${model}`,
      "--alias",
      "rerank-v3.5=file",
    ]);
    const models = (await (await fetch(`${server.url}/v1/models`)).json()) as { data: { id: string; state: string }[] };
    expect(models.data.map(({ id, state }) => [id, state])).toEqual([["small", "loaded"], ["file", "unloaded"]]); // biome-ignore format: one line
    expect(((await (await post(server.url, { ...ask, model: "rerank-v3.5" })).json()) as { model: string }).model).toBe("file");
    expect((await post(server.url, { ...ask, model: "else" })).status).toBe(404);
  });

  test.each<[string, string[], NodeJS.ProcessEnv, number, string]>([
    ["an unknown flag", ["--prot", "1"], {}, 2, "--port"],
    ["a port that is none", [], { BGE_PORT: "many" }, 2, "BGE_PORT"],
    ["a time that is none", ["--keep-alive", "soon"], {}, 2, "500ms"],
    ["an alias of nothing", ["--alias", "a=b"], {}, 2, "--model"],
    ["a switch that is neither", [], { BGE_RAW_SCORES: "maybe" }, 2, "true or false"],
    ["a config file that is not there", ["--config", "/no/such.json"], {}, 2, "/no/such.json"],
    ["a model that is not there", ["--port", "0", "--model", "/no/such.gguf"], {}, 1, "/no/such.gguf"],
  ])("%s", async (_, args, env, code, message) => {
    const { exit, err, out } = run(args, env);
    expect((await exit)[0]).toBe(code);
    expect(err()).toContain(message);
    expect(out()).toBe("");
  });

  test("a config file with an option that serve does not have", async () => {
    const config = join(folder, "wrong.json");
    writeFileSync(config, JSON.stringify({ maxDocument: 1 }));
    const { exit, err } = run(["--config", config]);
    expect((await exit)[0]).toBe(2);
    expect(err()).toContain("maxDocument");
  });

  test("importing the library or its help loads no server", async () => {
    const hook = `export async function resolve(s, c, n) { const r = await n(s, c); if (/hono|prom-client/.test(r.url)) process._rawDebug("LOADED " + r.url); return r; }`;
    const asUrl = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`;
    const register = asUrl(`import { register } from "node:module"; register(${JSON.stringify(asUrl(hook))});`);
    const lib = new URL("../../lib/index.js", import.meta.url).href;
    const script = `await import(${JSON.stringify(lib)}); const { createHandler } = await import(${JSON.stringify(lib.replace("index.js", "server/index.js"))}); createHandler(); process._rawDebug("made"); await createHandler()(new Request("http://x/version"))`;
    const child = spawn(process.execPath, ["--import", register, "--input-type=module", "-e", script]);
    let err = "";
    child.stderr.on("data", (chunk) => { err += chunk; }); // biome-ignore format: one line
    await once(child, "close");
    const [before, after] = err.split("made");
    expect(before).not.toContain("LOADED");
    expect(after).toMatch(/LOADED .*hono[\s\S]*prom-client/);
  });
});

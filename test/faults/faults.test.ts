// The server under faults, as a process of its own. `npm run faults` runs it in full: 10,000 calls on 200 connections.
import { closeSync, copyFileSync, mkdtempSync, openSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { Agent } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { startServer } from "../../bench/load/server-process.mjs";
import { type Call, checkAnswer, makeCalls } from "./calls.js";
import { leavings, post, postPatiently, readMetrics } from "./client.js";

const full = process.env["BGE_FAULTS"] === "full";
const size = full ? { requests: 10_000, connections: 200, vanishing: 500 } : { requests: 600, connections: 40, vanishing: 60 };
const linux = process.platform === "linux";

const good = fileURLToPath(new URL("../../models/default.gguf", import.meta.url));

type Server = Awaited<ReturnType<typeof startServer>>;

describe.skipIf(process.platform === "win32")("server under faults", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "bge-faults-"));
  const agent = new Agent({ keepAlive: true, maxSockets: size.connections });
  const servers: Server[] = [];
  let calls: Call[] = [];

  beforeAll(async () => {
    calls = await makeCalls(100);
  });
  afterEach(async ({ task }) => {
    // What the servers said tells more than what their clients met.
    if (task.result?.state === "fail")
      for (const server of servers) console.error(server.log().split("\n").filter((line) => !line.includes('"level":"info"')).slice(-20).join("\n")); // biome-ignore format: one line
    await Promise.all(servers.splice(0).map((server) => server.stop("SIGKILL")));
  });
  afterAll(() => {
    agent.destroy();
    rmSync(folder, { recursive: true, force: true });
  });

  async function start(args: string[] = [], options: Parameters<typeof startServer>[1] = {}): Promise<Server> {
    // However busy or suspended the machine is: a call that takes longer than the server's limit is no fault.
    const server = await startServer(["--log", "json", "--cache-size", "0", "--request-timeout", "600", ...args], options);
    servers.push(server);
    return server;
  }
  const callAt = (i: number) => calls[i % calls.length] as Call;

  async function expectRight({ url }: { url: string }, i = 0, mayBeSlow = false): Promise<void> {
    const { status, text } = await postPatiently(url, callAt(i).body, agent, mayBeSlow);
    expect(status, text).toBe(200);
    checkAnswer(callAt(i), text);
  }

  async function expectIdle({ url }: Server): Promise<void> {
    await expect
      .poll(
        async () => {
          const metrics = await readMetrics(url);
          return [metrics.get("bge_queue_requests"), metrics.get("bge_queue_tokens")];
        },
        { timeout: 10_000 },
      )
      .toEqual([0, 0]);
  }

  it(`answers ${size.requests} calls on ${size.connections} connections, one in 20 of them abandoned, and keeps nothing of them`, async () => {
    const server = await start(["--max-concurrent", "64"]);
    let next = 0;
    let answered = 0;
    let left = 0;
    let tooLate = 0; // to leave: the answer was there, or the kept connection was closed
    const caller = async (until: number) => {
      while (next < until) {
        const i = next++;
        if (i % 20 === 7) {
          const outcome = await post(server.url, callAt(i).body, agent, leavings[(i / 20) & 3]);
          if (outcome.kind === "answer" && outcome.status === 200) checkAnswer(callAt(i), outcome.text);
          if (outcome.kind === "left") left++;
          else tooLate++;
        } else {
          const { status, text } = await postPatiently(server.url, callAt(i).body, agent);
          expect(status, text).toBe(200);
          checkAnswer(callAt(i), text);
          answered++;
        }
      }
    };
    const burst = (until: number) => Promise.all(Array.from({ length: size.connections }, () => caller(until)));
    await burst(size.requests / 2);
    agent.destroy();
    await expectIdle(server);
    await wait(300);
    const before = await readMetrics(server.url);
    const [filesBefore, rssBefore] = linux ? [server.openFiles(), server.rssBytes()] : [0, 0];
    await burst(size.requests);
    agent.destroy();
    await expectIdle(server);
    await wait(300);
    const after = await readMetrics(server.url);
    expect(answered + left + tooLate).toBe(size.requests);
    expect(left).toBeGreaterThan(size.requests / 25);
    if (linux) {
      expect(server.openFiles()).toBeLessThanOrEqual(filesBefore + 2);
      expect(server.rssBytes()).toBeLessThan(rssBefore + 64e6);
    }
    // Sockets, timers and the like that are open: what one more connection for the metrics makes is no leak.
    const handles = "nodejs_active_resources_total";
    expect(after.get(handles)).toBeLessThanOrEqual((before.get(handles) ?? 0) + 3);
    expect(server.log()).not.toMatch(/MaxListenersExceeded|unexpected|UnhandledPromise/);
    expect(after.get("bge_cancelled_total")).toBeGreaterThan(0);
  }, 600_000);

  it("drops the work of clients that vanish, and is there for the next", async () => {
    const server = await start();
    const large = JSON.stringify({
      query: "q",
      documents: Array.from({ length: 500 }, (_, i) => `${"a long text about nothing ".repeat(40)}${i}`),
    });
    for (let i = 0; i < size.vanishing; i++) expect((await post(server.url, large, agent, i % 2 ? "later" : "sent")).kind).toBe("left");
    const started = performance.now();
    await expectRight(server, 3);
    await expectIdle(server);
    // All of it computed would be 500 documents of 200 tokens for each of them: minutes.
    expect(performance.now() - started).toBeLessThan(20_000);
    expect((await readMetrics(server.url)).get("bge_cancelled_total")).toBeGreaterThan(0); // some leave before the server hears of them;
  }, 600_000);

  it("ends clients that never finish their request, and answers the others meanwhile", async () => {
    const server = await start(["--request-timeout", "2"]);
    const { port, hostname } = new URL(server.url);
    const head = "POST /v1/rerank HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    const halves = [
      `${head}content-length: 1000\r\n\r\n{"query":"half`,
      `${head}transfer-encoding: chunked\r\n\r\n5\r\n{"que\r\n`,
      ...(full ? ["POST /v1/rerank HTTP/1.1\r\nhost: a\r\nx-slow"] : []),
    ];
    const ended = halves.map(
      (text) =>
        new Promise<string>((resolve) => {
          let answer = "";
          const socket = connect(Number(port), hostname, () => socket.write(text));
          socket.on("data", (data) => {
            answer += data;
          });
          socket.on("error", () => {});
          socket.on("close", () => resolve(answer));
        }),
    );
    await expectRight(server, 1, true);
    for (const answer of await Promise.all(ended)) expect(answer).toMatch(/^HTTP\/1\.1 40[08] /);
    await expectIdle(server);
    await expectRight(server, 2, true);
  }, 120_000);

  it("answers what is no HTTP, bad lengths and a body above the limit, and goes on", async () => {
    const server = await start(["--max-body", "100KB"]);
    const { port, hostname } = new URL(server.url);
    const exchange = (text: string) =>
      new Promise<string>((resolve) => {
        let answer = "";
        const socket = connect(Number(port), hostname, () => socket.end(text));
        socket.on("data", (data) => {
          answer += data;
        });
        socket.on("error", () => {});
        socket.on("close", () => resolve(answer));
      });
    expect(await exchange("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")).toMatch(/^HTTP\/1\.1 400 /);
    expect(await exchange("POST /v1/rerank HTTP/1.1\r\nhost: a\r\ncontent-length: -5\r\n\r\n{}")).toMatch(/^HTTP\/1\.1 400 /);
    expect(
      await exchange("POST /v1/rerank HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ).toMatch(/^HTTP\/1\.1 400 /);
    const large = await post(server.url, JSON.stringify({ query: "q", documents: ["x".repeat(200_000)] }), agent).catch(
      (error: NodeJS.ErrnoException) => error,
    );
    expect(large).toMatchObject({ kind: "answer", status: 413 });
    await expectRight(server, 5);
  });

  it("finishes what it accepted when it is told to end under load, and exits with 0", async () => {
    const server = await start();
    const texts = Array.from({ length: 40 }, (_, i) => callAt(i));
    let answered = 0;
    const all = texts.map(async (call) => {
      const outcome = await post(server.url, call.body, agent);
      if (outcome.kind === "answer" && outcome.status === 200) {
        checkAnswer(call, outcome.text);
        answered++;
      } else expect(outcome).toMatchObject({ status: 503 });
    });
    await expect.poll(async () => (await readMetrics(server.url)).get("bge_queue_requests")).toBeGreaterThan(0);
    const ending = server.stop("SIGTERM");
    await Promise.all(all);
    expect(await ending).toEqual({ code: 0, signal: null });
    expect(answered).toBeGreaterThan(0);
    await expect(post(server.url, callAt(0).body, agent)).rejects.toThrow(/ECONNREFUSED|socket hang up/);
  });

  it("ends at once at the second signal", async () => {
    const server = await start(["--drain-timeout", "60"]);
    const large = JSON.stringify({ query: "q", documents: Array.from({ length: 1000 }, (_, i) => `${"some words ".repeat(200)}${i}`) });
    const call = post(server.url, large, agent).catch((error: Error) => error);
    await expect.poll(async () => (await readMetrics(server.url)).get("bge_queue_requests")).toBe(1);
    void server.stop("SIGTERM");
    await wait(300);
    const started = performance.now();
    const { code, signal } = await server.stop("SIGTERM");
    expect(performance.now() - started).toBeLessThan(5000);
    expect(code === 0 && signal === null).toBe(false);
    await call;
  });

  it("is back with the same scores after kill -9", async () => {
    const first = await start();
    const { port } = new URL(first.url);
    const lost = Promise.allSettled(Array.from({ length: 20 }, (_, i) => post(first.url, callAt(i).body, agent)));
    await first.stop("SIGKILL");
    await lost;
    const second = await start(["--port", port]);
    expect(second.url).toBe(first.url);
    for (let i = 0; i < 10; i++) await expectRight(second, i);
  });

  it("serves its other models when a file is damaged, and says what is wrong with it", async () => {
    const files = { cut: path.join(folder, "cut.gguf"), empty: path.join(folder, "empty.gguf"), text: path.join(folder, "text.gguf") };
    copyFileSync(good, files.cut);
    truncateSync(files.cut, 1_000_000);
    writeFileSync(files.empty, "");
    writeFileSync(files.text, "<html>Not found</html>");
    const server = await start(["--model", "default", ...Object.entries(files).flatMap(([name, file]) => ["--model", `${name}=${file}`])]);
    for (const name of Object.keys(files)) {
      const outcome = await post(server.url, JSON.stringify({ ...JSON.parse(callAt(0).body), model: name }), agent);
      expect(outcome, name).toMatchObject({ kind: "answer", status: 503 });
      expect(outcome.kind === "answer" && JSON.parse(outcome.text).message).toMatch(/gguf|damaged|truncated|short|end/i);
    }
    await expectRight(server, 1);
  });

  it("loads a model again when its file is replaced, and says so when what came is none", async () => {
    const [file, other] = [path.join(folder, "served.gguf"), path.join(folder, "other.gguf")];
    copyFileSync(good, file);
    const server = await start(["--model", file]);
    await expectRight(server, 1);
    copyFileSync(good, other);
    renameSync(other, file);
    await Promise.all(Array.from({ length: 20 }, (_, i) => expectRight(server, i)));
    writeFileSync(other, "<html>Not found</html>");
    renameSync(other, file);
    const outcome = await post(server.url, callAt(2).body, agent);
    expect(outcome).toMatchObject({ kind: "answer", status: 503 });
    expect(outcome.kind === "answer" && JSON.parse(outcome.text).message).toMatch(/served.*GGUF/i);
    expect((await fetch(`${server.url}/healthz/live`)).status).toBe(200);
  });

  it("does not crash when its model file is overwritten or cut short in place", async () => {
    for (const harm of [(file: string) => truncateSync(file, 4096), (file: string) => writeFileSync(file, "<html>Not found</html>")]) {
      const file = path.join(folder, "harmed.gguf");
      copyFileSync(good, file);
      const server = await start(["--model", file]);
      await expectRight(server, 1);
      harm(file);
      const outcome = await post(server.url, callAt(2).body, agent);
      expect(outcome).toMatchObject({ kind: "answer", status: 503 });
      expect((await fetch(`${server.url}/healthz/live`)).status).toBe(200);
    }
  });

  it.skipIf(!linux)("is there again when it had no sockets left", async () => {
    const server = await start([], { openFiles: 100 });
    const { port, hostname } = new URL(server.url);
    const idle = Array.from({ length: 200 }, () => connect(Number(port), hostname).on("error", () => {}));
    await wait(500);
    for (const socket of idle) socket.destroy();
    const isThere = () => fetch(`${server.url}/healthz/live`).then(({ status }) => status, () => undefined); // biome-ignore format: one line
    await expect.poll(isThere, { timeout: 20_000 }).toBe(200);
    await expectRight(server, 1);
    expect(await server.stop()).toEqual({ code: 0, signal: null });
  });

  it.skipIf(!linux)("goes on when its log cannot be written: the disk is full, or the reader gone", async () => {
    const disk = openSync("/dev/full", "w");
    const server = await start([], { stderr: disk });
    closeSync(disk);
    for (let i = 0; i < 30; i++) await expectRight(server, i);
    server.child.stdout?.destroy();
    await expectRight(server, 1);
    expect(await server.stop()).toEqual({ code: 0, signal: null });
    const piped = await start();
    piped.child.stderr?.destroy();
    for (let i = 0; i < 30; i++) await expectRight(piped, i);
    expect(await piped.stop()).toEqual({ code: 0, signal: null });
  });
});

// enqueue, worker and jobs on a real Redis and a stand-in for S3; skipped aloud without redis-server.
import { execFile, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../../", import.meta.url));
const model = join(root, "models", "default.gguf");
const redisServer = ["redis-server", "valkey-server"].find((name) => spawnSync(name, ["--version"]).status === 0);
if (!redisServer) console.warn("skipped: the queue's tests need redis-server or valkey-server (Debian: apt-get install redis-server)");

const folder = mkdtempSync(join(tmpdir(), "bge-reranker-queue-"));
const at = (name: string) => join(folder, name);
const execute = promisify(execFile);

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

describe.skipIf(!redisServer)("the queue", () => {
  let port = 0;
  let stopRedis: () => void = () => undefined;
  const environment: Record<string, string> = { NO_COLOR: "1" };

  beforeAll(async () => {
    port = await freePort();
    mkdirSync(at("redis"));
    const redis = spawn(redisServer ?? "", [
      "--port",
      String(port),
      "--dir",
      at("redis"),
      "--save",
      "",
      "--appendonly",
      "yes",
      "--bind",
      "127.0.0.1",
    ]);
    stopRedis = () => redis.kill("SIGKILL");
    environment.REDIS_URL = `redis://127.0.0.1:${port}`;
    const lines = Array.from({ length: 60 }, (_, i) => JSON.stringify({ id: i, query: `q${i % 5}`, passage: `about ${i % 11} things` }));
    writeFileSync(at("pairs.jsonl"), `${lines.join("\n")}\n`);
    expect(await command("batch", at("pairs.jsonl"), "-m", model, "--threads", "1", "-o", at("reference.jsonl"))).toMatchObject({
      code: 0,
    });
  });

  afterAll(() => {
    stopRedis();
    rmSync(folder, { recursive: true, force: true });
  });

  async function command(...args: string[]): Promise<Ran> {
    const env = { ...process.env, ...environment };
    try {
      const { stdout, stderr } = await execute(process.execPath, [join(root, "lib", "cli.js"), ...args], { env });
      return { code: 0, stdout, stderr };
    } catch (error) {
      const { code, stdout, stderr } = error as Ran;
      return { code, stdout, stderr };
    }
  }

  const enqueue = (output: string, queue: string, ...more: string[]) =>
    command("enqueue", at("pairs.jsonl"), "-m", model, "-o", output, "--queue", queue, "--shard-rows", "20", ...more);
  const worker = (queue: string, ...more: string[]) =>
    command("worker", "-m", model, "--threads", "1", "--drain", "--queue", queue, ...more);
  const joined = (place: string) =>
    readdirSync(place)
      .filter((name) => name.startsWith("part-"))
      .sort()
      .map((name) => readFileSync(join(place, name), "utf8"))
      .join("");
  const reference = () => readFileSync(at("reference.jsonl"), "utf8");

  it("scores what one process scores, once", async () => {
    expect((await enqueue(at("a"), "a")).stdout).toContain("3 parts of 60 rows are in the queue a");
    expect((await enqueue(at("a"), "a", "--resume")).stdout).toContain("has this job already");
    expect((await enqueue(at("a"), "a")).stderr).toContain("--resume");
    expect(await worker("a")).toMatchObject({ code: 0, stdout: "3 parts made, 0 found done, 0 given back, 0 failed\n" });
    expect(joined(at("a"))).toBe(reference());
    expect(JSON.parse(readFileSync(at("a/_manifest.json"), "utf8"))).toMatchObject({ complete: true, totals: { rows: 60 } });
    const report = JSON.parse((await command("jobs", "--queue", "a", "--json")).stdout);
    expect(report).toMatchObject({ jobs: [{ state: "completed", doneShards: 3, doneRows: 60 }], totals: { rows: 60 }, failures: [] });
    expect((await command("jobs", "--queue", "a", "--prometheus")).stdout).toMatch(
      /^bge_jobs_rows_done\{queue="a",job="[0-9a-f]{16}",output=".*"\} 60$/m,
    );
    expect((await command("jobs", "--queue", "a", "--clean")).stdout).toContain("1 completed jobs removed");
    // A lost part is made again, the others are kept.
    rmSync(at("a/part-00001.jsonl"));
    await enqueue(at("a"), "a", "--resume");
    expect((await worker("a")).stdout).toContain("1 parts made, 2 found done");
    expect(joined(at("a"))).toBe(reference());
  });

  it("keeps the last error of what fails, and tries it again when told", async () => {
    await enqueue(at("b"), "b", "--attempts", "2", "--backoff-ms", "10");
    renameSync(at("pairs.jsonl"), at("moved.jsonl"));
    expect((await worker("b")).stderr).toMatch(/part \d failed at attempt 2, it is not tried again: Cannot read/);
    const shown = await command("jobs", "--queue", "b");
    expect(shown.stdout).toMatch(/3 failed[\s\S]*part 0 failed after 2 attempts: Cannot read .*pairs\.jsonl/);
    renameSync(at("moved.jsonl"), at("pairs.jsonl"));
    expect((await command("jobs", "--queue", "b", "--retry")).stdout).toBe("3 parts are tried again\n");
    await worker("b");
    expect(joined(at("b"))).toBe(reference());
    expect(JSON.parse(readFileSync(at("b/_manifest.json"), "utf8"))).toMatchObject({ complete: true });
  });

  it("takes the options that scores depend on from the job, not from the worker", async () => {
    await enqueue(at("c"), "c", "--normalize", "--format", "parquet");
    await worker("c");
    await command(
      "batch",
      at("pairs.jsonl"),
      "-m",
      model,
      "--threads",
      "1",
      "--normalize",
      "--shard-rows",
      "20",
      "--format",
      "parquet",
      "-o",
      at("c2"),
    );
    for (const name of ["part-00000.parquet", "part-00002.parquet"]) {
      // The key of the job, in the file's metadata, knows the paths' contents and not their place.
      expect(readFileSync(at(join("c", name))).equals(readFileSync(at(join("c2", name))))).toBe(true);
    }
  });

  it("refuses a Redis that may throw jobs away, one that is not there, and odd values", async () => {
    const { Redis } = await import("ioredis");
    const redis = new Redis(port, "127.0.0.1");
    await redis.config("SET", "maxmemory-policy", "allkeys-lru");
    for (const ran of [await enqueue(at("d"), "d"), await worker("d")]) {
      expect(ran).toMatchObject({ code: 1, stderr: expect.stringContaining("maxmemory-policy allkeys-lru") });
    }
    await redis.config("SET", "maxmemory-policy", "noeviction");
    await redis.quit();
    expect(existsSync(at("d"))).toBe(false);
    expect(await enqueue(at("d"), "d:e")).toMatchObject({ code: 2 });
    expect(await enqueue(at("d.jsonl"), "d")).toMatchObject({ code: 2, stderr: expect.stringContaining("give a folder") });
    expect(await worker("d", "--concurrency", "0")).toMatchObject({ code: 2 });
    expect(await command("jobs", "--redis", `redis://user:secret@127.0.0.1:${await freePort()}`)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/Cannot reach Redis at redis:\/\/127\.0\.0\.1:\d+: .*ECONNREFUSED/),
    });
  });

  describe("with outputs in a bucket", () => {
    let close: () => Promise<void> = async () => undefined;
    let credentials: Record<string, string> = {};

    beforeAll(async () => {
      const { default: S3rver } = await import("s3rver");
      mkdirSync(at("s3"));
      const server = new S3rver({
        port: 0,
        address: "127.0.0.1",
        silent: true,
        directory: at("s3"),
        configureBuckets: [{ name: "scores", configs: [] }],
      });
      const { port: s3Port } = await server.run();
      close = () => server.close();
      credentials = {
        AWS_ACCESS_KEY_ID: "S3RVER",
        AWS_SECRET_ACCESS_KEY: "S3RVER",
        AWS_ENDPOINT_URL: `http://127.0.0.1:${s3Port}`,
        AWS_REGION: "us-east-1",
      };
    });
    afterAll(() => close());

    async function objects(prefix: string): Promise<string> {
      const { S3Client, GetObjectCommand, ListObjectsV2Command } = await import("@aws-sdk/client-s3");
      const client = new S3Client({
        endpoint: credentials.AWS_ENDPOINT_URL ?? "",
        region: "us-east-1",
        forcePathStyle: true,
        credentials: { accessKeyId: "S3RVER", secretAccessKey: "S3RVER" },
      });
      const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: "scores", Prefix: `${prefix}/part-` }));
      const texts = Contents.map(async ({ Key }) =>
        (await client.send(new GetObjectCommand({ Bucket: "scores", Key }))).Body?.transformToString(),
      );
      return (await Promise.all(texts)).join("");
    }

    it("through the AWS SDK", async () => {
      Object.assign(environment, credentials);
      await enqueue("s3://scores/sdk", "s");
      expect(await worker("s")).toMatchObject({ code: 0, stdout: expect.stringContaining("3 parts made") });
      expect(await objects("sdk")).toBe(reference());
      await command("jobs", "--queue", "s", "--clean");
      await enqueue("s3://scores/sdk", "s", "--resume");
      expect((await worker("s")).stdout).toContain("0 parts made, 3 found done");
    });

    it("at presigned addresses, by a worker without credentials", async () => {
      Object.assign(environment, credentials);
      expect(await enqueue("s3://scores/signed", "t", "--presign", "600")).toMatchObject({ code: 0 });
      for (const name of Object.keys(credentials)) delete environment[name];
      expect(await worker("t")).toMatchObject({ code: 0, stdout: expect.stringContaining("3 parts made") });
      expect(await objects("signed")).toBe(reference());
      Object.assign(environment, credentials);
      await command("jobs", "--queue", "t", "--clean");
      await enqueue("s3://scores/signed", "t", "--presign", "600", "--resume");
      expect((await worker("t")).stdout).toContain("0 parts made, 3 found done");
      for (const name of Object.keys(credentials)) delete environment[name];
    });
  });

  it("loses and doubles nothing when workers and Redis are killed", { timeout: 300_000 }, async () => {
    const args = [join(root, "scripts", "checks", "chaos.mjs"), "--short", "--pairs", "1000", "--kills", "3"];
    const { stdout } = await execute(process.execPath, args).catch((error: Ran) => error); // what went wrong stands in the table
    expect(stdout).toMatch(/\| rows missing \| 0 \|\n\| rows doubled \| 0 \|\n\| rows that differ from one process on one thread \| 0 \|/);
    expect(stdout).toContain("| workers that died by themselves | 0 |");
    expect(stdout).toContain("| job | completed |");
  });

  it("lets a worker end while Redis is away", async () => {
    await enqueue(at("z"), "z");
    const child = spawn(process.execPath, [join(root, "lib", "cli.js"), "worker", "-m", model, "--threads", "1", "--queue", "z"], {
      env: { ...process.env, ...environment },
    });
    const ended = new Promise((resolve) => child.once("close", (code) => resolve(code)));
    while (!existsSync(at("z/_manifest.json")) || !JSON.parse(readFileSync(at("z/_manifest.json"), "utf8")).complete) {
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    stopRedis();
    await new Promise((resolve) => setTimeout(resolve, 500));
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
  });
});

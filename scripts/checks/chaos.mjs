// npm run chaos: workers and Redis are killed while they score; nothing may be missing, doubled or different.
//
//   --short          what CI does, about a minute
//   --pairs n  --kills n  --redis-kills n  --workers n  --shard-rows n  --seed n
//   --redis-server   program to start (default: redis-server; valkey-server works the same)
//   --disk folder    a small file system to fill up (default: a tmpfs that is mounted for it, where that is allowed)
//   --keep           leave the folder of the run
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { availableParallelism, cpus, tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = fileURLToPath(new URL("../../", import.meta.url));
const cli = path.join(root, "lib", "cli.js");
const model = path.join(root, "models", "default.gguf");

const { values } = parseArgs({
  options: {
    short: { type: "boolean", default: false },
    pairs: { type: "string" },
    kills: { type: "string" },
    "redis-kills": { type: "string" },
    workers: { type: "string", default: "3" },
    "shard-rows": { type: "string" },
    seed: { type: "string", default: "1" },
    "redis-server": { type: "string", default: "redis-server" },
    disk: { type: "string" },
    keep: { type: "boolean", default: false },
  },
});
const wish = (name, short, long) => Number(values[name] ?? (values.short ? short : long));
const plan = {
  pairs: wish("pairs", 2000, 20_000),
  kills: wish("kills", 5, 30),
  redisKills: wish("redis-kills", 1, 3),
  workers: Number(values.workers),
  shardRows: wish("shard-rows", 50, 200),
};

const redisProgram = values["redis-server"];
if (spawnSync(redisProgram, ["--version"]).status !== 0) {
  console.log(`skipped: ${redisProgram} is not installed (Debian: apt-get install redis-server)`);
  process.exit(0);
}

/** Numbers from 0 to 1, the same for a seed. See Tommy Ettinger's mulberry32. */
function randomOf(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
const random = randomOf(Number(values.seed));

const folder = mkdtempSync(path.join(tmpdir(), "bge-reranker-chaos-"));
const log = createWriteStream(path.join(folder, "log.txt"));
const at = (name) => path.join(folder, name);
const started = Date.now();
const say = (text) => {
  log.write(`${((Date.now() - started) / 1000).toFixed(1)} ${text}\n`);
  console.log(`${((Date.now() - started) / 1000).toFixed(1).padStart(6)}  ${text}`);
};

function makePairs() {
  const words = "bread loaf starch river panda bear market council yeast culture library kernel package font index query score".split(" ");
  const sentence = (length) => Array.from({ length }, () => words[Math.floor(random() * words.length)]).join(" ");
  const queries = Array.from({ length: 200 }, () => `what is ${sentence(3)}?`);
  const lines = Array.from({ length: plan.pairs }, (_, i) =>
    JSON.stringify({ id: `pair-${i}`, query: queries[i % queries.length], passage: sentence(5 + Math.floor(random() ** 2 * 40)) }),
  );
  writeFileSync(at("pairs.jsonl"), `${lines.join("\n")}\n`);
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

const port = await freePort();
const redisUrl = `redis://127.0.0.1:${port}`;
let redis;
function startRedis() {
  mkdirSync(at("redis"), { recursive: true });
  const args = ["--port", String(port), "--dir", at("redis"), "--appendonly", "yes", "--save", "", "--bind", "127.0.0.1"];
  redis = spawn(redisProgram, args, { stdio: ["ignore", "pipe", "pipe"] });
  redis.stdout.pipe(log, { end: false });
  redis.stderr.pipe(log, { end: false });
}

const environment = { ...process.env, REDIS_URL: redisUrl, NO_COLOR: "1" };
const run = (...args) =>
  execFileSync(process.execPath, [cli, ...args], {
    env: environment,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 2 ** 28,
  });

const workers = new Set();
const counts = { kills: 0, redisKills: 0, terms: 0, termsGivenBack: 0, deaths: [] };
function startWorker(options = {}) {
  const { modelPath = model, graceMs = 20_000 } = options;
  const args = [cli, "worker", "-m", modelPath, "--threads", "1", "--lock-ms", "2000", "--grace-ms", String(graceMs)];
  const worker = spawn(process.execPath, args, { env: environment, stdio: ["ignore", "pipe", "pipe"] });
  worker.output = "";
  worker.stdout.on("data", (chunk) => {
    worker.output += chunk;
    log.write(`[${worker.pid}] ${chunk}`);
  });
  worker.stderr.on("data", (chunk) => {
    worker.output += chunk;
    log.write(`[${worker.pid}] ${chunk}`);
  });
  worker.ended = new Promise((resolve) => worker.once("close", (code, signal) => resolve({ code, signal })));
  workers.add(worker);
  worker.ended.then(({ code, signal }) => {
    workers.delete(worker);
    if (!worker.expected) counts.deaths.push(`${code ?? signal}: ${worker.output.trim().split("\n").at(-1)}`);
  });
  return worker;
}

/** Workers that are there for a trial of their own are not killed. */
function pick() {
  const victims = [...workers].filter((worker) => !worker.special);
  return victims[Math.floor(random() * victims.length)];
}
const partsDone = () =>
  existsSync(at("out/_parts")) ? readdirSync(at("out/_parts")).filter((name) => name.endsWith(".json") && !name.startsWith(".")).length : 0;
const totalParts = Math.ceil(plan.pairs / plan.shardRows);

/** Waits until a share of the parts is done, at most for so long. */
async function until(share, mostMs) {
  const deadline = Date.now() + mostMs;
  while (partsDone() < share * totalParts && Date.now() < deadline) await sleep(50);
}

function mountSmallDisk() {
  if (values.disk) return { folder: values.disk, unmount: () => {} };
  const place = at("out");
  mkdirSync(place);
  const sizeMb = Math.max(4, Math.ceil((plan.pairs * 200) / 2 ** 20) * 2);
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${sizeMb}m`, "tmpfs", place]);
  if (mounted.status !== 0) return undefined;
  return { folder: place, unmount: () => spawnSync("umount", [place]) };
}

/** Takes all room of a file system that is small; whoever writes gets ENOSPC. */
async function fillDisk(disk, ms) {
  const { bavail, bsize } = statfsSync(disk.folder);
  const filler = path.join(disk.folder, ".filler");
  try {
    writeFileSync(filler, Buffer.alloc(bavail * bsize));
  } catch (error) {
    if (error.code !== "ENOSPC") throw error;
  }
  say(`the disk is full (${Math.round((bavail * bsize) / 2 ** 20)} MiB taken)`);
  await sleep(ms);
  rmSync(filler);
  say("the disk has room again");
}

async function killWorkers() {
  // Spread over the run: the n-th when its share of the parts is done, or after a while, since killing holds the work up.
  for (let i = 0; i < plan.kills; i++) {
    await until(((i + 0.5) / plan.kills) * 0.9, 5000);
    await sleep(random() * 700);
    const victim = pick();
    if (!victim) continue;
    victim.expected = true;
    victim.kill("SIGKILL");
    await victim.ended;
    counts.kills++;
    startWorker();
  }
  say(`${counts.kills} workers were killed`);
}

async function killRedis() {
  for (let i = 0; i < plan.redisKills; i++) {
    await until((i + 1) / (plan.redisKills + 1), 60_000);
    redis.kill("SIGKILL");
    await new Promise((resolve) => redis.once("close", resolve));
    await sleep(300 + random() * 1500);
    startRedis();
    counts.redisKills++;
    say(`Redis was killed and is back (${partsDone()} of ${totalParts} parts are done)`);
  }
}

/** One worker may finish its part, another gives it back at once. */
async function terminate() {
  for (const [share, graceMs] of [
    [0.2, 60_000],
    [0.45, 0],
  ]) {
    const worker = startWorker({ graceMs });
    worker.special = true;
    await until(share, 60_000);
    // It is at work once it has loaded the model: before that a signal ends it like any program that has just begun.
    for (let waited = 0; !worker.output.includes("digest") && waited < 60_000 && partsDone() < totalParts; waited += 50) await sleep(50);
    const isAtWork = worker.output.includes("digest");
    await sleep(200);
    worker.expected = true;
    worker.kill("SIGTERM");
    const { code, signal } = await worker.ended;
    counts.terms++;
    const [, givenBack = "0"] = /(\d+) given back/.exec(worker.output) ?? [];
    counts.termsGivenBack += Number(givenBack);
    say(`a worker told to stop ended with ${code ?? signal}: ${worker.output.trim().split("\n").at(-1)}`);
    if (code !== 0 && isAtWork) counts.deaths.push(`SIGTERM gave ${code ?? signal}`);
  }
}

/** Before the others: it gets a part for certain. */
async function startWrongWorker() {
  writeFileSync(at("wrong.gguf"), readFileSync(model));
  // Other bytes, same scores: a changed letter of the name in the metadata.
  const bytes = readFileSync(at("wrong.gguf"));
  bytes[bytes.indexOf("default-reranker-en")] = "D".charCodeAt(0);
  writeFileSync(at("wrong.gguf"), bytes);
  const worker = startWorker({ modelPath: at("wrong.gguf") });
  worker.special = true;
  worker.expected = true;
  const { code } = await worker.ended;
  counts.wrongModel = code;
  say(`a worker with another model file ended with ${code}: ${worker.output.trim().split("\n").at(-1)?.slice(0, 100)}`);
}

function compare() {
  const expected = readFileSync(at("reference.jsonl"), "utf8").trimEnd().split("\n");
  const parts = readdirSync(at("out"))
    .filter((name) => name.startsWith("part-"))
    .sort();
  const lines = parts.flatMap((name) =>
    readFileSync(at(path.join("out", name)), "utf8")
      .trimEnd()
      .split("\n"),
  );
  const rows = new Map();
  for (const line of lines) rows.set(JSON.parse(line).row, (rows.get(JSON.parse(line).row) ?? 0) + 1);
  const missing = expected.filter((line) => !rows.has(JSON.parse(line).row)).length;
  const doubled = [...rows.values()].reduce((sum, n) => sum + n - 1, 0);
  const different = lines.filter((line) => expected[JSON.parse(line).row] !== line).length;
  const digest = (list) => createHash("sha256").update(list.join("\n")).digest("hex");
  return { rows: lines.length, missing, doubled, different, equal: digest(lines) === digest(expected) };
}

const leftOvers = () => [at("out"), at("out/_parts")].flatMap((place) => readdirSync(place).filter((name) => name.endsWith(".tmp")));

let failed = false;
let disk;
try {
  makePairs();
  startRedis();
  say(
    `${plan.pairs} pairs in ${totalParts} parts, ${plan.workers} workers of one thread, ${cpus()[0]?.model.trim()}, ${availableParallelism()} cores`,
  );
  const before = Date.now();
  run("batch", at("pairs.jsonl"), "-m", model, "-o", at("reference.jsonl"), "--threads", "1", "-q");
  say(`one process on one thread: ${((Date.now() - before) / 1000).toFixed(1)} s`);
  disk = mountSmallDisk();
  if (!disk) say("skipped: filling a disk, since no tmpfs can be mounted here");
  run(
    "enqueue",
    at("pairs.jsonl"),
    "-m",
    model,
    "-o",
    at("out"),
    "--shard-rows",
    String(plan.shardRows),
    "--backoff-ms",
    "500",
    "--attempts",
    "20",
  );
  await startWrongWorker();
  const chaosStarted = Date.now();
  for (let i = 0; i < plan.workers; i++) startWorker();
  const hands = [killWorkers(), killRedis(), terminate()];
  if (disk) hands.push(until(0.55, 120_000).then(() => fillDisk(disk, 3000)));
  await Promise.all(hands);
  while (workers.size < plan.workers) startWorker();
  await until(1, 600_000);
  const report = () => JSON.parse(run("jobs", "--json"));
  let end = report();
  for (const deadline = Date.now() + 120_000; end.jobs[0]?.state !== "completed" && Date.now() < deadline; end = report()) await sleep(500);
  const seconds = (Date.now() - chaosStarted) / 1000;
  for (const worker of workers) {
    worker.expected = true;
    worker.kill("SIGTERM");
  }
  await Promise.all([...workers].map((worker) => worker.ended));
  const result = compare();
  const manifest = JSON.parse(readFileSync(at("out/_manifest.json"), "utf8"));
  const rows = [
    ["pairs", plan.pairs],
    ["parts", totalParts],
    ["kill -9 of workers", counts.kills],
    ["kill -9 of Redis", counts.redisKills],
    ["SIGTERM", `${counts.terms}, ${counts.termsGivenBack} parts given back`],
    ["full disk", disk ? "3 s" : "skipped"],
    ["worker with another model file", `ended with ${counts.wrongModel}`],
    ["parts begun again", end.totals.repeatedStarts],
    ["seconds", seconds.toFixed(1)],
    ["rows missing", result.missing],
    ["rows doubled", result.doubled],
    ["rows that differ from one process on one thread", result.different],
    ["job", end.jobs[0]?.state],
    ["parts failed", end.counts.failed],
    ["temporary files left", leftOvers().length],
    ["workers that died by themselves", counts.deaths.length],
  ];
  console.log(`\n${rows.map(([name, value]) => `| ${name} | ${value} |`).join("\n")}`);
  for (const death of counts.deaths) console.log(`died: ${death}`);
  failed =
    !result.equal ||
    result.rows !== plan.pairs ||
    end.jobs[0]?.state !== "completed" ||
    end.counts.failed > 0 ||
    counts.wrongModel !== 1 ||
    !manifest.complete ||
    leftOvers().length > 0 ||
    counts.deaths.length > 0;
} catch (error) {
  failed = true;
  console.error(error);
} finally {
  for (const worker of workers) worker.kill("SIGKILL");
  redis?.kill("SIGKILL");
  disk?.unmount();
  if (values.keep || failed) console.log(`The run lies in ${folder}`);
  else rmSync(folder, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);

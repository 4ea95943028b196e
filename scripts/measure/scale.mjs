// npm run scale: how much faster several workers of one thread are than one process, and what the queue takes a part.
//
//   --pairs n  --workers 1,2,4  --model file  --redis-server program
//
// Wall time needs a core for each worker, otherwise idle; CPU time says what the work costs whatever else runs.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = fileURLToPath(new URL("../../", import.meta.url));
const cli = path.join(root, "lib", "cli.js");
const { values } = parseArgs({
  options: {
    pairs: { type: "string", default: "4000" },
    workers: { type: "string", default: "1,2,4" },
    model: { type: "string", default: path.join(root, "models", "default.gguf") },
    "redis-server": { type: "string", default: "redis-server" },
  },
});
if (spawnSync(values["redis-server"], ["--version"]).status !== 0) {
  console.log(`skipped: ${values["redis-server"]} is not installed`);
  process.exit(0);
}
const pairs = Number(values.pairs);
const folder = mkdtempSync(path.join(tmpdir(), "bge-reranker-scale-"));
const at = (name) => path.join(folder, name);

const words =
  "store a loaf in paper bag at room temperature since cold of refrigerator makes its starch crystallise sooner what nobody eats".split(
    " ",
  );
const text = (seed, length) => Array.from({ length }, (_, i) => words[(seed * 7 + i * (1 + (seed % 5))) % words.length]).join(" ");
const lines = Array.from({ length: pairs }, (_, i) => JSON.stringify({ query: text(i, 6), passage: `${text(i + 1, 30 + (i % 40))} ${i}` }));
writeFileSync(at("pairs.jsonl"), `${lines.join("\n")}\n`);

const port = await new Promise((resolve) => {
  const server = createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});
mkdirSync(at("redis"));
const redis = spawn(
  values["redis-server"],
  ["--port", String(port), "--dir", at("redis"), "--appendonly", "yes", "--save", "", "--bind", "127.0.0.1"],
  { stdio: "ignore" },
);
const env = { ...process.env, REDIS_URL: `redis://127.0.0.1:${port}` };

/** Runs commands side by side: seconds until the last ends, and their CPU seconds (Linux; else NaN). */
async function measure(commands) {
  const started = performance.now();
  const usages = commands.map(() => Number.NaN);
  const children = commands.map((args) => spawn(process.execPath, [cli, ...args], { env, stdio: ["ignore", "ignore", "inherit"] }));
  let running = children.length;
  const ends = children.map((child) => new Promise((resolve) => child.once("close", resolve)).finally(() => running--));
  while (running > 0) {
    for (const [i, { pid }] of children.entries()) usages[i] = cpuSeconds(pid) ?? usages[i];
    await sleep(50);
  }
  const codes = await Promise.all(ends);
  if (codes.some((code) => code !== 0)) throw new Error(`A command ended with ${codes.join(", ")}`);
  return { wall: (performance.now() - started) / 1000, cpu: usages.reduce((sum, seconds) => sum + seconds, 0) };
}

function cpuSeconds(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return undefined;
  }
}

const model = ["-m", values.model];
const run = (...args) => execFileSync(process.execPath, [cli, ...args], { env, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
const worker = (queue) => ["worker", ...model, "--threads", "1", "--drain", "--queue", queue, "-q"];

try {
  console.log(`${pairs} pairs, ${cpus()[0]?.model.trim()}, ${availableParallelism()} cores, load ${loadavg()[0]?.toFixed(1)}\n`);
  const single = await measure([["batch", at("pairs.jsonl"), ...model, "--threads", "1", "-o", at("single"), "-q"]]);
  // A worker without work: what starting one costs.
  const none = await measure([worker("nothing")]);
  console.log(
    "| workers | seconds | speed-up | of the ideal | CPU seconds | without start-ups, of one process's |\n|---|---|---|---|---|---|",
  );
  const row = (name, { wall, cpu }, ideal, starts) =>
    console.log(
      `| ${name} | ${wall.toFixed(1)} | ${(single.wall / wall).toFixed(2)} | ${((100 * single.wall) / wall / ideal).toFixed(0)} % | ${cpu.toFixed(1)} | ${((100 * (cpu - starts * none.cpu)) / (single.cpu - none.cpu)).toFixed(0)} % |`,
    );
  row("one process, no queue", single, 1, 1);
  for (const count of values.workers.split(",").map(Number)) {
    run(
      "enqueue",
      at("pairs.jsonl"),
      ...model,
      "-o",
      at(`w${count}`),
      "--queue",
      `w${count}`,
      "--shard-rows",
      String(Math.ceil(pairs / (count * 8))),
      "-q",
    );
    row(count, await measure(Array.from({ length: count }, () => worker(`w${count}`))), Math.min(count, availableParallelism()), count);
  }

  // Parts that are there already cost the queue and the look at what is there, and nothing else.
  const parts = 1000;
  const some = lines.slice(0, parts).map((line) => `${line}\n`);
  writeFileSync(at("small.jsonl"), some.join(""));
  const small = [at("small.jsonl"), ...model, "-o", at("small"), "--shard-rows", "1"];
  run("batch", ...small, "-q");
  const beforeEnqueue = performance.now();
  run("enqueue", ...small, "--queue", "small", "--resume", "-q");
  const enqueued = performance.now() - beforeEnqueue;
  const skipped = await measure([worker("small")]);
  console.log(
    `\n${parts} parts that were done: ${(((skipped.wall - none.wall) * 1000) / parts).toFixed(1)} ms a part by one worker (${(((skipped.cpu - none.cpu) * 1000) / parts).toFixed(1)} ms CPU); enqueued in ${(enqueued / 1000).toFixed(1)} s; a worker starts in ${none.wall.toFixed(1)} s (${none.cpu.toFixed(1)} s CPU)`,
  );
} finally {
  redis.kill("SIGKILL");
  rmSync(folder, { recursive: true, force: true });
}

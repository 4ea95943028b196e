// Memory over time: thousands of load/score/dispose cycles, or minutes of mixed calls on loaded models. Prints the memory at
// intervals and a verdict, ends with exit code 1 when it grows, and leaves a record in build/platforms/soak-*.json.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { convert, Reranker } from "../../lib/index.js";
import { writeRecords } from "./platform-records.mjs";

const USAGE = `Usage: node scripts/checks/soak.mjs --cycles N | --minutes N [--max-growth-mb N]
  --cycles N          load, score, dispose, N times, over every architecture in turn
  --minutes N         calls of all kinds at once on loaded models, some released when idle, for N minutes
  --max-growth-mb N   growth of the resident set from the second to the last fifth that still passes (default 24)
  --no-record         leave build/platforms alone`;

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..");
const golden = path.join(root, "test", "golden");
const checkpoints = JSON.parse(readFileSync(path.join(golden, "checkpoints.json"), "utf8"));
const TYPES = ["f32", "q8_0"];
const MB = 1e6;

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc");

class Usage extends Error {}

function readOptions() {
  const { values } = parseArgs({
    options: {
      cycles: { type: "string" },
      minutes: { type: "string" },
      "max-growth-mb": { type: "string", default: "24" },
      "no-record": { type: "boolean", default: false },
    },
  });
  const [cycles, minutes, growth] = [values.cycles, values.minutes, values["max-growth-mb"]].map((value) => value && Number(value));
  if ((cycles === undefined) === (minutes === undefined)) throw new Usage("Give --cycles or --minutes");
  for (const number of [cycles, minutes, growth]) if (number !== undefined && !(number > 0)) throw new Usage("Expected a positive number");
  return { cycles, minutes, maxGrowthBytes: growth * MB, record: !values["no-record"] };
}

/** The golden checkpoints in both kinds of weights, as files in `folder`. */
async function makeModels(folder) {
  const models = [];
  for (const { name } of checkpoints) {
    for (const outtype of TYPES) {
      const output = path.join(folder, `${name}.${outtype}.gguf`);
      await convert(path.join(golden, name), { output, outtype });
      models.push(output);
    }
  }
  return models;
}

/** Resident set after a collection, as seen at intervals. */
class Samples {
  #started = performance.now();
  #bytes = [];

  take(label) {
    collectGarbage();
    const { rss, heapUsed, external } = process.memoryUsage();
    this.#bytes.push(rss);
    const seconds = Math.round((performance.now() - this.#started) / 1000);
    const mb = (bytes) => (bytes / MB).toFixed(1).padStart(7);
    console.log(
      `${String(seconds).padStart(5)} s  ${label.padEnd(14)} rss ${mb(rss)} MB  heap ${mb(heapUsed)} MB  external ${mb(external)} MB`,
    );
  }

  /** From the second to the last fifth, by their medians: the first is of a process that still warms up. */
  growth() {
    const fifth = Math.max(1, Math.floor(this.#bytes.length / 5));
    const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
    const [first, last] = [median(this.#bytes.slice(fifth, 2 * fifth)), median(this.#bytes.slice(-fifth))];
    return { first, last, bytes: last - first };
  }
}

const QUERY = "what is a panda?";
const documents = (count, words) =>
  Array.from({ length: count }, (_, i) => `The giant panda ${i} is a bear. `.repeat(1 + ((i * 7) % words)));

async function soakCycles(models, cycles, samples) {
  const every = Math.max(1, Math.floor(cycles / 50));
  const answers = new Map();
  for (let cycle = 0; cycle < cycles; cycle++) {
    if (cycle % every === 0) samples.take(`cycle ${cycle}`);
    const model = models[cycle % models.length];
    const reranker = await Reranker.load(model, { threads: 1 + (cycle % 3) });
    const scores = String(await reranker.computeScore(documents(8, 5).map((document) => [QUERY, document])));
    await reranker.dispose();
    if ((answers.get(model) ?? scores) !== scores) throw new Error(`${model} gives other scores in cycle ${cycle}`);
    answers.set(model, scores);
  }
  samples.take(`cycle ${cycles}`);
}

/** What callers do: many pairs, few, cancelled, chunked, failing. Each resolves whatever comes of it, or throws what must not be. */
const CALLS = [
  (reranker) => reranker.rerank(QUERY, documents(40, 30), { topN: 3 }),
  (reranker) => reranker.rerank(QUERY, documents(6, 200), { overflow: "chunk", maxLength: 128 }),
  (reranker) => reranker.computeScore([QUERY, "hi"], { normalize: true }),
  (reranker) => reranker.plan(QUERY, documents(20, 20)),
  async (reranker) => {
    const call = reranker.rerank(QUERY, documents(200, 40), { signal: AbortSignal.timeout(20) });
    await call.catch((error) => {
      if (error.name !== "TimeoutError") throw error;
    });
  },
  async (reranker) => {
    const call = reranker.rerank(QUERY, documents(3, 400), { overflow: "error" });
    await call.catch((error) => {
      if (error.code !== "TRUNCATED") throw error;
    });
  },
  async (reranker) => reranker.tokenize(documents(1, 2)[0].repeat(100)),
];

async function soakMinutes(models, minutes, samples) {
  const end = performance.now() + minutes * 60_000;
  const interval = Math.max(1000, (minutes * 60_000) / 60);
  const rerankers = await Promise.all(
    models.map((model, i) => Reranker.load(model, { threads: 2, ...(i % 3 === 0 && { keepAliveMs: 5 }) })),
  );
  let calls = 0;
  const caller = async (number) => {
    for (let i = number; performance.now() < end; i++) {
      await CALLS[i % CALLS.length](rerankers[(i * 5 + number) % rerankers.length]);
      calls++;
      if (i % 10 === 0) await sleep(10); // time to be idle in
    }
  };
  const callers = Promise.all([0, 1, 2, 3].map(caller));
  for (let next = performance.now(); next < end; next += interval) {
    await Promise.race([sleep(Math.max(0, next - performance.now())), callers]);
    samples.take(`${calls} calls`);
  }
  await callers;
  samples.take(`${calls} calls`);
  await Promise.all(rerankers.map((reranker) => reranker.dispose()));
  return calls;
}

async function main() {
  const { cycles, minutes, maxGrowthBytes, record } = readOptions();
  const folder = mkdtempSync(path.join(tmpdir(), "bge-soak-"));
  const samples = new Samples();
  try {
    const models = await makeModels(folder);
    const calls = cycles ? await soakCycles(models, cycles, samples) : await soakMinutes(models, minutes, samples);
    const { first, last, bytes } = samples.growth();
    const passed = bytes <= maxGrowthBytes;
    const work = cycles ? `${cycles} cycles of load, score, dispose` : `${calls} calls in ${minutes} minutes`;
    const detail = `${work}: rss ${(first / MB).toFixed(1)} -> ${(last / MB).toFixed(1)} MB, at most ${maxGrowthBytes / MB} MB more allowed`;
    console.log(`${passed ? "PASS" : "FAIL"}  ${detail}`);
    if (record)
      writeRecords(cycles ? "soak-cycles" : "soak-minutes", [
        {
          area: "memory",
          combination: cycles ? "load, score, dispose" : "many callers at once",
          how: `node scripts/checks/soak.mjs ${cycles ? `--cycles ${cycles}` : `--minutes ${minutes}`}`,
          result: passed ? "pass" : "fail",
          detail: `Node ${process.versions.node}; ${detail}`,
        },
      ]);
    process.exitCode = passed ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

try {
  await main();
} catch (error) {
  const usage = error instanceof Usage || error.code?.startsWith("ERR_PARSE_ARGS");
  console.error(usage ? `${error.message}\n\n${USAGE}` : error.stack);
  process.exitCode = usage ? 2 : 1;
}

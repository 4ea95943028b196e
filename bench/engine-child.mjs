// The process that one engine runs in. The parent asks, one thing at a time: load, warmUp, run, usage, close.
import { readFileSync } from "node:fs";
import { median } from "./statistics.mjs";

let engine;
let workloads;

const handlers = {
  /** Times the import of the engine's package and the opening of the model together. */
  async load({ module, workloadFile, ...options }) {
    workloads = new Map(JSON.parse(readFileSync(workloadFile, "utf8")).map((workload) => [workload.name, workload]));
    const start = performance.now();
    const { load } = await import(`./engines/${module}.mjs`);
    engine = await load(options);
    return { loadMs: performance.now() - start, facts: engine.facts ?? {} };
  },

  /** Scores some pairs untimed, and lets the engine choose its batch size for the workload. */
  async warmUp({ name }) {
    const workload = workloads.get(name);
    const pairs = workload.pairs.filter((_, i) => i % Math.ceil(workload.pairs.length / 24) === 0);
    await engine.score(pairs.slice(0, 4), workload);
    return (await engine.tune?.(pairs, workload)) ?? {};
  },

  /**
   * Scores a whole workload, again and again until `minMs` have passed. A short one goes once before, not counted: the
   * other engines had the processor and its caches meanwhile.
   * @returns Median wall time and mean CPU time of one pass, the logits, and each caller's own wait.
   */
  async run({ name, minMs, settings }) {
    const workload = { ...workloads.get(name), ...settings };
    const once = await measured(workload, 0);
    return once.wallMs < minMs ? measured(workload, minMs) : once;
  },

  async usage() {
    return { peakRssBytes: engine.usage?.().peakRssBytes ?? peakRss() };
  },

  async close() {
    await engine?.close();
    return {};
  },
};

/** Scores the workload again and again until `minMs` have passed, once at least. */
async function measured(workload, minMs) {
  const wall = [];
  const waits = [];
  let logits;
  const cpuStart = cpuMs();
  const start = performance.now();
  do {
    const before = performance.now();
    logits = await pass(workload, waits);
    wall.push(performance.now() - before);
  } while (performance.now() - start < minMs);
  return { wallMs: median(wall), cpuMs: (cpuMs() - cpuStart) / wall.length, passes: wall.length, waitMs: median(waits), logits };
}

async function pass(workload, waits) {
  const logits = [];
  const call = async (indices) => {
    const start = performance.now();
    const scores = await engine.score(
      indices.map((i) => workload.pairs[i]),
      workload,
    );
    waits.push(performance.now() - start);
    for (const [at, i] of indices.entries()) logits[i] = scores[at];
  };
  if (workload.concurrent) await Promise.all(workload.calls.map(call));
  else for (const indices of workload.calls) await call(indices);
  return logits;
}

function cpuMs() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000 + (engine.usage?.().cpuMs ?? 0);
}

/** Of this process alone: what Linux reports as maxRSS begins with the parent's. */
function peakRss() {
  try {
    return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))[1]) * 1024;
  } catch {
    return process.resourceUsage().maxRSS * 1024;
  }
}

process.on("message", async ({ id, method, params }) => {
  try {
    process.send({ id, result: await handlers[method](params) });
    if (method === "close") process.disconnect();
  } catch (error) {
    process.send({ id, error: error?.message ?? String(error) });
  }
});

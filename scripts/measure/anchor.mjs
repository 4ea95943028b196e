// Times this package beside FlagEmbedding (torch, float16 on a GPU) on the same device: the same checkpoints of random weights, pairs
// and batch sizes, in turns. Prints a Markdown section. Python is found at run time; without it, or FlagEmbedding in it, ours runs alone
// and the output says so. Nothing is fetched.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import * as flagembedding from "../../bench/engines/flagembedding.mjs";
import * as torch from "../../bench/engines/torch.mjs";
import { prepare } from "../../bench/prepared.mjs";
import { SHAPES } from "../../bench/shapes.mjs";
import { compareLogits, median } from "../../bench/statistics.mjs";
import { Reranker } from "../../lib/index.js";

const USAGE = `Usage: node scripts/measure/anchor.mjs [options]
  --device NAME    cuda:0 (default); cpu tries the script itself, torch in float32
  --shapes LIST    of base, large, gemma (default: all), golden (tiny, to try the script)
  --layers N       only the first N layers (default: all; 4 of gemma's 18)
  --types LIST     files of ours (default: f16,q8_0)
  --passages N     of the first workload (default 256), a quarter of it as pairs of 512 tokens
  --batch-size N   of both (default 128)
  --rounds N       turns of every engine (default 3)
  --threads N      of the processor (default: physical cores)
  --python NAME    the Python that has torch and FlagEmbedding (default: python3)
  --minutes N      begin no shape and no round after so long (default: no limit)`;

const { values: options } = parseArgs({
  options: {
    device: { type: "string", default: "cuda:0" },
    shapes: { type: "string", default: "base,large,gemma" },
    layers: { type: "string" },
    types: { type: "string", default: "f16,q8_0" },
    passages: { type: "string", default: "256" },
    "batch-size": { type: "string", default: "128" },
    rounds: { type: "string", default: "3" },
    threads: { type: "string" },
    python: { type: "string", default: "python3" },
    minutes: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

const LAYERS = { gemma: 4 };
const SHORTEST_MS = 300; // short workloads are repeated for so long
const { device, python } = options;
const batchSize = Number(options["batch-size"]);
const dtype = device === "cpu" ? "float32" : "float16";
const torchDevice = device.startsWith("cuda") || device === "cpu" ? device : undefined;
const started = performance.now();
const outOfTime = () => options.minutes !== undefined && performance.now() - started > 60_000 * Number(options.minutes);
const say = (line) => console.log(line);
const log = (line) => console.error(`  ${((performance.now() - started) / 1000).toFixed(0)} s: ${line}`);

/** Engines, each `{ title, score }`, and why others are not there. */
async function openAll(shape, prepared, threads) {
  const engines = [];
  const missing = [];
  let yes = -1;
  for (const type of options.types.split(",")) {
    const reranker = await Reranker.load(prepared.files[type.toUpperCase()], { devices: device, threads, batchSize });
    if (shape.family === "decoder") yes = reranker.tokenize("Yes")[0];
    const score = async ({ pairs }) => {
      const start = performance.now();
      const logits = await reranker.computeScore(pairs.map(({ query, passage }) => [query, passage]));
      return { logits, ms: performance.now() - start };
    };
    engines.push({ title: `ours ${type.toUpperCase()}`, ours: true, score, close: () => reranker.dispose() });
  }
  const theirs = {
    checkpoint: prepared.files.checkpoint,
    family: shape.family,
    threads,
    device: torchDevice,
    dtype,
    batchSize,
    yes,
    python,
  };
  const add = async (title, module, more) => {
    try {
      if (torchDevice === undefined) throw new Error(`torch has no ${device}`);
      const engine = await module.load({ ...theirs, ...more });
      const versions = Object.entries(engine.facts).map((fact) => fact.join(" "));
      engines.push({ title, versions, reference: more?.dtype !== undefined, score: engine.time, close: engine.close });
    } catch (error) {
      missing.push(`${title}: ${error.message}`);
    }
  };
  await add(`FlagEmbedding ${dtype}`, flagembedding);
  await add(`torch ${dtype}, ready ids`, torch);
  // What the scores are compared with, not timed.
  if (dtype !== "float32") await add("torch float32, ready ids", torch, { dtype: "float32" });
  return { engines, missing };
}

async function timed(engine, workload) {
  const times = [];
  const start = performance.now();
  do times.push((await engine.score(workload)).ms);
  while (performance.now() - start < SHORTEST_MS);
  return median(times);
}

async function measureShape(name) {
  const shape = SHAPES[name];
  const layers = Math.min(shape.layers, Number(options.layers ?? LAYERS[name] ?? shape.layers));
  const passages = Number(options.passages);
  const prepared = await prepare({
    shapeName: name,
    layers,
    files: ["checkpoint", ...options.types.split(",").map((type) => type.toUpperCase())],
    counts: { passages, long: shape.qualityOnly ? 0 : Math.ceil(passages / 4), single: true, callers: 0, passagesPerCaller: 0 },
  });
  const threads = Number(options.threads ?? prepared.cpu.physicalCores);
  const workloads = JSON.parse(readFileSync(prepared.workloadFile, "utf8")).filter((workload) => !workload.name.startsWith("prefix-"));
  log(`${shape.title}: files are ready`);
  const { engines, missing } = await openAll(shape, prepared, threads);
  for (const reason of missing) log(`SKIPPED ${reason}`);
  try {
    const cut = layers === shape.layers ? "" : `, first ${layers} layers`;
    say(`\n### ${shape.title}${cut} (random weights), batches of ${batchSize}, ${device}\n`);
    const versions = [...new Set(engines.flatMap((engine) => engine.versions ?? []))].join(", ");
    say(versions ? `Beside ${versions}.` : "Ours alone.");
    for (const reason of missing) say(`Not run: ${reason}.`);
    await measureWorkloads(workloads, engines);
  } finally {
    for (const engine of engines) await engine.close();
  }
}

async function measureWorkloads(workloads, engines) {
  const runs = new Map();
  for (const workload of workloads) {
    for (const engine of engines) runs.set(`${workload.name} ${engine.title}`, { logits: (await engine.score(workload)).logits, ms: [] });
  }
  log("every engine has scored everything once; now in turns");
  const inTime = engines.filter(({ reference }) => !reference);
  for (let round = 0; round < Number(options.rounds) && !(round > 0 && outOfTime()); round++) {
    for (const workload of workloads) {
      // Each round begins with another engine.
      for (const [i] of inTime.entries()) {
        const engine = inTime[(i + round) % inTime.length];
        runs.get(`${workload.name} ${engine.title}`).ms.push(await timed(engine, workload));
      }
    }
    log(`round ${round + 1} of ${options.rounds}`);
  }
  const exact = engines.find(({ reference }) => reference) ?? engines.find(({ ours }) => !ours);
  const flag = engines.find(({ title }) => title.startsWith("FlagEmbedding"));
  say("");
  say(
    `| workload | engine | tokens/s | documents/s | ms | times FlagEmbedding | largest difference of a score${exact ? ` to ${exact.title}` : ""} |`,
  );
  say("|---|---|---|---|---|---|---|");
  for (const workload of workloads) {
    const tokens = workload.pairs.reduce((sum, { ids }) => sum + ids.length, 0);
    const of = (engine) => runs.get(`${workload.name} ${engine.title}`);
    for (const engine of inTime) {
      const ms = median(of(engine).ms);
      const ratio = flag ? `${(median(of(flag).ms) / ms).toFixed(2)}` : "-";
      const { maxDelta, referenceSpread } = exact ? compareLogits(of(engine).logits, of(exact).logits) : {};
      const delta =
        maxDelta === undefined
          ? "-"
          : `${maxDelta.toExponential(1)}${referenceSpread > 0 ? ` (they spread ${referenceSpread.toFixed(2)})` : ""}`;
      const perSecond = (count) => Math.round((1000 * count) / ms).toLocaleString("en");
      say(
        `| ${workload.title} | ${engine.title} | ${perSecond(tokens)} | ${perSecond(workload.pairs.length)} | ${ms.toFixed(1)} | ${ratio} | ${delta} |`,
      );
    }
  }
}

if (options.help) console.log(USAGE);
else {
  for (const name of options.shapes.split(",")) {
    if (!Object.hasOwn(SHAPES, name)) throw new RangeError(`Expected --shapes to be of ${Object.keys(SHAPES).join(", ")}, got \`${name}\``);
    if (outOfTime()) say(`\nNot run, the time is up: ${name}.`);
    else await measureShape(name);
  }
}

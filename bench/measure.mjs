// Measures one shape: every engine in its own process, never two at work at once, in rounds A B C, B C A ...
import os from "node:os";
import { EngineProcess } from "./engine-process.mjs";
import { BASELINE, ENGINES, REFERENCE_FILE } from "./plan.mjs";
import { operationsOf } from "./shapes.mjs";
import { compareLogits, median } from "./statistics.mjs";

const SHORTEST_MS = 1000; // short workloads are repeated for so long
const SLOW_MS = 20_000; // an engine that takes longer for a workload has its second round as its last
const log = (text) => console.error(`  ${text}`);

/**
 * @param plan - { shape, layers, threads, rounds, engines: names, missing: Map, prepared, chip }
 * @returns Results of the shape, ready for the report.
 */
export async function measureShape(plan) {
  const entries = plan.engines.map((name) => newEntry(name, plan));
  const timed = plan.prepared.workloads.filter(({ name }) => !name.startsWith("prefix-"));
  const keepAll = fitsInMemory(entries);
  if (!keepAll) log("memory is short: engines are loaded anew for every round");
  try {
    const reference = await referenceLogits(plan);
    for (let round = 0; round < plan.rounds; round++) await runRound(entries, timed, round, keepAll, plan);
    const extras = plan.shape.family === "decoder" ? await measureDecoder(entries, plan) : {};
    for (const entry of running(entries)) await guarded(entry, async () => noteUsage(entry));
    return summarize(entries, timed, reference, extras, plan);
  } finally {
    for (const { process } of entries) await process?.close();
  }
}

function newEntry(name, { missing, prepared, threads, shape }) {
  const engine = ENGINES[name];
  const file = prepared.files[engine.file];
  const options = {
    module: engine.module,
    workloadFile: prepared.workloadFile,
    threads,
    family: shape.family,
    weightMode: engine.weightMode,
    gguf: file,
    onnx: file,
    checkpoint: file,
  };
  return {
    name,
    engine,
    options,
    fileBytes: prepared.sizes[engine.file],
    failed: missing.get(name),
    runs: {},
    batchSizes: {},
    loadMs: [],
    rss: 0,
  };
}

const running = (entries) => entries.filter(({ failed, process }) => !failed && process);

/** All engines stay loaded when that takes at most three quarters of what is free. */
function fitsInMemory(entries) {
  const needed = entries.reduce((sum, { fileBytes, failed }) => sum + (failed ? 0 : 1.5 * fileBytes + 2e8), 0);
  return needed < 0.75 * (process.availableMemory?.() ?? os.freemem());
}

async function runRound(entries, workloads, round, keepAll, plan) {
  log(`round ${round + 1} of ${plan.rounds}`);
  if (!keepAll) {
    for (const entry of entries) {
      await start(entry, workloads, round);
      for (const workload of workloads) await runOnce(entry, workload, round);
      await stop(entry);
    }
    return;
  }
  if (round === 0) for (const entry of entries) await start(entry, workloads, round);
  // Each round begins with another engine: the first of a workload finds the processor as a longer one left it.
  const first = round % entries.length;
  const inTurn = [...entries.slice(first), ...entries.slice(0, first)];
  for (const workload of workloads) for (const entry of inTurn) await runOnce(entry, workload, round);
}

async function start(entry, workloads, round) {
  await guarded(entry, async () => {
    entry.process = new EngineProcess(entry.engine.env);
    const { loadMs, facts } = await entry.process.ask("load", entry.options);
    entry.loadMs.push(loadMs);
    entry.facts = facts;
    for (const { name } of workloads.filter((workload) => isWanted(entry, workload, round))) {
      const { batchSize } = await entry.process.ask("warmUp", { name });
      if (batchSize) entry.batchSizes[name] = batchSize;
    }
    log(`${entry.engine.title}: ready, loaded in ${(loadMs / 1000).toFixed(2)} s`);
  });
}

async function stop(entry) {
  await guarded(entry, async () => noteUsage(entry));
  await entry.process?.close();
  entry.process = undefined;
}

async function noteUsage(entry) {
  const { peakRssBytes } = await entry.process.ask("usage");
  entry.rss = Math.max(entry.rss, peakRssBytes);
}

const isWanted = ({ runs }, { name }, round) => round < 2 || (runs[name]?.[0]?.wallMs ?? 0) < SLOW_MS;

async function runOnce(entry, workload, round) {
  if (!isWanted(entry, workload, round)) return;
  await guarded(entry, async () => {
    const run = await entry.process.ask("run", { name: workload.name, minMs: SHORTEST_MS });
    entry.runs[workload.name] ??= [];
    entry.runs[workload.name][round] = run;
  });
}

/** An engine that fails is out, with its reason; the others go on. */
async function guarded(entry, work) {
  if (entry.failed) return;
  try {
    await work();
  } catch (error) {
    entry.failed = error.message;
    log(`${entry.engine.title}: failed: ${error.message}`);
    entry.process?.kill();
    entry.process = undefined;
  }
}

/** Logits of the "passages" workload from the most exact file. Not timed. */
async function referenceLogits({ prepared, threads, shape }) {
  const type = REFERENCE_FILE[shape.family];
  log(`reference logits: ours ${type}`);
  const engine = new EngineProcess();
  try {
    await engine.ask("load", { module: "ours", workloadFile: prepared.workloadFile, threads, gguf: prepared.files[type] });
    return (await engine.ask("run", { name: "passages", minMs: 0 })).logits;
  } catch (error) {
    log(`no reference logits: ${error.message}`);
    return undefined;
  } finally {
    await engine.close();
  }
}

/** What only decoders have: a query shared by many documents, and early exits. Measured on the baseline engine. */
async function measureDecoder(entries, { shape, layers, prepared, rounds }) {
  const entry = entries.find(({ name }) => name === BASELINE);
  if (!entry || entry.failed) return {};
  const alone = entry.process === undefined;
  if (alone) await start(entry, [], 0);
  const wallOf = async (name, settings) => {
    const times = [];
    for (let i = 0; i < Math.min(2, rounds); i++) times.push((await entry.process.ask("run", { name, minMs: 0, settings })).wallMs);
    return median(times);
  };
  const extras = {};
  await guarded(entry, async () => {
    extras.sharedPrefix = [];
    const prefixes = prepared.workloads.filter(({ name }) => name.endsWith("-same"));
    for (const { name, lengths } of prefixes) {
      log(`shared query: ${name}`);
      const sharedMs = await wallOf(name);
      const distinctMs = await wallOf(name.replace("-same", "-distinct"));
      extras.sharedPrefix.push({
        queryWords: Number(name.split("-")[1]),
        documents: lengths.length,
        sharedMs,
        distinctMs,
        gain: distinctMs / sharedMs,
      });
    }
    if (!shape.exits) return;
    log("early exits and a cascade");
    const documents = prepared.workloads.find(({ name }) => name === "passages").lengths.length;
    const steps = [8, 16, 24, 32, 40].filter((layer) => layer <= layers);
    if (steps.at(-1) !== layers) steps.push(layers);
    extras.exits = [];
    for (const layer of steps) extras.exits.push({ layer, wallMs: await wallOf("passages", { cutoffLayers: layer }) });
    const cascade = steps.slice(0, -1).map((layer, i) => ({ layer, keep: Math.max(1, Math.ceil(documents / 2 ** (i + 1))) }));
    extras.cascade = { stages: cascade, wallMs: await wallOf("passages", { cascade }) };
  });
  if (alone) await stop(entry);
  return extras;
}

function summarize(entries, workloads, reference, extras, plan) {
  const baseline = entries.find(({ name }) => name === BASELINE);
  return {
    shape: plan.shapeName,
    title: plan.shape.title,
    qualityOnly: plan.shape.qualityOnly ?? false,
    layers: plan.layers,
    layersOfModel: plan.shape.layers,
    tokenizer: plan.prepared.tokenizer,
    reference: reference && REFERENCE_FILE[plan.shape.family],
    workloads: workloads.map(({ name, title, lengths }) => ({
      name,
      title,
      pairs: lengths.length,
      tokens: sum(lengths),
      ...operationsOf(plan.shape, plan.layers, lengths),
    })),
    engines: entries.map((entry) => ({
      name: entry.name,
      title: entry.engine.title,
      failed: entry.failed,
      arithmetic: entry.engine.arithmetic,
      isa: entry.facts?.isa,
      fileBytes: entry.fileBytes,
      loadMs: entry.loadMs.length > 0 ? median(entry.loadMs) : undefined,
      peakRssBytes: entry.rss || undefined,
      quality: qualityOf(entry, reference),
      workloads: Object.fromEntries(
        workloads.filter(({ name }) => entry.runs[name]).map((workload) => [workload.name, numbersOf(entry, baseline, workload, plan)]),
      ),
    })),
    ...extras,
  };
}

function qualityOf(entry, reference) {
  const logits = entry.runs.passages?.find(Boolean)?.logits;
  return reference && logits?.every(Number.isFinite) ? compareLogits(logits, reference) : undefined;
}

function numbersOf(entry, baseline, { name, lengths }, { shape, layers, threads, chip }) {
  const runs = entry.runs[name];
  const done = runs.filter(Boolean);
  const tokens = sum(lengths);
  const wallMs = median(done.map((run) => run.wallMs));
  const cpuMs = median(done.map((run) => run.cpuMs));
  const { needed, nominal } = operationsOf(shape, layers, lengths);
  const limit = chip[entry.engine.arithmetic] * 1e9; // operations a second of one thread; NaN when not measured
  return {
    rounds: done.length,
    wallMs,
    cpuMs,
    waitMs: median(done.map((run) => run.waitMs)),
    tokensPerSecond: (1000 * tokens) / wallMs,
    tokensPerCpuSecond: (1000 * tokens) / cpuMs,
    pairsPerSecond: (1000 * lengths.length) / wallMs,
    batchSize: entry.batchSizes[name],
    ofLimit: part((1000 * needed) / wallMs / (limit * threads)),
    ofLimitCpu: part((1000 * needed) / cpuMs / limit),
    ofLimitNominalCpu: part((1000 * nominal) / cpuMs / limit),
    // How many times as fast the baseline was, in the rounds both took part in.
    baselineRatio: ratio(runs, baseline?.runs[name], "wallMs"),
    baselineRatioCpu: ratio(runs, baseline?.runs[name], "cpuMs"),
  };
}

function ratio(runs, baseline, field) {
  const ratios = runs.flatMap((run, round) => (run && baseline?.[round] ? [run[field] / baseline[round][field]] : []));
  return ratios.length > 0 ? median(ratios) : undefined;
}

const part = (value) => (Number.isFinite(value) ? value : undefined);
const sum = (values) => values.reduce((total, value) => total + value, 0);

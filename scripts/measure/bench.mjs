// npm run bench: speed, memory and quality of this package beside its peers, in one run. See docs/benchmarks.md.
import { rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { measureChip } from "../../bench/chip.mjs";
import { measureShape } from "../../bench/measure.mjs";
import { installPeers, peerVersion, whyNoTorch } from "../../bench/peers.mjs";
import { BASELINE, ENGINES, QUICK_ENGINES, QUICK_LAYERS, REFERENCE_FILE, WORKLOADS } from "../../bench/plan.mjs";
import { prepare } from "../../bench/prepared.mjs";
import { markdownReport, summaryOf, textReport } from "../../bench/report.mjs";
import { SHAPES } from "../../bench/shapes.mjs";

const USAGE = `Usage: npm run bench -- [options]
  --quick             base shape, Q8_0 and onnxruntime int8, 100 passages
  --shapes LIST       of ${Object.keys(SHAPES).join(", ")} (default: all)
  --engines LIST      of ${Object.keys(ENGINES).join(", ")}
                      (default: all; ${BASELINE} always takes part)
  --rounds N          rounds A B C, A B C ... (default 3)
  --threads N         threads of every engine (default: physical cores)
  --passages N        passages of the first workload (default 100; 12 for decoders)
  --layers N          only the first N layers
  --tokenizer FILE    a real tokenizer.json[.gz] for the shapes; default: an invented one of the same kind and size
  --json              the last line of output is the report as one line of JSON, with its \`summary\`
  --markdown FILE     also write the report as Markdown
  --fresh             make all files in build/bench anew`;

const here = path.dirname(fileURLToPath(import.meta.url));

function readOptions() {
  const { values } = parseArgs({
    options: {
      quick: { type: "boolean", default: false },
      shapes: { type: "string" },
      engines: { type: "string" },
      rounds: { type: "string", default: "3" },
      threads: { type: "string" },
      passages: { type: "string" },
      layers: { type: "string" },
      tokenizer: { type: "string" },
      json: { type: "boolean", default: false },
      markdown: { type: "string" },
      fresh: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  const engines = names("engines", values.engines, ENGINES, values.quick ? QUICK_ENGINES : Object.keys(ENGINES));
  return {
    ...values,
    shapes: names("shapes", values.shapes, SHAPES, values.quick ? ["golden", "base"] : Object.keys(SHAPES)),
    engines: engines.includes(BASELINE) ? engines : [BASELINE, ...engines],
    rounds: count("rounds", values.rounds),
    threads: count("threads", values.threads),
    passages: count("passages", values.passages),
    layers: count("layers", values.layers),
  };
}

function names(option, text, known, otherwise) {
  if (text === undefined) return otherwise;
  const list = text.split(",").map((name) => name.trim());
  for (const name of list) {
    if (!Object.hasOwn(known, name))
      throw new RangeError(`Expected --${option} to be of ${Object.keys(known).join(", ")}, got \`${name}\``);
  }
  return list;
}

function count(option, text) {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d*$/.test(text)) throw new RangeError(`Expected --${option} to be a positive integer, got \`${text}\``);
  return Number(text);
}

/** Engines of a family that cannot run here, with the reason. */
function findMissing(engines) {
  const missing = new Map();
  const failedPackages = installPeers(engines.flatMap((name) => ENGINES[name].package ?? []));
  for (const name of engines) {
    const reason = name === "torch" ? whyNoTorch() : failedPackages.get(ENGINES[name].package);
    if (reason !== undefined) missing.set(name, reason);
  }
  return missing;
}

function countsOf({ family, qualityOnly }, { quick, passages }) {
  if (qualityOnly) return WORKLOADS.golden;
  const counts = quick ? WORKLOADS[family === "decoder" ? "quickDecoder" : "quick"] : WORKLOADS[family];
  return { ...counts, passages: passages ?? counts.passages };
}

async function benchShape(shapeName, options, missing, chip) {
  const shape = SHAPES[shapeName];
  const engines = options.engines.filter((name) => ENGINES[name].families.includes(shape.family));
  const layers = shape.qualityOnly
    ? shape.layers
    : Math.min(shape.layers, options.layers ?? (options.quick ? QUICK_LAYERS[shapeName] : undefined) ?? shape.layers);
  const needed = engines.filter((name) => !missing.has(name)).map((name) => ENGINES[name].file);
  console.error(`${shape.title}${layers === shape.layers ? "" : `, first ${layers} layers`}`);
  const prepared = await prepare({
    shapeName,
    layers,
    files: [...needed, REFERENCE_FILE[shape.family]],
    counts: countsOf(shape, options),
    tokenizerFile: options.tokenizer && path.resolve(options.tokenizer),
  });
  const threads = options.threads ?? prepared.cpu.physicalCores;
  const result = await measureShape({
    shapeName,
    shape,
    layers,
    threads,
    rounds: shape.qualityOnly ? 1 : options.rounds,
    engines,
    missing,
    prepared,
    chip,
  });
  return { result, threads, cpu: prepared.cpu };
}

async function main() {
  const options = readOptions();
  if (options.help) {
    console.log(USAGE);
    return;
  }
  const started = performance.now();
  if (options.fresh) rmSync(path.join(here, "..", "..", "build", "bench"), { recursive: true, force: true });
  const loadAverage = os.loadavg()[0];
  const missing = findMissing(options.engines);
  const chip = measureChip();
  const shapes = [];
  let machine;
  for (const name of options.shapes) {
    const { result, threads, cpu } = await benchShape(name, options, missing, chip);
    shapes.push(result);
    const peers = [...new Set(options.engines.filter((engine) => !missing.has(engine)).flatMap((engine) => ENGINES[engine].package ?? []))];
    machine = {
      cpu: os.cpus()[0]?.model ?? process.arch,
      cores: cpu.physicalCores,
      threads,
      isa: cpu.isa,
      node: process.versions.node,
      chip,
      loadAverage,
      versions: peers.map((peer) => `${peer} ${peerVersion(peer)}`),
    };
    for (const { name: engine, failed } of result.engines) if (failed) missing.set(engine, failed);
  }
  const report = { summary: { ...summaryOf(shapes, missing), seconds: Math.round((performance.now() - started) / 1000) }, machine, shapes };
  console.log(textReport(report));
  if (options.markdown) writeFileSync(options.markdown, markdownReport(report));
  if (options.json) console.log(JSON.stringify(report));
}

try {
  await main();
} catch (error) {
  console.error(error instanceof RangeError || error.code?.startsWith("ERR_PARSE_ARGS") ? `${error.message}\n\n${USAGE}` : error.stack);
  process.exitCode = error instanceof RangeError || error.code?.startsWith("ERR_PARSE_ARGS") ? 2 : 1;
}

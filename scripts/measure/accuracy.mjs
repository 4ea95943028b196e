// npm run accuracy: what quantised weights and int8 products do to logits and rankings, in one run. See docs/benchmarks.md.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { measureModel } from "../../bench/accuracy/model.mjs";
import { PEERS } from "../../bench/accuracy/peers.mjs";
import { markdownReport, textReport } from "../../bench/accuracy/report.mjs";
import { datasetPairs, filePairs } from "../../bench/accuracy/texts.mjs";
import { installPeers } from "../../bench/peers.mjs";
import { listDevices } from "../../lib/index.js";

const MODES = ["native", "fast", "row-int8"];
const USAGE = `Usage: npm run accuracy -- [GGUF file or checkpoint folder ...] [options]     (default: the embedded model)
  --dataset FOLDER    data set laid out as BEIR's, as \`bge-reranker eval\` takes it (default: test/data/debian-descriptions)
  --queries N         queries of it, spread evenly (default 20); of --pairs the first (default: all)
  --candidates N      documents of each query (default 20)
  --pairs FILE        JSON lines of "query", "passage" and, for nDCG, "label": true, false or a grade; instead of a data set
  --types LIST        tensor types, such as q8_0,q5_k,q4_k (default: the file's own, q8_0 of F32)
  --calibrate FILE    JSON lines of "query" and "passage": measures each type with an importance matrix of theirs, too
  --modes LIST        weight modes of ${MODES.join(", ")} (default: all)
  --levels LIST       instruction sets beside the chip's best, plain being ggml's own kernels (default: plain)
  --peers LIST        of ${Object.keys(PEERS).join(", ")} (default: none)
  --max-length N      tokens of a pair (default: the model's)
  --threads N         threads of every engine (default: physical cores)
  --json              the last line of output is the report as one line of JSON
  --markdown FILE     also write the report as Markdown`;

const root = fileURLToPath(new URL("../../", import.meta.url));

function readOptions() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      dataset: { type: "string", default: path.join(root, "test", "data", "debian-descriptions") },
      queries: { type: "string" },
      candidates: { type: "string", default: "20" },
      pairs: { type: "string" },
      types: { type: "string" },
      calibrate: { type: "string" },
      modes: { type: "string", default: MODES.join() },
      levels: { type: "string", default: "plain" },
      peers: { type: "string", default: "" },
      "max-length": { type: "string" },
      threads: { type: "string" },
      json: { type: "boolean", default: false },
      markdown: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  return {
    ...values,
    files: positionals.length > 0 ? positionals : [path.join(root, "models", "default.gguf")],
    queries: count("queries", values.queries),
    candidates: count("candidates", values.candidates),
    types: values.types === undefined ? undefined : list(values.types).map((type) => type.toUpperCase()),
    modes: known("modes", list(values.modes), MODES),
    levels: list(values.levels),
    peers: known("peers", list(values.peers), Object.keys(PEERS)),
    maxLength: count("max-length", values["max-length"]),
    threads: count("threads", values.threads),
  };
}

const list = (text) => (text === "" ? [] : text.split(",").map((name) => name.trim()));

function known(option, names, legal) {
  for (const name of names) {
    if (!legal.includes(name)) throw new RangeError(`Expected --${option} to be of ${legal.join(", ")}, got \`${name}\``);
  }
  return names;
}

function count(option, text) {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d*$/.test(text)) throw new RangeError(`Expected --${option} to be a positive integer, got \`${text}\``);
  return Number(text);
}

async function main() {
  const options = readOptions();
  if (options.help) {
    console.log(USAGE);
    return;
  }
  const missing = installPeers(options.peers.map((peer) => PEERS[peer]));
  for (const [name, reason] of missing) console.error(`  ${name}: ${reason}`);
  const pairs =
    options.pairs === undefined
      ? await datasetPairs(options.dataset, { ...options, queries: options.queries ?? 20 })
      : await filePairs(options.pairs, options);
  if (pairs.length < 2) throw new RangeError("Expected two pairs or more");
  const calibration = options.calibrate && filePairs(options.calibrate, {});
  const threads = options.threads ?? (await listDevices()).cpu.physicalCores;
  const models = [];
  for (const source of options.files) {
    console.error(source);
    const folder = mkdtempSync(path.join(os.tmpdir(), "bge-reranker-accuracy-"));
    try {
      const { types, modes, levels, peers, maxLength } = options;
      const model = await measureModel(source, { pairs, calibration, types, modes, levels, peers, threads, maxLength, folder });
      console.log(textReport([model]));
      models.push(model);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  if (options.markdown) writeFileSync(options.markdown, markdownReport(models));
  if (options.json) console.log(JSON.stringify({ models }));
}

try {
  await main();
} catch (error) {
  const mistake = error instanceof RangeError || error.code?.startsWith("ERR_PARSE_ARGS");
  console.error(mistake ? `${error.message}\n\n${USAGE}` : error.stack);
  process.exitCode = mistake ? 2 : 1;
}

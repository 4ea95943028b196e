// The fuzzer of the TypeScript parsers: coverage-guided as libFuzzer is, with the block counts of V8 for its signal. Inputs
// that reach something new are kept and mutated further. `scripts/checks/fuzz.mjs` starts it.
//   node test/fuzz/run.mjs TARGET --seconds N --seed N --corpus FOLDER
//   node test/fuzz/run.mjs TARGET FILE ...     runs these inputs
import { createHash } from "node:crypto";
import { ftruncateSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { Session } from "node:inspector";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { readSafetensorsFolder } from "../../lib/convert/safetensors.js";
import { readSentencePieceModel } from "../../lib/tokenizer/sentencepiece.js";
import { tokenizerSpecOf } from "../../lib/tokenizer/tokenizer-spec.js";
import { readVocabulary } from "../../lib/tokenizer/vocabulary.js";
import { installMemoryFiles } from "./memory-files.mjs";
import { randomFrom } from "./mutate.mjs";
import { safetensors, sentencepiece, tokenizerJson } from "./targets.mjs";

const MAX_INPUT = 1 << 17; // bytes
const MAX_SECONDS = 2; // of CPU time for one input
const PROGRESS_SECONDS = 30;
const BATCH = 16;

const fill = installMemoryFiles();

const parsers = { readSafetensorsFolder, readSentencePieceModel, tokenizerSpecOf, readVocabulary };
const TARGETS = { safetensors: safetensors(parsers), "tokenizer-json": tokenizerJson(parsers), sentencepiece: sentencepiece(parsers) };

/** Blocks that ran, each with how often in powers of two. */
class Coverage {
  #session = new Session();
  seen = new Set();

  constructor() {
    this.#session.connect();
    this.#session.post("Profiler.enable");
    this.#session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  }

  /** What ran since the last look and never before. */
  look() {
    const found = new Set();
    this.#session.post("Profiler.takePreciseCoverage", (error, answer) => {
      if (error) throw new Error(error.message);
      for (const { url, functions } of answer.result) {
        if (!url.includes("/lib/")) continue;
        for (const { ranges } of functions) {
          for (const { startOffset, endOffset, count } of ranges) {
            const block = `${url}:${startOffset}:${endOffset}:${Math.floor(Math.log2(count))}`;
            if (count > 0 && !this.seen.has(block)) found.add(block);
          }
        }
      }
    });
    return found;
  }
}

async function runOne(target, bytes) {
  ftruncateSync(current, bytes.length);
  writeSync(current, bytes, 0, bytes.length, 0); // what the process died of, if it dies
  const before = process.cpuUsage();
  await target.run(bytes, fill);
  const { user, system } = process.cpuUsage(before);
  if ((user + system) / 1e6 > MAX_SECONDS) throw new Error(`${((user + system) / 1e6).toFixed(1)} s of CPU time for ${bytes.length} bytes`);
}

async function fuzz(target, { seconds, seed, corpus }) {
  mkdirSync(corpus, { recursive: true });
  const random = randomFrom(seed);
  const coverage = new Coverage();
  const kept = [];
  let runs = 0;

  // A look costs as much as a run, so it is taken once a batch; what was new is then claimed input by input.
  const runBatch = async (batch) => {
    for (const bytes of batch) await runOne(target, bytes);
    runs += batch.length;
    const open = coverage.look();
    for (const bytes of open.size > 0 ? batch : []) {
      await runOne(target, bytes);
      const claimed = [...coverage.look()].filter((block) => open.delete(block));
      if (claimed.length === 0) continue;
      for (const block of claimed) coverage.seen.add(block);
      kept.push(bytes);
      writeFileSync(path.join(corpus, createHash("sha1").update(bytes).digest("hex").slice(0, 16)), bytes);
    }
    for (const block of open) coverage.seen.add(block); // ran once and not again: caches, garbage collection
  };

  const known = readdirSync(corpus).map((name) => readFileSync(path.join(corpus, name)));
  for (const bytes of [...target.seeds(), ...known]) await runBatch([bytes]);
  const begin = performance.now();
  const secondsSince = () => (performance.now() - begin) / 1000;
  const report = () => {
    const memory = Math.round(process.memoryUsage.rss() / 2 ** 20);
    console.log(`#${runs} cov: ${coverage.seen.size} corp: ${kept.length} exec/s: ${Math.round(runs / secondsSince())} rss: ${memory}Mb`);
  };
  let reported = 0;
  while (secondsSince() < seconds) {
    await runBatch(Array.from({ length: BATCH }, () => mutated(target, kept, random)));
    if (secondsSince() < reported + PROGRESS_SECONDS) continue;
    report();
    reported = secondsSince();
  }
  report();
}

/** Half of the time one of the newest inputs is changed: they lead on. */
function mutated(target, kept, random) {
  let bytes = random(2) ? kept[kept.length - 1 - random(Math.min(kept.length, 16))] : kept[random(kept.length)];
  for (let i = random(4); i >= 0; i--) bytes = target.mutate(bytes, random);
  return bytes.subarray(0, MAX_INPUT);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: "string", default: "600" },
    seed: { type: "string", default: "1" },
    corpus: { type: "string" },
    current: { type: "string" }, // where to keep the input at work
  },
});
const [name, ...files] = positionals;
const target = TARGETS[name];
const currentFile = values.current ?? path.join(tmpdir(), `bge-fuzz-${process.pid}`);
const current = openSync(currentFile, "w");
try {
  for (const file of files) await runOne(target, readFileSync(file));
  if (files.length > 0) console.log(`${files.length} inputs`);
  else await fuzz(target, { seconds: Number(values.seconds), seed: Number(values.seed), corpus: values.corpus });
  rmSync(currentFile);
} catch (error) {
  console.error(error.stack);
  process.exitCode = 1;
}

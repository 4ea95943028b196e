// Beside node-llama-cpp in one process, each asked again after the other:  beside.mjs MODEL CASES ours|theirs
import { readFileSync } from "node:fs";
import { FlagReranker } from "bge-reranker";
import { getLlama } from "node-llama-cpp";

const [model, casesFile, first] = process.argv.slice(2);
const [{ pairs, scores }] = JSON.parse(readFileSync(casesFile, "utf8"));
let reranker;
let ranking;

async function ours() {
  reranker ??= await FlagReranker.load(model);
  const got = await reranker.computeScore(pairs);
  return Math.max(...scores.map((score, i) => Math.abs(score - got[i])));
}

async function theirs() {
  if (!ranking) {
    const llama = await getLlama({ gpu: false, build: "never", logLevel: "error", skipDownload: true });
    const loaded = await llama.loadModel({ modelPath: model });
    ranking = await loaded.createRankingContext({ contextSize: 512, threads: 1 });
  }
  return ranking.rank(...pairs[0]);
}

const order = first === "ours" ? [ours, theirs, ours, theirs] : [theirs, ours, theirs, ours];
const answers = { ours: [], theirs: [] };
for (const ask of order) answers[ask.name].push(await ask());
const [before, after] = answers.theirs;
// Our files in llama.cpp move by its tanh-GELU; what must not move is their own answer.
const expected = 1 / (1 + Math.exp(-scores[0]));
if (before !== after || Math.abs(before - expected) > 0.02)
  throw new Error(`node-llama-cpp ranks ${before}, then ${after}; the reference ${expected}`);

const mapped = process.platform === "linux" ? readFileSync("/proc/self/maps", "utf8") : "";
const bases = [...new Set(mapped.match(/\/\S*(?:libggml-base|libbge\w{6})\.so/g))];
console.log(JSON.stringify({ difference: Math.max(...answers.ours), bases }));
process.exit(0);

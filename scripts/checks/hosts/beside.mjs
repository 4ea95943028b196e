// Beside node-llama-cpp in one process:  beside.mjs MODEL CASES ours|theirs
import { getLlama } from "node-llama-cpp";
import { takeTurns } from "./turns.mjs";

const args = process.argv.slice(2);
let ranking;

async function theirs(pairs) {
  if (!ranking) {
    const llama = await getLlama({ gpu: false, build: "never", logLevel: "error", skipDownload: true });
    const loaded = await llama.loadModel({ modelPath: args[0] });
    ranking = await loaded.createRankingContext({ contextSize: 512, threads: 1 });
  }
  return ranking.rank(...pairs[0]);
}

await takeTurns(args, theirs, ([before, after], _reranker, scores) => {
  // Our files in llama.cpp move by its tanh-GELU; what must not move is their own answer.
  const expected = 1 / (1 + Math.exp(-scores[0]));
  if (before !== after || Math.abs(before - expected) > 0.02)
    throw new Error(`node-llama-cpp ranks ${before}, then ${after}; the reference ${expected}`);
});

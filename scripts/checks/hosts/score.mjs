// Scores the reference cases and prints the largest difference:  score.mjs MODEL CASES
import { readFileSync } from "node:fs";
import { FlagAutoReranker, FlagReranker } from "bge-reranker";

const [model, casesFile] = process.argv.slice(2);
const cases = JSON.parse(readFileSync(casesFile, "utf8"));
const reranker = await FlagReranker.load(model);
let difference = 0;
for (const { pairs, scores } of cases) {
  const ours = await reranker.computeScore(pairs);
  scores.forEach((score, i) => {
    difference = Math.max(difference, Math.abs(score - ours[i]));
  });
}
const [query] = cases[0].pairs[0];
const ranked = await reranker.rerank(query, ["a giant panda", "hi", "a bear"], { topN: 2 });
await reranker.dispose();
if (ranked.length !== 2 || typeof FlagAutoReranker.fromFinetuned !== "function") throw new Error("rerank() or the exports are not whole");
console.log(JSON.stringify({ difference }));

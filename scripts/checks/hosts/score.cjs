// The same as score.mjs, for a CommonJS application.
const { readFileSync } = require("node:fs");
const { FlagReranker } = require("bge-reranker");

const [model, casesFile] = process.argv.slice(2);
(async () => {
  const reranker = await FlagReranker.load(model);
  let difference = 0;
  for (const { pairs, scores } of JSON.parse(readFileSync(casesFile, "utf8"))) {
    const ours = await reranker.computeScore(pairs);
    scores.forEach((score, i) => {
      difference = Math.max(difference, Math.abs(score - ours[i]));
    });
  }
  await reranker.dispose();
  console.log(JSON.stringify({ difference }));
})();

// Three worker threads at once, one more terminated in mid-job, then the main thread:  workers.mjs MODEL CASES
import { readFileSync } from "node:fs";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { FlagReranker } from "bge-reranker";

async function largestDifference({ model, cases }) {
  const reranker = await FlagReranker.load(model);
  const [{ pairs, scores }] = cases;
  const ours = await reranker.computeScore(pairs);
  await reranker.dispose();
  return Math.max(...scores.map((score, i) => Math.abs(score - ours[i])));
}

if (isMainThread) {
  const [model, casesFile] = process.argv.slice(2);
  const data = { model, cases: JSON.parse(readFileSync(casesFile, "utf8")) };
  const start = (job) => new Worker(new URL(import.meta.url), { workerData: { ...data, job } });
  const answer = (worker) =>
    new Promise((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
    });
  const differences = await Promise.all([1, 2, 3].map(() => answer(start("score"))));
  const doomed = start("endless");
  await answer(doomed);
  await doomed.terminate();
  differences.push(await largestDifference(data));
  console.log(JSON.stringify({ difference: Math.max(...differences) }));
} else if (workerData.job === "score") {
  parentPort.postMessage(await largestDifference(workerData));
} else {
  const reranker = await FlagReranker.load(workerData.model);
  const pairs = Array.from({ length: 5000 }, (_, i) => [`query ${i}`, "some words of a document ".repeat(40)]);
  reranker.computeScore(pairs).catch(() => {});
  setTimeout(() => parentPort.postMessage("busy"), 60);
}

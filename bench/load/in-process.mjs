// The same calls without a server: a process that loads the model and is its own caller.
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { Reranker } from "../../lib/index.js";
import { makeCalls } from "./texts.mjs";

/** @returns {Promise<{ seconds: number, cpuSeconds: number, latencies: number[], rssBytes: number }>} Latencies in ms. */
export function runInProcess(request) {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(import.meta.url), { serialization: "advanced" });
    child.once("message", resolve);
    child.once("exit", (code) => reject(new Error(`The process without a server ended with ${code}`)));
    child.send(request);
  });
}

async function run({ model, threads, callers, calls: count, seed }) {
  const reranker = await Reranker.load(model, { threads });
  const calls = makeCalls(count, { seed });
  const [warmUp] = makeCalls(1, { seed: seed + 1_000_000 });
  await reranker.rerank(warmUp.query, warmUp.documents);
  const latencies = [];
  const started = performance.now();
  const cpu = process.cpuUsage();
  await Promise.all(
    Array.from({ length: callers }, async () => {
      for (let call = calls.pop(); call; call = calls.pop()) {
        const begun = performance.now();
        await reranker.rerank(call.query, call.documents);
        latencies.push(performance.now() - begun);
      }
    }),
  );
  const seconds = (performance.now() - started) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const rssBytes = process.memoryUsage.rss();
  await reranker.dispose();
  return { seconds, cpuSeconds: (user + system) / 1e6, latencies, rssBytes };
}

if (process.send && process.argv[1] === fileURLToPath(import.meta.url)) {
  process.once("message", async (request) => {
    process.send(await run(request), () => process.exit(0));
  });
}

// A child process that scores while its parent does too, and one that exits in mid-job:  child.mjs MODEL CASES
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { FlagReranker } from "bge-reranker";

const [model, casesFile, job] = process.argv.slice(2);
if (job === "exit") {
  const reranker = await FlagReranker.load(model);
  reranker.computeScore(Array.from({ length: 5000 }, (_, i) => [`query ${i}`, "some words of a document ".repeat(40)])).catch(() => {});
  setTimeout(() => process.exit(7), 60);
} else {
  // Deno has its own flags; the other hosts run a file as they were started.
  const flags = globalThis.Deno ? ["run", "-A", "--node-modules-dir=manual"] : process.execArgv;
  const start = (file, ...args) =>
    new Promise((resolve) => {
      const child = spawn(process.execPath, [...flags, file, model, casesFile, ...args], { stdio: ["ignore", "pipe", "inherit"] });
      let output = "";
      child.stdout.on("data", (text) => {
        output += text;
      });
      child.once("close", (code, signal) => resolve({ code, signal, output }));
    });
  const reranker = await FlagReranker.load(model);
  const [scored] = await Promise.all([start(fileURLToPath(new URL("score.mjs", import.meta.url))), reranker.computeScore(["a", "b"])]);
  const exited = await start(fileURLToPath(import.meta.url), "exit");
  await reranker.dispose();
  if (scored.code !== 0) throw new Error(`the child that scores ended with ${scored.code ?? scored.signal}`);
  if (exited.code !== 7) throw new Error(`the child that exits in mid-job ended with ${exited.code ?? exited.signal}`);
  console.log(scored.output.trim());
}

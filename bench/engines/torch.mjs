// PyTorch in a Python process, as FlagEmbedding runs a reranker on the CPU. Lines of JSON go in and out.
import { spawn } from "node:child_process";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const program = path.join(path.dirname(fileURLToPath(import.meta.url)), "torch-engine.py");

export async function load({ checkpoint, threads }) {
  const python = spawn("python3", [program, checkpoint, String(threads)], { stdio: ["pipe", "pipe", "inherit"] });
  const answers = createInterface({ input: python.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await answers.next();
    if (done) throw new Error("the Python process ended");
    return JSON.parse(value);
  };
  let last = await next(); // its first line: ready
  return {
    facts: last.facts,
    score: async (pairs) => {
      python.stdin.write(`${JSON.stringify(pairs.map(({ ids }) => ids))}\n`);
      last = await next();
      return last.logits;
    },
    usage: () => last,
    close: () => python.stdin.end(),
  };
}

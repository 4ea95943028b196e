// A Python program that answers lines of JSON: its first line says that it is ready, then one for each question.
import { spawn } from "node:child_process";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const folder = path.dirname(fileURLToPath(import.meta.url));

/** @returns {Promise<{ last: object, ask: (question: object) => Promise<object>, close: () => void }>} */
export async function startPython(program, args, { python = "python3", env = {} } = {}) {
  const child = spawn(python, [path.join(folder, program), ...args.map(String)], {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
  let errors = "";
  child.stderr.on("data", (data) => {
    errors = (errors + data).slice(-4000);
  });
  child.stdin.on("error", () => {}); // it has ended: told below
  const ended = new Promise((_, reject) => child.on("error", reject));
  ended.catch(() => {});
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await Promise.race([lines.next(), ended]);
    if (done) throw new Error(errors.trim().split("\n").at(-1) || "the Python process ended");
    return JSON.parse(value);
  };
  const process_ = {
    last: await next(),
    ask: async (question) => {
      child.stdin.write(`${JSON.stringify(question)}\n`);
      process_.last = await next();
      return process_.last;
    },
    close: () => child.stdin.end(),
  };
  return process_;
}

// `bge-reranker serve` as a child process, as a user starts it.
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const cli = path.join(path.dirname(fileURLToPath(import.meta.url)), "..", "..", "lib", "cli.js");

/**
 * Starts it on a free port, and waits until it is ready.
 *
 * @param {string[]} args flags of `serve`
 * @param {{ env?: Record<string, string>, stderr?: "ignore" | "pipe" | number, openFiles?: number }} [options] `openFiles`: the
 *   system's limit for the process
 */
export async function startServer(args, { env = {}, stderr = "pipe", openFiles } = {}) {
  const started = performance.now();
  const command = [process.execPath, cli, "serve", "--port", "0", ...args];
  const limited = openFiles === undefined ? command : ["sh", "-c", `ulimit -n ${openFiles} && exec "$0" "$@"`, ...command];
  const [program = "", ...rest] = limited;
  const child = spawn(program, rest, { stdio: ["ignore", "pipe", stderr], env: { ...process.env, ...env } });
  let log = "";
  child.stderr?.on("data", (data) => {
    log = (log + data).slice(-100_000);
  });
  const exited = new Promise((resolve) => child.on("exit", (code, signal) => resolve({ code, signal })));
  let out = "";
  const url = await new Promise((resolve, reject) => {
    child.stdout.on("data", (data) => {
      out += data;
      const [, found] = /(http:\/\/[^/\s]+)/.exec(out) ?? [];
      if (found) resolve(found);
    });
    child.on("error", reject);
    void exited.then(({ code, signal }) => reject(new Error(`serve ended with ${signal ?? code} before it was ready:\n${log}`)));
  });
  return {
    url,
    child,
    readyMs: performance.now() - started,
    exited,
    log: () => log,
    rssBytes: () => statusBytes(child.pid, "VmRSS"),
    peakRssBytes: () => statusBytes(child.pid, "VmHWM"),
    cpuSeconds: () => cpuSeconds(child.pid),
    openFiles: () => readdirSync(`/proc/${child.pid}/fd`).length,
    /** @returns {Promise<{ code: number | null, signal: string | null }>} */
    stop(signal = "SIGTERM") {
      child.kill(signal);
      return exited;
    },
  };
}

/** Of Linux; NaN elsewhere. */
function statusBytes(pid, field) {
  try {
    const [, kilobytes] = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
    return Number(kilobytes) * 1024;
  } catch {
    return Number.NaN;
  }
}

/** User and system time of a process, in ticks of a hundredth. Of Linux; NaN elsewhere. */
function cpuSeconds(pid) {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /, "")
      .split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
  } catch {
    return Number.NaN;
  }
}

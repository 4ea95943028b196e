// The parent's end of an engine: starts its process, asks it, ends it.
import { fork } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";

const child = path.join(path.dirname(fileURLToPath(import.meta.url)), "engine-child.mjs");

export class EngineProcess {
  #process;
  #waiting = new Map();
  #nextId = 0;
  #stderr = "";
  #ended;

  constructor(env = {}) {
    this.#process = fork(child, { env: { ...process.env, ...env }, stdio: ["ignore", "ignore", "pipe", "ipc"], serialization: "advanced" });
    this.#process.stderr.on("data", (data) => {
      this.#stderr = (this.#stderr + data).slice(-4000);
    });
    this.#process.on("message", ({ id, result, error }) => {
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) resolve(result);
      else reject(new Error(this.#withStderr(error)));
    });
    this.#process.on("error", (error) => this.#fail(error.message));
    this.#process.on("close", (code, signal) =>
      this.#fail(signal ? `its process was ended by ${signal}` : `its process ended with code ${code}`),
    );
  }

  ask(method, params = {}) {
    if (this.#ended) return Promise.reject(new Error(this.#ended));
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#waiting.set(id, { resolve, reject });
      this.#process.send({ id, method, params });
    });
  }

  async close() {
    if (!this.#ended) await this.ask("close").catch(() => {});
    this.kill();
  }

  kill() {
    this.#process.kill("SIGKILL");
  }

  /** What a native library prints often says more than the error it leads to. */
  #withStderr(reason) {
    const lines = this.#stderr.trim().split("\n").slice(-3).join(" | ");
    return lines ? `${reason}: ${lines}` : reason;
  }

  #fail(reason) {
    this.#ended ??= this.#withStderr(reason);
    for (const { reject } of this.#waiting.values()) reject(new Error(this.#ended));
    this.#waiting.clear();
  }
}

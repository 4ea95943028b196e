// The scoring thread, as the worker's own loop sees it.
import { Worker } from "node:worker_threads";
import type { PartPayload, PartResult } from "./payload.js";
import type { FromScoring, ScoringStart, ToScoring } from "./scoring-messages.js";

export class ScoringError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

interface Waiting {
  readonly resolve: (result: PartResult) => void;
  readonly reject: (error: Error) => void;
  readonly onWork: (pairs: number, tokens: number, rows: number) => void;
}

export interface LoadedModel {
  readonly name: string | null;
  readonly sha256: string;
  readonly device: string;
}

export class Scoring {
  readonly #thread: Worker;
  readonly #waiting = new Map<number, Waiting>();
  readonly #ended: Promise<void>;
  #next = 0;
  #failure: Error | undefined;

  constructor(start: ScoringStart, onLoaded: (model: LoadedModel) => void) {
    this.#thread = new Worker(new URL("./scoring-thread.js", import.meta.url), { workerData: start });
    this.#thread.on("message", (message: FromScoring) => {
      if (message.kind === "loaded") onLoaded(message);
      else this.#take(message);
    });
    this.#thread.on("error", (error) => this.#fail(error));
    this.#ended = new Promise((resolve) => {
      this.#thread.once("exit", () => {
        this.#fail(new Error("The scoring thread ended"));
        resolve();
      });
    });
  }

  /** @param signal - Gives the shard up: what was scored of it is lost. */
  score(payload: PartPayload, signal: AbortSignal, onWork: Waiting["onWork"]): Promise<PartResult> {
    if (this.#failure) return Promise.reject(this.#failure);
    const id = this.#next++;
    const abort = () => this.#send({ kind: "abort", id });
    return new Promise<PartResult>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, onWork });
      this.#send({ kind: "score", id, payload });
      if (signal.aborted) abort();
      signal.addEventListener("abort", abort, { once: true });
    }).finally(() => signal.removeEventListener("abort", abort));
  }

  get isIdle(): boolean {
    return this.#waiting.size === 0;
  }

  async close(): Promise<void> {
    this.#send({ kind: "close" });
    await this.#ended;
  }

  #send(message: ToScoring): void {
    this.#thread.postMessage(message);
  }

  #take(message: Exclude<FromScoring, { kind: "loaded" }>): void {
    const waiting = this.#waiting.get(message.id);
    if (!waiting) return;
    if (message.kind === "work") {
      waiting.onWork(message.pairs, message.tokens, message.rows);
      return;
    }
    this.#waiting.delete(message.id);
    if (message.kind === "done") waiting.resolve(message.result);
    else waiting.reject(new ScoringError(message.error.code, message.error.message));
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }
}

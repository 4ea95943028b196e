// Core: what all requests of a handler share.
import { setMaxListeners } from "node:events";
import { Admission } from "./admission.js";
import { keyCheck } from "./keys.js";
import { createLog, type Log } from "./log.js";
import type { HandlerOptions, Settings } from "./options.js";
import { decide } from "./options.js";
import { entriesOf, ServedModels } from "./served-models.js";

export class Core {
  readonly settings: Settings;
  readonly models: ServedModels;
  readonly admission: Admission;
  readonly log: Log;
  readonly checkKey: (headers: Headers) => void;
  readonly startedAt = Math.floor(Date.now() / 1000);
  /** Ends what is under way, at the deadline of a drain. */
  readonly ending = new AbortController();
  draining = false;
  /** Scoring requests begun and not answered, those still arriving included. */
  active = 0;
  #preloading: Promise<void> | undefined;
  #preloaded = true;

  constructor(options: HandlerOptions) {
    setMaxListeners(0, this.ending.signal); // every request listens
    this.settings = decide(options);
    this.models = new ServedModels(entriesOf(options), this.settings);
    this.admission = new Admission(this.settings);
    this.log = createLog(this.settings.log);
    this.checkKey = keyCheck(this.settings.apiKeys);
    if (this.settings.preload !== "none") this.#preloaded = false;
  }

  /** Why no request can be answered now; undefined when they can. */
  get notReady(): "loading" | "draining" | "failed" | undefined {
    if (this.draining) return "draining";
    if (this.models.all.every((model) => model.state === "failed")) return "failed";
    return this.#preloaded ? undefined : "loading";
  }

  /** Loads what `preload` names; failures are logged, and thrown when no model is left. */
  preload(): Promise<void> {
    this.#preloading ??= this.#preload();
    return this.#preloading;
  }

  async #preload(): Promise<void> {
    const { preload } = this.settings;
    const chosen = preload === "all" ? this.models.all : this.models.all.slice(0, preload === "first" ? 1 : 0);
    const results = await Promise.allSettled(
      chosen.map(async (model) => {
        const started = performance.now();
        const lease = await this.models.lease(model);
        lease.release();
        this.log("info", "model loaded", {
          model: model.name,
          device: model.facts?.device,
          load_ms: Math.round(performance.now() - started),
        });
      }),
    );
    this.#preloaded = true;
    const failed = results.filter((result) => result.status === "rejected");
    // A server that ends meanwhile is no fault of the model.
    for (const { reason } of this.draining ? [] : failed)
      this.log("error", "model not loaded", { error: String(reason?.message ?? reason) });
    if (failed.length === this.models.all.length) throw failed[0]?.reason;
  }

  async close(): Promise<void> {
    this.draining = true;
    this.ending.abort();
    await this.models.close();
  }
}

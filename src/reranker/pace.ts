// Long loops on the JS thread, in steps that others can run between.
import { setImmediate } from "node:timers/promises";

// One step. An event loop that is held so long still serves everybody else.
const STEP_MS = 8;
// Most items between two looks at the clock, where an item is little work: a text of megabytes is not.
const MOST_ITEMS = 512;
const LITTLE_MS = 0.5;

export class Pace {
  readonly #signal: AbortSignal | undefined;
  #since = performance.now();

  /** @param signal - Looked at between the steps. */
  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
  }

  /** Whether the step has taken its time. */
  get isDue(): boolean {
    return performance.now() - this.#since > STEP_MS;
  }

  /** Lets others have the thread. */
  async rest(): Promise<void> {
    await setImmediate();
    this.#signal?.throwIfAborted();
    this.#since = performance.now();
  }

  /** Calls `each` for 0 to `count` - 1. */
  async times(count: number, each: (i: number) => void): Promise<void> {
    let every = 1;
    let looked = performance.now();
    for (let i = 0, next = 0; i < count; i++) {
      each(i);
      if (i < next) continue;
      if (this.isDue) await this.rest();
      const now = performance.now();
      every = now - looked < LITTLE_MS ? Math.min(MOST_ITEMS, 2 * every) : Math.max(1, every >> 2);
      looked = now;
      next = i + every;
    }
  }
}

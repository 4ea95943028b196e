// Long loops on the JS thread, in steps that others can run between.
import { setImmediate } from "node:timers/promises";

// One step. An event loop that is held so long still serves everybody else.
const STEP_MS = 8;
// Items between two looks at the clock, where an item is little work.
const ITEMS = 512;

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
    for (let i = 0; i < count; i++) {
      each(i);
      if (i % ITEMS === ITEMS - 1 && this.isDue) await this.rest();
    }
  }
}

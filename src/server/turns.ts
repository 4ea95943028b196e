// Turns: calls on one model go to its engine in slices, taking turns, so that one large call does not hold up small ones and
// the work of a caller who has left is not begun. The engine merges the slices that run together into its batches.

export interface Slice<T> {
  /** Estimated. */
  readonly tokens: number;
  readonly run: () => Promise<T>;
}

interface Line {
  readonly slices: Slice<unknown>[];
  readonly start: (slice: Slice<unknown>) => void;
}

export class Turns {
  readonly #window: number;
  readonly #lines: Line[] = [];
  #running = 0;

  /** @param window - Tokens under way at once: some batches, so that the engine never waits for the next. */
  constructor(window: number) {
    this.#window = window;
  }

  /**
   * @param signal - Drops the slices that have not begun; those that have are the business of `run`.
   * @returns What the slices gave, in their order.
   * @throws The first failure; slices that have not begun are dropped then.
   */
  run<T>(slices: readonly Slice<T>[], signal: AbortSignal): Promise<T[]> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const results: T[] = new Array(slices.length);
      const order = new Map<Slice<unknown>, number>(slices.map((slice, i) => [slice, i]));
      let left = slices.length;
      if (left === 0) return resolve(results);
      const line: Line = { slices: [...slices], start: (slice) => void start(slice as Slice<T>) };
      const leave = (error: unknown) => {
        line.slices.length = 0;
        const at = this.#lines.indexOf(line);
        if (at >= 0) this.#lines.splice(at, 1);
        signal.removeEventListener("abort", onAbort);
        reject(error);
      };
      const onAbort = () => leave(signal.reason);
      const start = async (slice: Slice<T>) => {
        try {
          results[order.get(slice) ?? 0] = await slice.run();
          left -= 1;
          if (left === 0) {
            signal.removeEventListener("abort", onAbort);
            resolve(results);
          }
        } catch (error) {
          leave(error);
        } finally {
          this.#running -= slice.tokens;
          this.#next();
        }
      };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#lines.push(line);
      this.#next();
    });
  }

  #next(): void {
    while (this.#lines.length > 0 && (this.#running === 0 || this.#running < this.#window)) {
      const line = this.#lines.shift() as Line;
      const slice = line.slices.shift();
      if (!slice) continue;
      if (line.slices.length > 0) this.#lines.push(line);
      this.#running += slice.tokens;
      line.start(slice);
    }
  }
}

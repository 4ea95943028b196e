// Documents that arrive one after another, scored in groups of what is there, with results as they finish.

import { setImmediate as nextTurn } from "node:timers/promises";

/** Most documents scored at once: those that arrived while the group before was computed. */
const GROUP = 64;

/**
 * Reads ahead while a group is scored, but never more than a group: a slow reader of the results holds back the source.
 *
 * @param score - Scores a group; `start` is the place of its first item.
 * @returns Results in the order of the items, group by group. Ending it early closes the source.
 */
export async function* scoreStream<T, R>(
  source: AsyncIterable<T>,
  score: (items: readonly T[], start: number) => Promise<readonly R[]>,
  signal: AbortSignal | undefined,
): AsyncGenerator<R, undefined, undefined> {
  const reader = new GroupReader(source, signal);
  let start = 0;
  try {
    for (let items = await reader.next(); items.length > 0; items = await reader.next()) {
      const scoring = score(items, start);
      reader.readAhead();
      start += items.length;
      yield* await scoring;
    }
  } finally {
    await reader.close();
  }
}

/** Takes from an iterator what is there. */
class GroupReader<T> {
  readonly #iterator: AsyncIterator<T>;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort = () => this.#waken?.();
  #items: T[] = [];
  #reading: Promise<void> | undefined;
  #failed: { readonly error: unknown } | undefined;
  #ended = false;
  #waken: (() => void) | undefined;

  constructor(source: AsyncIterable<T>, signal: AbortSignal | undefined) {
    this.#iterator = source[Symbol.asyncIterator]();
    this.#signal = signal;
    signal?.addEventListener("abort", this.#onAbort);
  }

  /**
   * At least one item, unless there are no more.
   *
   * @throws The signal's reason, at once; what the source threw, once the items before it were taken.
   */
  async next(): Promise<readonly T[]> {
    this.readAhead();
    while (this.#items.length === 0 && this.#reading && !this.#signal?.aborted) {
      await new Promise<void>((resolve) => {
        this.#waken = resolve;
      });
    }
    await nextTurn(); // a source that has its items at hand fills a group
    this.#signal?.throwIfAborted();
    if (this.#items.length === 0 && this.#failed) throw this.#failed.error;
    const items = this.#items;
    this.#items = [];
    return items;
  }

  /** Goes on reading, up to a group, while others work. */
  readAhead(): void {
    if (this.#ended || this.#reading) return;
    this.#reading = this.#read().finally(() => {
      this.#reading = undefined;
      this.#waken?.();
    });
  }

  async #read(): Promise<void> {
    try {
      while (!this.#ended && this.#items.length < GROUP) {
        const { done, value } = await this.#iterator.next();
        if (done) this.#ended = true;
        else this.#items.push(value);
        this.#waken?.();
      }
    } catch (error) {
      this.#failed = { error };
      this.#ended = true;
    }
  }

  async close(): Promise<void> {
    this.#signal?.removeEventListener("abort", this.#onAbort);
    if (this.#ended) return;
    this.#ended = true;
    const closing = Promise.resolve(this.#iterator.return?.());
    // A generator that is still waiting for an item ends after it, which may be never.
    if (this.#reading) closing.catch(() => {});
    else await closing;
  }
}

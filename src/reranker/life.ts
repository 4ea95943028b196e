// What is used by calls and ends once: the end waits for the calls that began before it.

export class Life {
  readonly #running = new Set<Promise<unknown>>();
  #end: Promise<void> | undefined;

  get isEnding(): boolean {
    return this.#end !== undefined;
  }

  async run<T>(call: () => Promise<T>): Promise<T> {
    const running = call();
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** Runs `finish` when the calls are answered, the first time; later ones wait for the same end. */
  end(finish: () => Promise<void>): Promise<void> {
    this.#end ??= Promise.allSettled([...this.#running]).then(finish);
    return this.#end;
  }
}

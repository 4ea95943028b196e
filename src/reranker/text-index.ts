// Numbers of texts. A Map of a million entries takes a tenth of a second whenever it grows, so there are many small ones.

const SHARDS = 128;

export class TextIndex {
  readonly #shards = new Map<number, Map<string, number>>();

  get(text: string): number | undefined {
    return this.#shards.get(shardOf(text))?.get(text);
  }

  set(text: string, value: number): void {
    const at = shardOf(text);
    const shard = this.#shards.get(at);
    if (shard) shard.set(text, value);
    else this.#shards.set(at, new Map([[text, value]]));
  }
}

/** Differs where texts do near their ends, which is where made-up and numbered ones differ. */
function shardOf(text: string): number {
  const { length } = text;
  if (length === 0) return 0;
  const sum =
    text.charCodeAt(length - 1) +
    7 * text.charCodeAt(length >> 1) +
    31 * text.charCodeAt(Math.max(0, length - 3)) +
    61 * text.charCodeAt(Math.max(0, length - 2));
  return (sum + length) % SHARDS;
}

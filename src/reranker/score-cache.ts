// ScoreCache: scores of pairs computed before. A score does not depend on the pairs it is computed with, so that a cached one is
// the computed one, bit for bit.
import { createHash } from "node:crypto";
import type { LRUCache } from "lru-cache";
import { checkOptions, integer, show } from "../checks.js";
import { parseBytes } from "../gguf/memory.js";
import type { RequestSettings } from "./scoring.js";

/** How much a score cache keeps; one of them. */
export interface CacheOptions {
  /** Most pairs. */
  readonly maxEntries?: number | null | undefined;
  /** Most memory, about: bytes, or text such as `"64MB"`. A pair takes some 300 bytes, however long its texts. */
  readonly maxBytes?: number | string | null | undefined;
}

/** What the model gave for a pair. */
export interface CachedPair {
  /** One a cutoff layer. */
  readonly logits: readonly number[];
  readonly tokens: number;
  readonly truncated: number;
}

export interface CacheStats {
  /** Pairs asked for since loading: found, and not found. */
  readonly cacheHits: number;
  readonly cacheMisses: number;
  /** Pairs kept now. */
  readonly cacheEntries: number;
}

export const NO_CACHE: CacheStats = { cacheHits: 0, cacheMisses: 0, cacheEntries: 0 };

// Measured: 290 bytes of V8's heap for key, value and place in the list of lru-cache 11.
const ENTRY_BYTES = 300;
const LOGIT_BYTES = 8;

export function checkCache(name: string, value: unknown): void {
  checkOptions(`\`${name}\``, value as object, { maxEntries: integer(1), maxBytes: parseBytes }, () => undefined);
  const { maxEntries, maxBytes } = value as CacheOptions;
  if (((maxEntries ?? null) === null) === ((maxBytes ?? null) === null)) {
    throw new TypeError(`Expected \`${name}\` to have one of \`maxEntries\` and \`maxBytes\`, got \`${show(value)}\``);
  }
}

export class ScoreCache {
  readonly #pairs: LRUCache<string, CachedPair>;
  #hits = 0;
  #misses = 0;

  /** lru-cache is loaded for those who ask for a cache. */
  static async create({ maxEntries, maxBytes }: CacheOptions): Promise<ScoreCache> {
    const { LRUCache } = await import("lru-cache");
    if (typeof maxEntries === "number") return new ScoreCache(new LRUCache<string, CachedPair>({ max: maxEntries }));
    const sizeCalculation = ({ logits }: CachedPair) => ENTRY_BYTES + LOGIT_BYTES * logits.length;
    return new ScoreCache(new LRUCache<string, CachedPair>({ maxSize: parseBytes("maxBytes", maxBytes ?? 0), sizeCalculation }));
  }

  private constructor(pairs: LRUCache<string, CachedPair>) {
    this.#pairs = pairs;
  }

  get stats(): CacheStats {
    return { cacheHits: this.#hits, cacheMisses: this.#misses, cacheEntries: this.#pairs.size };
  }

  get(key: string): CachedPair | undefined {
    const found = this.#pairs.get(key);
    if (found) this.#hits++;
    else this.#misses++;
    return found;
  }

  set(key: string, pair: CachedPair): void {
    this.#pairs.set(key, pair);
  }
}

/** Settings that change how a score is computed, but not the score. */
const WITHOUT_EFFECT = [
  "maxBatchTokens",
  "batchSize",
  "sharePrefix",
  "failOnTruncation",
  "cascade",
] as const satisfies (keyof RequestSettings)[];

/** Keys of pairs under one call's settings: digests, so that a cache keeps no text. */
export function cacheKeys(settings: RequestSettings): (query: string, document: string) => string {
  const lasting = Object.entries(settings).filter(([name]) => !(WITHOUT_EFFECT as readonly string[]).includes(name));
  const plain = lasting.map(([name, value]) => [name, ArrayBuffer.isView(value) ? [...(value as Int32Array)] : value]).sort();
  const prefix = digest(JSON.stringify(plain));
  const known = new Map<string, string>();
  const digestOf = (text: string) => {
    const made = known.get(text) ?? digest(text);
    known.set(text, made);
    return made;
  };
  return (query, document) => digest(prefix + digestOf(query) + digestOf(document));
}

/** 132 bits: two texts that share them are not to be found. */
function digest(text: string): string {
  return createHash("sha256").update(text).digest("base64url").slice(0, 22);
}

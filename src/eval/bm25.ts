// BM25 over an inverted index of its own: candidates when a data set brings none.
import * as is from "../checks.js";
import { type Ranked, TopDocuments } from "./run.js";

export interface Bm25Options {
  /** How soon more of the same word stops counting. @default 0.9 */
  readonly k1?: number | undefined;
  /** How much long documents are held back, 0 to 1. @default 0.4 */
  readonly b?: number | undefined;
}

/**
 * Words are runs of letters, marks, digits and underscores, in NFKC and lower case, without stemming; scripts that put no blanks
 * between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese) give pairs of characters instead. Texts are not kept: memory is
 * about 16 bytes for each different word of each document.
 *
 * @example
 * const index = new Bm25();
 * index.add("a", "the giant panda is a bear");
 * index.search("pandas and bears: what is a panda?", 10); // [{ id: "a", score: ... }]
 *
 * @see Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009), with the idf of Lucene's
 *   BM25Similarity, which is never negative; k1 and b as in Anserini's baselines.
 */
export class Bm25 {
  readonly #k1: number;
  readonly #b: number;
  readonly #ids: string[] = [];
  readonly #known = new Set<string>();
  readonly #lengths: number[] = [];
  /** Word to document, count, document, count ... */
  readonly #postings = new Map<string, number[]>();
  #totalLength = 0;

  constructor(options: Bm25Options = {}) {
    is.checkOptions("Bm25", options, { k1: is.finite, b: is.finite }, () => undefined);
    const { k1, b } = { k1: options.k1 ?? 0.9, b: options.b ?? 0.4 };
    if (!(k1 >= 0 && Number.isFinite(k1))) throw new RangeError(`Expected \`k1\` to be a number from 0, got \`${is.show(k1)}\``);
    if (!(b >= 0 && b <= 1)) throw new RangeError(`Expected \`b\` to be a number from 0 to 1, got \`${is.show(b)}\``);
    this.#k1 = k1;
    this.#b = b;
  }

  /** Documents added so far. */
  get size(): number {
    return this.#ids.length;
  }

  /** @throws {RangeError} An id that was added before. */
  add(id: string, text: string): void {
    is.string("id", id);
    is.string("text", text);
    if (this.#known.has(id)) throw new RangeError(`Document ${is.show(id)} was added before`);
    const document = this.#ids.length;
    const words = wordsOf(text);
    for (const [word, count] of countWords(words)) {
      const postings = this.#postings.get(word);
      if (postings) postings.push(document, count);
      else this.#postings.set(word, [document, count]);
    }
    this.#known.add(id);
    this.#ids.push(id);
    this.#lengths.push(words.length);
    this.#totalLength += words.length;
  }

  /** The best `limit` documents that share a word with the query, best first; equal scores by id, descending. */
  search(query: string, limit: number): Ranked[] {
    is.string("query", query);
    is.integer(0)("limit", limit);
    const scores = new Map<number, number>();
    for (const [word, count] of countWords(wordsOf(query))) this.#addScores(scores, word, count);
    const top = new TopDocuments<Ranked>(limit);
    for (const [document, score] of scores) top.add({ id: this.#ids[document] ?? "", score });
    return top.ranked();
  }

  /** @param weight - How often the query has the word. */
  #addScores(scores: Map<number, number>, word: string, weight: number): void {
    const postings = this.#postings.get(word) ?? [];
    const documentCount = postings.length / 2;
    const idf = Math.log(1 + (this.size - documentCount + 0.5) / (documentCount + 0.5));
    const meanLength = this.#totalLength / this.size;
    for (let i = 0; i < postings.length; i += 2) {
      const document = postings[i] ?? 0;
      const count = postings[i + 1] ?? 0;
      const length = (this.#lengths[document] ?? 0) / meanLength;
      const score = (weight * idf * count) / (count + this.#k1 * (1 - this.#b + this.#b * length));
      scores.set(document, (scores.get(document) ?? 0) + score);
    }
  }
}

const WORD = /[\p{L}\p{M}\p{N}_]+/gu;
const UNSPACED = "\\p{sc=Han}\\p{sc=Hira}\\p{sc=Kana}\\p{sc=Thai}\\p{sc=Laoo}\\p{sc=Khmr}\\p{sc=Mymr}\\u30fc";
const HAS_UNSPACED = new RegExp(`[${UNSPACED}]`, "u");
const UNSPACED_RUN = new RegExp(`([${UNSPACED}]+)`, "u");

/** The words of a text as the index counts them. */
export function wordsOf(text: string): string[] {
  const words = text.normalize("NFKC").toLowerCase().match(WORD) ?? [];
  return HAS_UNSPACED.test(text) ? words.flatMap(splitUnspaced) : words;
}

function splitUnspaced(word: string): string[] {
  if (!HAS_UNSPACED.test(word)) return [word];
  const parts = word.split(UNSPACED_RUN).filter((part) => part !== "");
  return parts.flatMap((part) => (HAS_UNSPACED.test(part) ? pairsOf([...part]) : [part]));
}

function pairsOf(characters: readonly string[]): string[] {
  if (characters.length === 1) return [...characters];
  return characters.slice(1).map((character, i) => `${characters[i]}${character}`);
}

function countWords(words: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts;
}

// Documents longer than the model reads, in overlapping windows that begin and end at sentences; the best window speaks for
// its document.
import type { ScoreResult } from "../addon/native.js";
import { endOfPart } from "./crossing.js";
import { Pace } from "./pace.js";

/** Part of a text, in UTF-16 offsets as `slice` takes them. */
export interface TextSpan {
  readonly start: number;
  readonly end: number;
}

/** A window to score. `unread`: text after the last window was left out. */
export interface Chunk extends TextSpan {
  readonly index: number;
  readonly count: number;
  readonly unread: boolean;
}

export interface ChunkSettings {
  readonly maxChunks: number;
  readonly chunkOverlap: number;
  readonly signal: AbortSignal | undefined;
}

/** `documentLength`: tokens of the text that are left. */
export interface PairCut {
  readonly documentLength: number;
  readonly cut: boolean;
}

/** How the model sees a text: its tokens alone, and the whole pair with the query. */
export interface Measure {
  readonly countTokens: (text: string) => number;
  readonly encodePair: (text: string) => PairCut;
  /** The same of any text, however large. */
  readonly encodeLarge: (text: string, pace: Pace) => Promise<PairCut>;
}

// Characters of a text that is encoded off the JS thread.
const LARGE = 1 << 15;

/** One chunk for a document that fits, several for one that does not, in the order of the documents. */
export async function chunkDocuments(texts: readonly string[], measure: Measure, settings: ChunkSettings): Promise<Chunk[]> {
  const chunks: Chunk[] = [];
  const pace = new Pace(settings.signal);
  settings.signal?.throwIfAborted();
  for (const [index, text] of texts.entries()) {
    if (pace.isDue) await pace.rest();
    const whole = text.length > LARGE ? await measure.encodeLarge(text, pace) : measure.encodePair(text);
    if (!whole.cut) {
      chunks.push({ index, start: 0, end: text.length, count: 1, unread: false });
      continue;
    }
    const windows = await cutWindows(text, Math.max(1, whole.documentLength), measure, settings, pace);
    const unread = (windows.at(-1)?.end ?? 0) < text.length;
    chunks.push(...windows.map((window) => ({ ...window, index, count: windows.length, unread })));
  }
  return chunks;
}

/** The best chunk of each document, by its highest cutoff's logit. `tokens` and `cut` are those of the winner. */
export function bestChunks(chunks: readonly Chunk[], result: ScoreResult) {
  const last = result.logits.length - chunks.length;
  const best = new Map<number, { chunk: Chunk; logit: number; tokens: number; cut: number }>();
  for (const [i, chunk] of chunks.entries()) {
    const logit = result.logits[last + i] ?? Number.NaN;
    const rival = best.get(chunk.index);
    if (!rival || logit > rival.logit)
      best.set(chunk.index, { chunk, logit, tokens: result.tokens[i] ?? 0, cut: result.truncated[i] ?? 0 });
  }
  return [...best].map(([index, { chunk, ...scored }]) => ({
    index,
    ...scored,
    unread: chunk.unread,
    chunk: { start: chunk.start, end: chunk.end, count: chunk.count },
  }));
}

interface Piece extends TextSpan {
  readonly tokens: number;
}

/** Pieces of a text, cut only as far as they are asked for. */
class Pieces {
  readonly #source: Iterator<Piece>;
  readonly #list: Piece[] = [];

  constructor(text: string, budget: number, measure: Measure) {
    this.#source = cutPieces(text, budget, measure);
  }

  at(i: number): Piece | undefined {
    while (this.#list.length <= i) {
      const next = this.#source.next();
      if (next.done) return undefined;
      this.#list.push(next.value);
    }
    return this.#list[i];
  }
}

async function cutWindows(text: string, budget: number, measure: Measure, settings: ChunkSettings, pace: Pace): Promise<TextSpan[]> {
  const pieces = new Pieces(text, budget, measure);
  const windows: TextSpan[] = [];
  let first = 0;
  let done = 0;
  while (windows.length < settings.maxChunks && pieces.at(done)) {
    const end = await fillWindow(text, pieces, first, done, budget, measure, pace);
    windows.push({ start: pieces.at(first)?.start ?? 0, end: pieces.at(end - 1)?.end ?? text.length });
    first = overlapStart(pieces, first, end, budget * settings.chunkOverlap);
    done = end;
  }
  return windows;
}

/** End of the window that begins at piece `first`. It holds at least the piece `done`, the first one not in a window yet. */
async function fillWindow(
  text: string,
  pieces: Pieces,
  first: number,
  done: number,
  budget: number,
  measure: Measure,
  pace: Pace,
): Promise<number> {
  let end = first;
  let tokens = 0;
  for (let piece = pieces.at(end); piece; piece = pieces.at(end)) {
    tokens += piece.tokens;
    if (tokens > budget && end > done) break;
    end++;
    if (pace.isDue) await pace.rest();
  }
  // Pieces tokenize a little differently side by side, so the pair itself has the last word.
  while (end > done + 1 && measure.encodePair(text.slice(pieces.at(first)?.start, pieces.at(end - 1)?.end)).cut) {
    end--;
    if (pace.isDue) await pace.rest();
  }
  return end;
}

/** Where the next window begins so that it repeats at most `overlap` tokens and leaves room for the piece that comes next. */
function overlapStart(pieces: Pieces, first: number, end: number, overlap: number): number {
  let start = end;
  for (let tokens = 0; start > first + 1; start--) {
    tokens += pieces.at(start - 1)?.tokens ?? 0;
    if (tokens > overlap) break;
  }
  return start;
}

// Characters that are segmented at a time: the time that Intl.Segmenter takes grows with their square.
const SENTENCE_SLICE = 4096;
const WORD_SLICE = 2048;
const LONGEST_SLICE = 16_384;

/** Sentences; one that is too long alone in words, and such a word in bits. */
function* cutPieces(text: string, budget: number, measure: Measure): Generator<Piece, undefined> {
  for (let start = 0, size = SENTENCE_SLICE; start < text.length; ) {
    const end = endOfPart(text, start + size);
    const segments = segment(text, { start, end }, "sentence");
    const sentences = end === text.length ? segments : segments.slice(0, -1); // the last one may go on
    if (sentences.length === 0 && size < Math.min(LONGEST_SLICE, 8 * budget)) {
      size *= 2;
      continue;
    }
    for (const sentence of sentences) {
      const tokens = measure.countTokens(text.slice(sentence.start, sentence.end));
      if (tokens <= budget) yield { ...sentence, tokens };
      else yield* cutWords(text, sentence, budget, measure);
    }
    // A sentence without an end goes in words, the last of which may go on.
    start = sentences.at(-1)?.end ?? (yield* cutWords(text, { start, end }, budget, measure, true));
    size = SENTENCE_SLICE;
  }
  return undefined;
}

/** @returns The end of what was cut: that of the text, or with `goesOn` that of the last word but one. */
function* cutWords(text: string, whole: TextSpan, budget: number, measure: Measure, goesOn = false): Generator<Piece, number> {
  let start = whole.start;
  while (start < whole.end) {
    const end = Math.min(whole.end, endOfPart(text, start + WORD_SLICE));
    const segments = segment(text, { start, end }, "word");
    const isOpen = end < whole.end || goesOn;
    const words = isOpen && segments.length > 1 ? segments.slice(0, -1) : segments;
    for (const word of words) {
      const tokens = measure.countTokens(text.slice(word.start, word.end));
      if (tokens <= budget) yield { ...word, tokens };
      else yield* cutBits(text, word, budget, measure);
    }
    start = words.at(-1)?.end ?? end;
    if (end === whole.end) break;
  }
  return start;
}

const segmenters = new Map<string, Intl.Segmenter>();

function segment(text: string, { start, end }: TextSpan, granularity: "sentence" | "word"): TextSpan[] {
  const segmenter = segmenters.get(granularity) ?? new Intl.Segmenter(undefined, { granularity });
  segmenters.set(granularity, segmenter);
  const segments = segmenter.segment(text.slice(start, end));
  return Array.from(segments, ({ index, segment: { length } }) => ({ start: start + index, end: start + index + length }));
}

/** A character takes up to four tokens, so bits of a quarter of the budget in characters always fit. */
function cutBits(text: string, word: TextSpan, budget: number, measure: Measure): Piece[] {
  const characters = Array.from(text.slice(word.start, word.end));
  const size = Math.max(1, Math.floor(budget / 4));
  const bits: Piece[] = [];
  let start = word.start;
  for (let i = 0; i < characters.length; i += size) {
    const bit = characters.slice(i, i + size).join("");
    bits.push({ start, end: start + bit.length, tokens: measure.countTokens(bit) });
    start += bit.length;
  }
  return bits;
}

// Documents longer than the model reads, in overlapping windows that begin and end at sentences; the best window speaks for
// its document.
import { setImmediate } from "node:timers/promises";
import type { ScoreResult } from "../addon/native.js";

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

/** How the model sees a text: its tokens alone, and the whole pair with the query. */
export interface Measure {
  readonly countTokens: (text: string) => number;
  /** `documentLength`: tokens of the text that are left. */
  readonly encodePair: (text: string) => { readonly documentLength: number; readonly cut: boolean };
}

/** One chunk for a document that fits, several for one that does not, in the order of the documents. */
export async function chunkDocuments(texts: readonly string[], measure: Measure, settings: ChunkSettings): Promise<Chunk[]> {
  const chunks: Chunk[] = [];
  for (const [index, text] of texts.entries()) {
    settings.signal?.throwIfAborted();
    const whole = measure.encodePair(text);
    if (!whole.cut) {
      chunks.push({ index, start: 0, end: text.length, count: 1, unread: false });
      continue;
    }
    const windows = cutWindows(text, Math.max(1, whole.documentLength), measure, settings);
    const unread = (windows.at(-1)?.end ?? 0) < text.length;
    chunks.push(...windows.map((window) => ({ ...window, index, count: windows.length, unread })));
    await setImmediate(); // long texts are cut on the JS thread: let others have it in between
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

function cutWindows(text: string, budget: number, measure: Measure, settings: ChunkSettings): TextSpan[] {
  const pieces = cutPieces(text, budget, measure);
  const windows: TextSpan[] = [];
  let first = 0;
  let done = 0;
  while (done < pieces.length && windows.length < settings.maxChunks) {
    const end = fillWindow(text, pieces, first, done, budget, measure);
    windows.push({ start: pieces[first]?.start ?? 0, end: pieces[end - 1]?.end ?? text.length });
    first = overlapStart(pieces, first, end, budget * settings.chunkOverlap);
    done = end;
  }
  return windows;
}

/** End of the window that begins at piece `first`. It holds at least the piece `done`, the first one not in a window yet. */
function fillWindow(text: string, pieces: readonly Piece[], first: number, done: number, budget: number, measure: Measure): number {
  let end = first;
  for (let tokens = 0; end < pieces.length; end++) {
    tokens += pieces[end]?.tokens ?? 0;
    if (tokens > budget && end > done) break;
  }
  // Pieces tokenize a little differently side by side, so the pair itself has the last word.
  while (end > done + 1 && measure.encodePair(text.slice(pieces[first]?.start, pieces[end - 1]?.end)).cut) end--;
  return end;
}

/** Where the next window begins so that it repeats at most `overlap` tokens and leaves room for the piece that comes next. */
function overlapStart(pieces: readonly Piece[], first: number, end: number, overlap: number): number {
  let start = end;
  for (let tokens = 0; start > first + 1; start--) {
    tokens += pieces[start - 1]?.tokens ?? 0;
    if (tokens > overlap) break;
  }
  return start;
}

/** Sentences; one that is too long alone in words, and such a word in bits. */
function cutPieces(text: string, budget: number, measure: Measure): Piece[] {
  return segment(text, 0, "sentence").flatMap((sentence) => {
    const tokens = measure.countTokens(text.slice(sentence.start, sentence.end));
    if (tokens <= budget) return [{ ...sentence, tokens }];
    return segment(text.slice(sentence.start, sentence.end), sentence.start, "word").flatMap((word) => {
      const wordTokens = measure.countTokens(text.slice(word.start, word.end));
      return wordTokens <= budget ? [{ ...word, tokens: wordTokens }] : cutBits(text, word, budget, measure);
    });
  });
}

function segment(text: string, offset: number, granularity: "sentence" | "word"): TextSpan[] {
  const segments = new Intl.Segmenter(undefined, { granularity }).segment(text);
  return Array.from(segments, ({ index, segment: { length } }) => ({ start: offset + index, end: offset + index + length }));
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

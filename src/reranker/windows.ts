// Documents longer than the model reads, in windows of tokens that overlap: as the own code of bce-reranker reads them. The best
// window speaks for its document. Source: BCEmbedding models/utils.py, reranker_tokenize_preproc.
import type { ScoreResult } from "../addon/native.js";
import { RerankerError } from "../errors.js";

/** Tokens of a document, from `start` to before `end`. */
export interface TokenWindow {
  readonly start: number;
  readonly end: number;
}

/** A window to score. `unread`: tokens after the last window were left out. */
export interface DocumentWindow extends TokenWindow {
  readonly index: number;
  readonly count: number;
  readonly unread: boolean;
}

export interface WindowSettings {
  readonly maxChunks: number;
  /** Tokens that the next window repeats; at most a quarter of a window. */
  readonly windowOverlap: number;
  readonly signal: AbortSignal | undefined;
}

/**
 * @param room - Tokens of a document beside the query and the special tokens.
 * @throws {RerankerError} `INPUT_TOO_LONG` when the query leaves none.
 */
export async function windowDocuments(
  texts: readonly string[],
  countTokens: (text: string) => Promise<number>,
  room: number,
  settings: WindowSettings,
): Promise<DocumentWindow[]> {
  if (room < 1)
    throw new RerankerError("INPUT_TOO_LONG", "The query leaves no room for a document; raise `maxLength` or shorten the query");
  const windows: DocumentWindow[] = [];
  for (const [index, text] of texts.entries()) {
    settings.signal?.throwIfAborted();
    const length = await countTokens(text);
    const cut = cutTokens(length, room, settings);
    const unread = (cut.at(-1)?.end ?? 0) < length;
    windows.push(...cut.map((window) => ({ ...window, index, count: cut.length, unread })));
  }
  return windows;
}

function cutTokens(length: number, room: number, { maxChunks, windowOverlap }: WindowSettings): TokenWindow[] {
  const overlap = Math.min(windowOverlap, Math.floor(room / 4));
  const windows: TokenWindow[] = [];
  for (let start = 0; windows.length === 0 || (start < length && windows.length < maxChunks); ) {
    const end = Math.min(length, start + room);
    windows.push({ start, end });
    start = end < length ? end - overlap : length;
  }
  return windows;
}

/** The best window of each document, by its highest cutoff's logit. */
export function bestWindows(windows: readonly DocumentWindow[], result: ScoreResult) {
  const last = result.logits.length - windows.length;
  const best = new Map<number, { place: number; logit: number }>();
  for (const [place, { index }] of windows.entries()) {
    const logit = result.logits[last + place] ?? Number.NaN;
    const rival = best.get(index);
    if (!rival || logit > rival.logit) best.set(index, { place, logit });
  }
  return [...best].map(([index, { place, logit }]) => {
    const { start, end, count, unread } = windows[place] as DocumentWindow;
    return { index, logit, tokens: result.tokens[place] ?? 0, cut: result.truncated[place] ?? 0, unread, window: { start, end, count } };
  });
}

// Scores and merges of a BPE vocabulary: a GGUF has the one or the other, and either must give back what tokenizer.json says.
import { readSentencePieceModel } from "./sentencepiece.js";
import type { Tokenizer } from "./tokenizer-json.js";

type Merges = readonly (readonly [left: string, right: string])[];

/**
 * A GGUF vocabulary of this kind has scores and no merges. They come from the SentencePiece model beside a
 * tokenizer.json, or number the merges. Merges that the scores do not give back are written too.
 *
 * @param model - Content of tokenizer.model, if there is one.
 */
export function withScores(tokenizer: Tokenizer, merges: Merges, model: Uint8Array | undefined): Tokenizer {
  const { tokens, modelSize } = tokenizer;
  const candidates = [...(model ? [scoresOf(model, tokens, modelSize)] : []), scoresByMerges(merges, tokens)];
  for (const scores of candidates) {
    if (scores && followFromScores(merges, tokens.slice(0, modelSize), scores)) return { ...tokenizer, scores, merges: undefined };
  }
  return { ...tokenizer, scores: candidates.find((scores) => scores !== undefined) };
}

function scoresOf(model: Uint8Array, tokens: readonly string[], modelSize: number): readonly number[] | undefined {
  const { pieces } = readSentencePieceModel(model);
  if (pieces.length > modelSize) return undefined;
  const same = pieces.every(({ piece }, id) => piece === tokens[id] || piece === "<0x09>");
  return same ? tokens.map((_, id) => (id < 3 ? 0 : (pieces[id]?.score ?? 0))) : undefined;
}

/** Scores that fall with the place of a piece in the list; pieces whose merges lie between each other's get the same. */
function scoresByMerges(merges: Merges, tokens: readonly string[]): number[] {
  const last = new Map<string, number>();
  for (const [i, [left, right]] of merges.entries()) last.set(left + right, i);
  const scores = new Map<string, number>();
  let score = 0;
  let end = 0;
  for (const [i, [left, right]] of merges.entries()) {
    if (i > end) score--;
    end = Math.max(end, i, last.get(left + right) ?? i);
    scores.set(left + right, score);
  }
  return tokens.map((token) => scores.get(token) ?? score - 1);
}

/**
 * Whether transformers' generate_merges (convert_slow_tokenizer.py) makes exactly these merges of the scores:
 * native/tokenizer/merges.cpp does so on loading. It takes every way to put a piece together from two, sorted by score,
 * length of the left and of the right piece, all falling, then by the ids of the whole, the left and the right.
 */
function followFromScores(merges: Merges, tokens: readonly string[], scores: readonly number[]): boolean {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  let before: readonly number[] | undefined;
  for (const [left, right] of merges) {
    const id = ids.get(left + right);
    const leftId = ids.get(left);
    const rightId = ids.get(right);
    if (id === undefined || leftId === undefined || rightId === undefined) return false;
    const key = [-Math.fround(scores[id] ?? 0), -countCharacters(left), -countCharacters(right), id, leftId, rightId];
    if (before && !comesBefore(before, key)) return false;
    before = key;
  }

  // All are such ways, each once and in order. So none is missing if there are as many.
  let n_ways = 0;
  for (const [id, token] of tokens.entries()) {
    if (ids.get(token) !== id) continue;
    let at = 0;
    for (const character of token) {
      at += character.length;
      if (at < token.length && ids.has(token.slice(0, at)) && ids.has(token.slice(at))) n_ways++;
    }
  }
  return n_ways === merges.length;
}

function comesBefore(a: readonly number[], b: readonly number[]): boolean {
  for (const [i, value] of a.entries()) {
    const other = b[i] as number;
    if (value !== other) return value < other;
  }
  return false;
}

function countCharacters(text: string): number {
  let n = 0;
  for (const _ of text) n++;
  return n;
}

// tokenizer.json as transformers loads it, with what tokenizer_config.json and special_tokens_map.json change. The files come
// from strangers: ids, lengths and gaps are bounded, and every error names the field.
import { RerankerError, shown } from "../errors.js";
import { isObject, type JsonObject } from "../files/json.js";
import { type AddedToken, type NamedTokens, namedTokens, readAddedTokens, type TokenFiles } from "./added-tokens.js";
import { invalid } from "./damaged.js";
import type { TokenizerClass } from "./tokenizer-class.js";

const MAX_TOKENS = 1 << 22; // the largest vocabulary there is has 262,144
const MAX_MERGES = 1 << 23;
/** Bytes of UTF-8, as in native/tokenizer/tokenizer.cpp; the longest real piece has 96. */
const MAX_PIECE_BYTES = 1024;
/** Ids without a token become padding: a file of a few bytes shall not make millions of them. */
const MAX_MISSING_IDS = 1 << 16;

/** A tokenizer in the terms of tokenizer.json. */
export interface Tokenizer {
  /** Less vocabulary, merges and charsmap; added tokens as transformers has them after loading. */
  readonly header: JsonObject;
  readonly tokens: readonly string[];
  /** How many tokens the model has; those behind are added. */
  readonly modelSize: number;
  readonly scores: readonly number[] | undefined;
  readonly merges: readonly (readonly [left: string, right: string])[] | undefined;
  readonly charsmap: Uint8Array | undefined;
  readonly addedTokens: readonly AddedToken[];
  readonly named: NamedTokens;
}

export interface Source {
  readonly json: JsonObject;
  /** Scores of a BPE vocabulary that came without merges. */
  readonly scores?: readonly number[];
}

export function asTokenizer({ json, scores }: Source, files: TokenFiles, of: TokenizerClass): Tokenizer {
  const model = json["model"];
  if (!isObject(model)) throw invalid("tokenizer.json has no `model`");
  const { vocab, merges, ...modelRules } = model;
  const vocabulary = readTokens(vocab);
  const tokens = [...vocabulary.tokens];
  const named = namedTokens(files, of, json["padding"]);
  const addedTokens = readAddedTokens(json["added_tokens"], files, named, tokens, of);
  throwIfSparse("added_tokens", addedTokens.at(-1)?.id ?? 0, tokens.length + addedTokens.length);
  for (const { id, content } of addedTokens) tokens[id] ??= content;
  for (let id = 0; id < tokens.length; id++) tokens[id] ??= `[PAD${id}]`;

  const modelSize = vocabulary.tokens.length;
  const charsmap = findCharsmap(json["normalizer"]);
  const header = {
    ...json,
    truncation: null,
    padding: null,
    added_tokens: addedTokens,
    pre_tokenizer: withPrefixSpace(json["pre_tokenizer"], files.config),
    normalizer: bertNormalizer(withoutCharsmap(json["normalizer"]), files.config, of),
    model: tokens.length > modelSize ? { ...modelRules, vocab_size: modelSize } : modelRules,
  };
  return {
    header,
    tokens,
    modelSize,
    scores: scores ?? vocabulary.scores,
    merges: merges === undefined ? undefined : readMerges(merges),
    charsmap,
    addedTokens,
    named,
  };
}

/** Unigram lists [piece, score] by id, BPE and WordPiece map pieces to ids. */
function readTokens(vocab: unknown): { readonly tokens: readonly string[]; readonly scores?: readonly number[] } {
  if (Array.isArray(vocab)) {
    if (vocab.length > MAX_TOKENS) throw invalid(`model.vocab of tokenizer.json has ${vocab.length} pieces`);
    if (vocab.every((item) => typeof item === "string")) {
      for (const [id, piece] of vocab.entries()) throwIfLong(piece, id);
      return { tokens: vocab };
    }
    const tokens: string[] = [];
    const scores: number[] = [];
    for (const [id, item] of vocab.entries()) {
      const [piece, score] = Array.isArray(item) ? (item as unknown[]) : [];
      if (typeof piece !== "string" || typeof score !== "number" || !Number.isFinite(Math.fround(score)))
        throw invalid(`model.vocab[${id}] of tokenizer.json is not a piece and its score`);
      throwIfLong(piece, id);
      tokens.push(piece);
      scores.push(score);
    }
    return { tokens, scores };
  }
  if (!isObject(vocab)) throw invalid("tokenizer.json has no `model.vocab`");
  const tokens: string[] = [];
  const entries = Object.entries(vocab);
  for (const [piece, id] of entries) {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= MAX_TOKENS)
      throw invalid(`model.vocab of tokenizer.json gives ${shown(piece)} the id ${shown(id)}`);
    throwIfLong(piece, id);
    if (tokens[id] !== undefined) throw invalid(`model.vocab of tokenizer.json gives the id ${id} twice`);
    tokens[id] = piece;
  }
  throwIfSparse("model.vocab", tokens.length - 1, entries.length);
  for (let id = 0; id < tokens.length; id++) tokens[id] ??= `[PAD${id}]`;
  return { tokens };
}

function throwIfLong(piece: string, id: number): void {
  const size = Buffer.byteLength(piece);
  if (size > MAX_PIECE_BYTES)
    throw invalid(`the piece ${id} in model.vocab of tokenizer.json has ${size} bytes, more than ${MAX_PIECE_BYTES}`);
}

function throwIfSparse(field: string, lastId: number, count: number): void {
  if (lastId >= count + MAX_MISSING_IDS) throw invalid(`${field} of tokenizer.json has the id ${lastId} where there are ${count} tokens`);
}

function readMerges(merges: unknown): [string, string][] {
  if (!Array.isArray(merges) || merges.length > MAX_MERGES) throw invalid("`model.merges` of tokenizer.json is not a list of merges");
  return merges.map((merge: unknown, i) => {
    const pair: unknown[] = typeof merge === "string" ? merge.split(" ") : Array.isArray(merge) ? merge : [];
    const [left, right] = pair;
    if (pair.length !== 2 || typeof left !== "string" || typeof right !== "string")
      throw invalid(`model.merges[${i}] of tokenizer.json is not a pair of pieces`);
    return [left, right];
  });
}

/** BertTokenizerFast sets the normalizer's switches from its own options, whatever tokenizer.json says. */
function bertNormalizer(normalizer: unknown, config: JsonObject, of: TokenizerClass): unknown {
  if (!isObject(normalizer) || normalizer["type"] !== "BertNormalizer" || !of.setsBertNormalizer) return normalizer;
  return {
    ...normalizer,
    lowercase: config["do_lower_case"] ?? true,
    strip_accents: config["strip_accents"] ?? null,
    handle_chinese_chars: config["tokenize_chinese_chars"] ?? true,
  };
}

/** PreTrainedTokenizerFast sets the blank before the first word from its own option, where the step is not one of several. */
function withPrefixSpace(preTokenizer: unknown, config: JsonObject): unknown {
  if (!isObject(preTokenizer) || preTokenizer["type"] !== "ByteLevel") return preTokenizer ?? null;
  return { ...preTokenizer, add_prefix_space: config["add_prefix_space"] ?? false };
}

function findCharsmap(normalizer: unknown): Uint8Array | undefined {
  if (!isObject(normalizer)) return undefined;
  if (normalizer["type"] === "Precompiled") {
    const text = normalizer["precompiled_charsmap"];
    if (typeof text !== "string") throw invalid("the Precompiled normalizer of tokenizer.json has no `precompiled_charsmap`");
    return Uint8Array.from(Buffer.from(text, "base64"));
  }
  const inner = normalizer["normalizers"];
  if (!Array.isArray(inner)) return undefined;
  const maps = inner.map(findCharsmap).filter((map) => map !== undefined);
  if (maps.length > 1) throw new RerankerError("TOKENIZER_UNSUPPORTED", "tokenizer.json has more than one Precompiled normalizer.");
  return maps[0];
}

function withoutCharsmap(normalizer: unknown): unknown {
  if (!isObject(normalizer)) return normalizer ?? null;
  const { precompiled_charsmap: _, ...rest } = normalizer;
  const inner = rest["normalizers"];
  return Array.isArray(inner) ? { ...rest, normalizers: inner.map(withoutCharsmap) } : rest;
}

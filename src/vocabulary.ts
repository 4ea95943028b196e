// The tokenizer files of a Hugging Face folder -> llama.cpp's tokenizer.ggml.* keys, and tokenizer.huggingface.json with
// the rules those keys cannot say.
import { join } from "node:path";
import { readBounded } from "./convert/bounded-file.js";
import { isObject, type JsonObject, parseJsonObject, readJsonObject } from "./convert/json.js";
import type { MetadataEntry } from "./convert/metadata.js";
import { RerankerError } from "./errors.js";
import type { TokenizerSpec } from "./native.js";
import {
  type ConvertedTokenizer,
  convertGemma,
  convertLlama,
  convertXlmRoberta,
  readSentencePieceModel,
  type SentencePieceModel,
} from "./sentencepiece.js";
import { compileTokenizerSpec } from "./tokenizer-spec.js";

export interface VocabularyFiles {
  readonly metadata: readonly MetadataEntry[];
  readonly spec: TokenizerSpec;
  /** Number of tokens, added ones included, padding to the embedding matrix not. */
  readonly size: number;
  idOf(token: string): number | undefined;
}

const MAX_FILE_BYTES = 64 * 1024 * 1024; // the largest real one is gemma's tokenizer.json with 17 MB
const MAX_TOKENS = 1 << 22;
const MAX_MERGES = 1 << 23;
const SPACE = "▁";

/** tokenizer.ggml.token_type */
enum TokenType {
  Normal = 1,
  Unknown = 2,
  Control = 3,
  UserDefined = 4,
  Unused = 5,
  Byte = 6,
}

/** A tokenizer in the terms of tokenizer.json. */
interface Tokenizer {
  /** Less vocabulary, merges and charsmap; added tokens as transformers has them after loading. */
  readonly header: JsonObject;
  readonly tokens: readonly string[];
  /** How many tokens the model has; those behind are added. */
  readonly modelSize: number;
  readonly scores: readonly number[] | undefined;
  readonly merges: readonly (readonly [left: string, right: string])[] | undefined;
  readonly charsmap: Uint8Array | undefined;
  readonly addedTokens: readonly AddedToken[];
}

interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly normalized: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly single_word: boolean;
}

/**
 * Reads tokenizer.json, or what transformers would convert without one: sentencepiece.bpe.model, tokenizer.model, vocab.txt.
 *
 * @throws {RerankerError} `MODEL_NOT_FOUND` when the folder has none of them, `MODEL_INVALID` for a damaged file,
 *   `TOKENIZER_UNSUPPORTED` for rules that would not give the ids of Hugging Face.
 */
export async function readVocabulary(folder: string): Promise<VocabularyFiles> {
  const config = (await readJsonObject(join(folder, "tokenizer_config.json"))) ?? {};
  const specialTokens = (await readJsonObject(join(folder, "special_tokens_map.json"))) ?? {};
  const source = await readSource(folder, config);
  const tokenizer = await withScores(folder, asTokenizer(source, config, { ...specialTokens, ...withoutNulls(config) }));
  const header = JSON.stringify(tokenizer.header);
  const spec = compileTokenizerSpec(tokenizer.header);
  const ids = new Map(tokenizer.tokens.map((token, id) => [token, id]));
  const idOf = (token: string): number | undefined => ids.get(token);
  return {
    spec,
    size: tokenizer.tokens.length,
    idOf,
    metadata: [
      ...vocabularyEntries(tokenizer, spec),
      ...specialTokenEntries(spec, idOf, config, { ...specialTokens, ...withoutNulls(config) }),
      ["tokenizer.huggingface.json", "string", header],
    ],
  };
}

// --- the files

interface Source {
  readonly json: JsonObject;
  /** Scores of a BPE vocabulary that came without merges. */
  readonly scores?: readonly number[];
}

async function readSource(folder: string, config: JsonObject): Promise<Source> {
  const json = await readBytes(join(folder, "tokenizer.json"));
  if (json) return { json: parseJsonObject(json, "`tokenizer.json`") };
  const options = { legacy: config["legacy"] !== false, addPrefixSpace: config["add_prefix_space"] !== false };
  const fairseq = await readBytes(join(folder, "sentencepiece.bpe.model"));
  if (fairseq) return convertXlmRoberta(readSentencePieceModel(fairseq), { ...options, legacy: true });
  const model = await readBytes(join(folder, "tokenizer.model"));
  if (model) return convertByClass(readSentencePieceModel(model), className(config), options);
  const list = await readBytes(join(folder, "vocab.txt"));
  if (list) return { json: convertBert(list) };
  throw new RerankerError(
    "MODEL_NOT_FOUND",
    `\`${folder}\` has no tokenizer: expected tokenizer.json, sentencepiece.bpe.model, tokenizer.model or vocab.txt. Download the checkpoint with its tokenizer files.`,
  );
}

function convertByClass(
  model: SentencePieceModel,
  name: string | undefined,
  options: { readonly legacy: boolean; readonly addPrefixSpace: boolean },
): ConvertedTokenizer {
  if (name === undefined || name === "LlamaTokenizer") return convertLlama(model, options);
  if (name === "GemmaTokenizer") return convertGemma(model);
  if (name === "XLMRobertaTokenizer") return convertXlmRoberta(model, { ...options, legacy: true });
  throw new RerankerError(
    "TOKENIZER_UNSUPPORTED",
    `There is no tokenizer.json, and how ${name} reads tokenizer.model is not known here. Save the tokenizer with transformers to get a tokenizer.json.`,
  );
}

/** BertConverter, with the options that the class then sets from tokenizer_config.json. */
function convertBert(list: Uint8Array): JsonObject {
  const lines = new TextDecoder().decode(list).split(/\r\n|\n|\r/);
  if (lines.at(-1) === "") lines.pop();
  const vocab = Object.create(null) as Record<string, number>;
  for (const [id, token] of lines.entries()) vocab[token] = id;
  const special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].filter((token) => vocab[token] !== undefined);
  return {
    version: "1.0",
    added_tokens: special.map((content) => ({ id: vocab[content], content, special: true, normalized: false })),
    normalizer: { type: "BertNormalizer", clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true },
    pre_tokenizer: { type: "BertPreTokenizer" },
    model: { type: "WordPiece", unk_token: "[UNK]", continuing_subword_prefix: "##", max_input_chars_per_word: 100, vocab },
  };
}

const readBytes = (path: string): Promise<Uint8Array | undefined> => readBounded(path, MAX_FILE_BYTES, invalid);

// --- tokenizer.json as transformers loads it

function asTokenizer({ json, scores }: Source, config: JsonObject, named: JsonObject): Tokenizer {
  const model = json["model"];
  if (!isObject(model)) throw invalid("tokenizer.json has no `model`");
  const { vocab, merges, ...modelRules } = model;
  const vocabulary = readTokens(vocab);
  const tokens = [...vocabulary.tokens];
  const addedTokens = readAddedTokens(json["added_tokens"], config, named, tokens);
  for (const { id, content } of addedTokens) tokens[id] ??= content;
  if (tokens.length > MAX_TOKENS) throw invalid(`tokenizer.json has ids up to ${tokens.length - 1}`);
  for (let id = 0; id < tokens.length; id++) tokens[id] ??= `[PAD${id}]`;

  const modelSize = vocabulary.tokens.length;
  const charsmap = findCharsmap(json["normalizer"]);
  const header = {
    ...json,
    truncation: null,
    padding: null,
    added_tokens: addedTokens,
    normalizer: bertNormalizer(withoutCharsmap(json["normalizer"]), config),
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
  };
}

/** Unigram lists [piece, score] by id, BPE and WordPiece map pieces to ids. */
function readTokens(vocab: unknown): { readonly tokens: readonly string[]; readonly scores?: readonly number[] } {
  if (Array.isArray(vocab)) {
    if (vocab.length > MAX_TOKENS) throw invalid(`tokenizer.json has ${vocab.length} pieces`);
    if (vocab.every((item) => typeof item === "string")) return { tokens: vocab };
    const tokens: string[] = [];
    const scores: number[] = [];
    for (const [id, item] of vocab.entries()) {
      const [piece, score] = Array.isArray(item) ? (item as unknown[]) : [];
      if (typeof piece !== "string" || typeof score !== "number")
        throw invalid(`model.vocab[${id}] of tokenizer.json is not a piece and its score`);
      tokens.push(piece);
      scores.push(score);
    }
    return { tokens, scores };
  }
  if (!isObject(vocab)) throw invalid("tokenizer.json has no `model.vocab`");
  const tokens: string[] = [];
  for (const [piece, id] of Object.entries(vocab)) {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= MAX_TOKENS)
      throw invalid(`model.vocab of tokenizer.json gives ${JSON.stringify(piece)} the id ${String(id)}`);
    if (tokens[id] !== undefined) throw invalid(`model.vocab of tokenizer.json gives the id ${id} twice`);
    tokens[id] = piece;
  }
  for (let id = 0; id < tokens.length; id++) tokens[id] ??= `[PAD${id}]`;
  return { tokens };
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

/**
 * The added tokens of tokenizer.json, then those of tokenizer_config.json, which replace equal ones, then the special
 * tokens named in neither: the order in which PreTrainedTokenizerFast adds them.
 */
function readAddedTokens(list: unknown, config: JsonObject, named: JsonObject, tokens: readonly string[]): AddedToken[] {
  const added = new Map<string, AddedToken>();
  const ids = new Map(tokens.map((token, id) => [token, id]));
  let next = tokens.length;
  const add = (token: AddedToken): void => {
    added.set(token.content, token);
    ids.set(token.content, token.id);
    next = Math.max(next, token.id + 1);
  };
  if (list !== undefined && list !== null) {
    if (!Array.isArray(list)) throw invalid("`added_tokens` of tokenizer.json is not a list");
    for (const [i, item] of list.entries()) add(readAddedToken(item, undefined, `added_tokens[${i}] of tokenizer.json`));
  }
  const decoder = config["added_tokens_decoder"];
  if (isObject(decoder)) {
    for (const [key, item] of Object.entries(decoder)) {
      const where = `added_tokens_decoder[${key}] of tokenizer_config.json`;
      const token = readAddedToken(item, Number(key), where);
      const known = ids.get(token.content) ?? next;
      if (known !== token.id) throw invalid(`${where} is ${JSON.stringify(token.content)}, which has the id ${known}`);
      add(token);
    }
  }
  for (const key of ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]) {
    const content = tokenText(named[key]);
    if (content === undefined || added.has(content)) continue;
    const flags = isObject(named[key]) ? named[key] : {};
    add(readAddedToken({ normalized: false, ...flags, content, special: true }, ids.get(content) ?? next, key));
  }
  return [...added.values()].sort((a, b) => a.id - b.id);
}

function readAddedToken(item: unknown, givenId: number | undefined, where: string): AddedToken {
  if (!isObject(item)) throw invalid(`${where} is not an object`);
  const id = givenId ?? item["id"];
  const { content } = item;
  if (typeof content !== "string") throw invalid(`${where} has no \`content\``);
  if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= MAX_TOKENS) throw invalid(`${where} has the id ${String(id)}`);
  const flag = (key: string, otherwise: boolean): boolean => {
    const value = item[key];
    if (value === undefined || value === null) return otherwise;
    if (typeof value !== "boolean") throw invalid(`${where} has a \`${key}\` that is neither true nor false`);
    return value;
  };
  const special = flag("special", false);
  return {
    id,
    content,
    single_word: flag("single_word", false),
    lstrip: flag("lstrip", false),
    rstrip: flag("rstrip", false),
    normalized: flag("normalized", !special),
    special,
  };
}

/** BertTokenizerFast sets the normalizer's switches from its own options, whatever tokenizer.json says. */
function bertNormalizer(normalizer: unknown, config: JsonObject): unknown {
  const name = className(config);
  if (!isObject(normalizer) || normalizer["type"] !== "BertNormalizer" || (name !== undefined && name !== "BertTokenizer"))
    return normalizer;
  return {
    ...normalizer,
    lowercase: config["do_lower_case"] ?? true,
    strip_accents: config["strip_accents"] ?? null,
    handle_chinese_chars: config["tokenize_chinese_chars"] ?? true,
  };
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

// --- scores and merges

/**
 * A GGUF vocabulary of this kind has scores and no merges. They come from the SentencePiece model beside a
 * tokenizer.json, or number the merges. Merges that the scores do not give back are written too.
 */
async function withScores(folder: string, tokenizer: Tokenizer): Promise<Tokenizer> {
  const { merges, tokens, modelSize } = tokenizer;
  if (!merges) return tokenizer;
  const model = await readBytes(join(folder, "tokenizer.model"));
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
function scoresByMerges(merges: readonly (readonly [string, string])[], tokens: readonly string[]): number[] {
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
function followFromScores(merges: readonly (readonly [string, string])[], tokens: readonly string[], scores: readonly number[]): boolean {
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

// --- the keys

const GGML_MODELS = { unigram: "t5", bpe: "llama", wordpiece: "bert" } as const;

function vocabularyEntries(tokenizer: Tokenizer, spec: TokenizerSpec): MetadataEntry[] {
  const { tokens, scores, merges, charsmap } = tokenizer;
  const types = tokenTypes(tokenizer, spec);
  const entries: MetadataEntry[] = [
    ["tokenizer.ggml.model", "string", GGML_MODELS[spec.model]],
    ["tokenizer.ggml.pre", "string", "default"],
    ["tokenizer.ggml.tokens", "string[]", spec.model === "wordpiece" ? wordPieceSpelling(tokens, types, spec) : tokens],
    ["tokenizer.ggml.token_type", "i32[]", types],
  ];
  if (scores) entries.push(["tokenizer.ggml.scores", "f32[]", Float32Array.from(tokens, (_, id) => scores[id] ?? 0)]);
  if (merges) {
    const odd = merges.find(([left, right]) => left.includes(" ") || right.includes(" "));
    if (odd)
      throw new RerankerError(
        "TOKENIZER_UNSUPPORTED",
        `tokenizer.json merges ${JSON.stringify(odd)}: pieces with blanks in them cannot be written to a GGUF.`,
      );
    entries.push(["tokenizer.ggml.merges", "string[]", merges.map(([left, right]) => `${left} ${right}`)]);
  }
  if (charsmap) entries.push(["tokenizer.ggml.precompiled_charsmap", "u8[]", charsmap]);
  // The next two are for other readers of the file; ours goes by tokenizer.huggingface.json.
  const prepends =
    spec.normalizer.some(([name]) => name === "prepend") ||
    spec.preTokenizer.some(([name, , scheme]) => name === "metaspace" && scheme !== "never");
  if (spec.model !== "wordpiece") entries.push(["tokenizer.ggml.add_space_prefix", "bool", prepends]);
  const collapses =
    spec.normalizer.some(([name, kind, pattern]) => name === "replace" && kind === "regex" && pattern?.startsWith(" ")) ||
    spec.preTokenizer.some(([name]) => name === "whitespace_split");
  if (spec.model === "unigram") entries.push(["tokenizer.ggml.remove_extra_whitespaces", "bool", collapses]);
  const bert = spec.normalizer.find(([name]) => name === "bert");
  if (bert) {
    entries.push(
      ["tokenizer.ggml.normalizer.lowercase", "bool", bert[4] === "true"],
      ["tokenizer.ggml.normalizer.strip_accents", "bool", bert[3] === "true"],
    );
  }
  return entries;
}

function tokenTypes({ tokens, modelSize, addedTokens }: Tokenizer, spec: TokenizerSpec): Int32Array {
  const option = (name: string): string | undefined => spec.options.find(([key]) => key === name)?.[1];
  const hasBytes = option("byte_fallback") === "true";
  const types = Int32Array.from(tokens, (token, id) => {
    if (token === `[PAD${id}]`) return TokenType.Unused;
    return hasBytes && id < modelSize && /^<0x[0-9A-F]{2}>$/.test(token) ? TokenType.Byte : TokenType.Normal;
  });
  for (const { id, special } of addedTokens) types[id] = special ? TokenType.Control : TokenType.UserDefined;
  const unknown = unknownId(spec, (token) => tokens.indexOf(token));
  // llama.cpp's converter has the unknown piece of BERT as a control token, which keeps its spelling.
  if (unknown !== undefined && spec.model !== "wordpiece") types[unknown] = TokenType.Unknown;
  return types;
}

/** llama.cpp marks the beginning of a word where BERT marks its continuation. */
function wordPieceSpelling(tokens: readonly string[], types: Int32Array, spec: TokenizerSpec): string[] {
  const prefix = spec.options.find(([key]) => key === "continuing_subword_prefix")?.[1] ?? "##";
  return tokens.map((token, id) => {
    if (types[id] === TokenType.Control || types[id] === TokenType.Unused) return token;
    return prefix !== "" && token.startsWith(prefix) ? token.slice(prefix.length) : SPACE + token;
  });
}

function unknownId(spec: TokenizerSpec, idOf: (token: string) => number | undefined): number | undefined {
  const option = (name: string): string | undefined => spec.options.find(([key]) => key === name)?.[1];
  if (spec.model === "unigram") return option("unk_id") === undefined ? undefined : Number(option("unk_id"));
  const id = idOf(option("unk_token") ?? (spec.model === "wordpiece" ? "[UNK]" : ""));
  return id === undefined || id < 0 ? undefined : id;
}

// llama.cpp spells separator as it does.
const SPECIAL_TOKENS = [
  ["bos_token", "tokenizer.ggml.bos_token_id"],
  ["eos_token", "tokenizer.ggml.eos_token_id"],
  ["sep_token", "tokenizer.ggml.seperator_token_id"],
  ["pad_token", "tokenizer.ggml.padding_token_id"],
  ["cls_token", "tokenizer.ggml.cls_token_id"],
  ["mask_token", "tokenizer.ggml.mask_token_id"],
] as const;

/** What the tokenizer classes assume when the configuration does not name a token. */
const DEFAULT_TOKENS: Record<TokenizerSpec["model"], JsonObject> = {
  unigram: { bos_token: "<s>", eos_token: "</s>", sep_token: "</s>", pad_token: "<pad>", cls_token: "<s>", mask_token: "<mask>" },
  wordpiece: { sep_token: "[SEP]", pad_token: "[PAD]", cls_token: "[CLS]", mask_token: "[MASK]" },
  bpe: {},
};

function specialTokenEntries(
  spec: TokenizerSpec,
  idOf: (token: string) => number | undefined,
  config: JsonObject,
  named: JsonObject,
): MetadataEntry[] {
  const entries: MetadataEntry[] = [];
  for (const [name, key] of SPECIAL_TOKENS) {
    const content = tokenText(named[name]) ?? tokenText(DEFAULT_TOKENS[spec.model][name]);
    const id = content === undefined ? undefined : idOf(content);
    if (id !== undefined) entries.push([key, "u32", id]);
  }
  const unknown = unknownId(spec, idOf);
  if (unknown !== undefined) entries.push(["tokenizer.ggml.unknown_token_id", "u32", unknown]);
  const isDecoder = spec.model === "bpe";
  entries.push(
    ["tokenizer.ggml.add_bos_token", "bool", typeof config["add_bos_token"] === "boolean" ? config["add_bos_token"] : true],
    ["tokenizer.ggml.add_eos_token", "bool", typeof config["add_eos_token"] === "boolean" ? config["add_eos_token"] : !isDecoder],
  );
  return entries;
}

function tokenText(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  if (isObject(token) && typeof token["content"] === "string") return token["content"];
  return undefined;
}

/** The tokenizer class without the "Fast" that makes no difference here. */
function className(config: JsonObject): string | undefined {
  const name = config["tokenizer_class"];
  return typeof name === "string" ? name.replace(/Fast$/, "") : undefined;
}

function withoutNulls(object: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== null));
}

function invalid(what: string): RerankerError {
  return new RerankerError("MODEL_INVALID", `${what}. Download the tokenizer files again.`);
}

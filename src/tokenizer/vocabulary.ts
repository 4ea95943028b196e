// The tokenizer files of a Hugging Face folder -> llama.cpp's tokenizer.ggml.* keys, and tokenizer.huggingface.json with
// the rules those keys cannot say.
import { join } from "node:path";
import type { TokenizerSpec } from "../addon/native.js";
import { RerankerError, shown } from "../errors.js";
import { readBounded } from "../files/bounded-file.js";
import { isObject, type JsonObject, parseJsonObject, readJsonObject } from "../files/json.js";
import type { MetadataEntry } from "../gguf/metadata-entry.js";
import { byteLevelName, convertByteLevel, isByteLevel } from "./byte-level.js";
import { withScores } from "./scores.js";
import {
  type ConvertedTokenizer,
  convertGemma,
  convertLlama,
  convertXlmRoberta,
  readSentencePieceModel,
  type SentencePieceModel,
} from "./sentencepiece.js";
import { asTokenizer, className, invalid, type Source, type Tokenizer, tokenText, withoutNulls } from "./tokenizer-json.js";
import { compileTokenizerSpec } from "./tokenizer-spec.js";

export interface VocabularyFiles {
  readonly metadata: readonly MetadataEntry[];
  readonly spec: TokenizerSpec;
  /** Number of tokens, added ones included, padding to the embedding matrix not. */
  readonly size: number;
  idOf(token: string): number | undefined;
}

const MAX_FILE_BYTES = 64 * 1024 * 1024; // the largest real one is gemma's tokenizer.json with 17 MB
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

/**
 * Reads tokenizer.json, or what transformers would convert without one: sentencepiece.bpe.model, tokenizer.model, vocab.txt, or
 * vocab.json with merges.txt.
 *
 * @throws {RerankerError} `MODEL_NOT_FOUND` when the folder has none of them, `MODEL_INVALID` for a damaged file,
 *   `TOKENIZER_UNSUPPORTED` for rules that would not give the ids of Hugging Face.
 */
export async function readVocabulary(folder: string): Promise<VocabularyFiles> {
  const config = (await readJsonObject(join(folder, "tokenizer_config.json"))) ?? {};
  const specialTokens = (await readJsonObject(join(folder, "special_tokens_map.json"))) ?? {};
  const source = await readSource(folder, config);
  const loaded = asTokenizer(source, config, { ...specialTokens, ...withoutNulls(config) });
  const spec = compileTokenizerSpec(loaded.header);
  const withRanks = loaded.merges && !isByteLevel(spec);
  const tokenizer = withRanks ? withScores(loaded, loaded.merges, await readBytes(join(folder, "tokenizer.model"))) : loaded;
  const header = JSON.stringify(tokenizer.header);
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
  const [vocab, merges] = [await readBytes(join(folder, "vocab.json")), await readBytes(join(folder, "merges.txt"))];
  if (vocab && merges) return { json: convertByteLevel(vocab, merges, className(config), config["add_prefix_space"] === true) };
  throw new RerankerError(
    "MODEL_NOT_FOUND",
    `\`${folder}\` has no tokenizer: expected tokenizer.json, sentencepiece.bpe.model, tokenizer.model, vocab.txt, or vocab.json with merges.txt. Download the checkpoint with its tokenizer files.`,
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
    `There is no tokenizer.json, and how ${shown(name)} reads tokenizer.model is not known here. Save the tokenizer with transformers to get a tokenizer.json.`,
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

// --- the keys

const GGML_MODELS = { unigram: "t5", bpe: "llama", wordpiece: "bert" } as const;

function vocabularyEntries(tokenizer: Tokenizer, spec: TokenizerSpec): MetadataEntry[] {
  const { tokens, scores, merges, charsmap } = tokenizer;
  const types = tokenTypes(tokenizer, spec);
  const entries: MetadataEntry[] = [
    ["tokenizer.ggml.model", "string", isByteLevel(spec) ? "gpt2" : GGML_MODELS[spec.model]],
    ["tokenizer.ggml.pre", "string", isByteLevel(spec) ? byteLevelName(spec, postProcessorOf(tokenizer.header)) : "default"],
    ["tokenizer.ggml.tokens", "string[]", spec.model === "wordpiece" ? wordPieceSpelling(tokens, types, spec) : tokens],
    ["tokenizer.ggml.token_type", "i32[]", types],
  ];
  if (scores) entries.push(["tokenizer.ggml.scores", "f32[]", Float32Array.from(tokens, (_, id) => scores[id] ?? 0)]);
  if (merges) {
    const odd = merges.find(([left, right]) => left.includes(" ") || right.includes(" "));
    if (odd)
      throw new RerankerError(
        "TOKENIZER_UNSUPPORTED",
        `tokenizer.json merges ${shown(odd)}: pieces with blanks in them cannot be written to a GGUF.`,
      );
    entries.push(["tokenizer.ggml.merges", "string[]", merges.map(([left, right]) => `${left} ${right}`)]);
  }
  if (charsmap) entries.push(["tokenizer.ggml.precompiled_charsmap", "u8[]", charsmap]);
  // The next two are for other readers of the file; ours goes by tokenizer.huggingface.json.
  const prepends =
    spec.normalizer.some(([name]) => name === "prepend") ||
    spec.preTokenizer.some(
      ([name, first, scheme]) => (name === "metaspace" && scheme !== "never") || (name === "byte_level" && first === "true"),
    );
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

function postProcessorOf(header: JsonObject): unknown {
  const processor = header["post_processor"];
  return isObject(processor) ? processor["type"] : undefined;
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
const ROBERTA_TOKENS = {
  bos_token: "<s>",
  eos_token: "</s>",
  sep_token: "</s>",
  pad_token: "<pad>",
  cls_token: "<s>",
  mask_token: "<mask>",
};
const DEFAULT_TOKENS: Record<TokenizerSpec["model"], JsonObject> = {
  unigram: ROBERTA_TOKENS,
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
  const defaults = className(config) === "RobertaTokenizer" ? ROBERTA_TOKENS : DEFAULT_TOKENS[spec.model];
  for (const [name, key] of SPECIAL_TOKENS) {
    const content = tokenText(named[name]) ?? tokenText(defaults[name]);
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

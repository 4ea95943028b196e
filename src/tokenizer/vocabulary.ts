// The tokenizer files of a Hugging Face folder -> llama.cpp's tokenizer.ggml.* keys, and tokenizer.huggingface.json with
// the rules those keys cannot say.
import { access } from "node:fs/promises";
import { join } from "node:path";
import type { TokenizerSpec } from "../addon/native.js";
import { RerankerError, shown } from "../errors.js";
import { readBounded } from "../files/bounded-file.js";
import { isObject, type JsonObject, parseJsonObject, readJsonObject } from "../files/json.js";
import type { MetadataEntry } from "../gguf/metadata-entry.js";
import { PARSE_SPECIAL_KEY, TOKEN_TYPES_KEY, TRUNCATION_SIDE_KEY } from "../gguf/model-facts.js";
import { type NamedTokens, type TokenFiles, tokenText } from "./added-tokens.js";
import { byteLevelName, convertByteLevel, isByteLevel } from "./byte-level.js";
import { invalid } from "./damaged.js";
import { withScores } from "./scores.js";
import { convertGemma, convertLlama, convertXlmRoberta, readSentencePieceModel } from "./sentencepiece.js";
import { SLOW_FILES, type TokenizerClass, tokenizerClassOf } from "./tokenizer-class.js";
import { asTokenizer, type Source, type Tokenizer } from "./tokenizer-json.js";
import { type TokenizerSettings, tokenizerSettings } from "./tokenizer-settings.js";
import { compileTokenizerSpec } from "./tokenizer-spec.js";

export interface VocabularyFiles {
  readonly metadata: readonly MetadataEntry[];
  readonly spec: TokenizerSpec;
  /** Number of tokens, added ones included, padding to the embedding matrix not. */
  readonly size: number;
  idOf(token: string): number | undefined;
  /** How the tokenizer joins a pair: `post_processor` of tokenizer.json, and whether its class can do so by itself. */
  readonly pairs: { readonly postProcessor: unknown; readonly own: boolean };
  /** `add_bos_token` and `add_eos_token` of tokenizer_config.json. */
  readonly adds: { readonly bos: unknown; readonly eos: unknown };
  /** Where texts that are too long are cut. */
  readonly truncationSide: TokenizerSettings["truncationSide"];
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
 * Reads tokenizer.json, or what transformers would convert without one: the vocabulary file of the tokenizer's class.
 *
 * @param modelConfig - config.json, which may name the class or imply it. Default: the folder's.
 * @throws {RerankerError} `MODEL_NOT_FOUND` when the folder has none of them, `MODEL_INVALID` for a damaged file,
 *   `TOKENIZER_UNSUPPORTED` for a class or for rules that would not give the ids of Hugging Face.
 */
export async function readVocabulary(folder: string, modelConfig?: JsonObject): Promise<VocabularyFiles> {
  const files = await readTokenFiles(folder);
  const model = modelConfig ?? (await readJsonObject(join(folder, "config.json"))) ?? {};
  const json = await readBytes(join(folder, "tokenizer.json"));
  const tokenizerJson = json && parseJsonObject(json, "`tokenizer.json`");
  if (!tokenizerJson && !(await hasVocabulary(folder))) throw missing(folder, ["tokenizer.json", ...SLOW_FILES]);
  const of = tokenizerClassOf(files.config, model);
  const settings = tokenizerSettings(files.config, tokenizerJson?.["truncation"], of);
  const source = tokenizerJson && !settings.fromSlow ? { json: tokenizerJson } : await readSlow(folder, of, files.config);
  throwIfOtherModel(source.json["model"], of);
  const loaded = asTokenizer(source, files, of);
  const spec = compileTokenizerSpec(loaded.header);
  const withRanks = loaded.merges && !isByteLevel(spec);
  const tokenizer = withRanks ? withScores(loaded, loaded.merges, await readBytes(join(folder, "tokenizer.model"))) : loaded;
  const ids = new Map(tokenizer.tokens.map((token, id) => [token, id]));
  const idOf = (token: string): number | undefined => ids.get(token);
  return {
    spec,
    size: tokenizer.tokens.length,
    idOf,
    pairs: { postProcessor: source.json["post_processor"], own: of.joinsPairs },
    adds: { bos: files.config["add_bos_token"], eos: files.config["add_eos_token"] },
    truncationSide: settings.truncationSide,
    metadata: [
      ...vocabularyEntries(tokenizer, spec),
      ...specialTokenEntries(spec, idOf, files.config, tokenizer.named),
      ...settingEntries(settings, spec),
      ["tokenizer.huggingface.json", "string", JSON.stringify(tokenizer.header)],
    ],
  };
}

// --- the files

async function readTokenFiles(folder: string): Promise<TokenFiles> {
  return {
    config: (await readJsonObject(join(folder, "tokenizer_config.json"))) ?? {},
    specialTokensMap: (await readJsonObject(join(folder, "special_tokens_map.json"))) ?? {},
    addedTokens: (await readJsonObject(join(folder, "added_tokens.json"))) ?? {},
  };
}

async function hasVocabulary(folder: string): Promise<boolean> {
  const found = await Promise.all(
    SLOW_FILES.map((file) =>
      access(join(folder, file)).then(
        () => true,
        () => false,
      ),
    ),
  );
  return found.includes(true);
}

/** What transformers makes of the class's own vocabulary file (convert_slow_tokenizer.py). */
async function readSlow(folder: string, { name, slow }: TokenizerClass, config: JsonObject): Promise<Source> {
  if (!slow) throw missing(folder, ["tokenizer.json"]);
  const bytes = await readBytes(join(folder, slow.file));
  const merges = slow.merges ? await readBytes(join(folder, slow.merges)) : undefined;
  if (slow.merges && !merges) throw missing(folder, ["tokenizer.json", `${slow.file} with ${slow.merges}`], name);
  if (!bytes) throw missing(folder, config["from_slow"] === true ? [slow.file] : ["tokenizer.json", slow.file], name);
  const options = { legacy: config["legacy"] !== false, addPrefixSpace: config["add_prefix_space"] !== false };
  switch (slow.kind) {
    case "wordpiece":
      return { json: convertBert(bytes) };
    case "xlm-roberta":
      return convertXlmRoberta(readSentencePieceModel(bytes), { ...options, legacy: true });
    case "llama":
      return convertLlama(readSentencePieceModel(bytes), options);
    case "gemma":
      return convertGemma(readSentencePieceModel(bytes));
    case "byte-level":
      return { json: convertByteLevel(bytes, merges ?? new Uint8Array(), name, config["add_prefix_space"] === true) };
    default:
      throw slow.kind satisfies never;
  }
}

function missing(folder: string, files: readonly string[], name?: string): RerankerError {
  const wanted = files.length > 1 ? `${files.slice(0, -1).join(", ")} or ${files.at(-1)}` : files[0];
  return new RerankerError(
    "MODEL_NOT_FOUND",
    `\`${folder}\` has no tokenizer: expected ${wanted}${name === undefined ? "" : ` for ${name}`}. Download the checkpoint with its tokenizer files.`,
  );
}

/** Loading a tokenizer.json of another kind, the class would still put its own special tokens around the texts. */
function throwIfOtherModel(model: unknown, { name, model: wanted }: TokenizerClass): void {
  const type = isObject(model) ? model["type"] : undefined;
  if (wanted === undefined || type === undefined || type === wanted) return;
  throw new RerankerError(
    "TOKENIZER_UNSUPPORTED",
    `The tokenizer class is ${name}, which goes with ${wanted}, and tokenizer.json holds a ${shown(type)} model: the two belong to different models.`,
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
  if (unknown !== undefined && (unknown < 0 || unknown >= tokens.length))
    throw invalid(`tokenizer.json: \`model.unk_id\` is ${unknown}, and there are ${tokens.length} tokens`);
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

function specialTokenEntries(
  spec: TokenizerSpec,
  idOf: (token: string) => number | undefined,
  config: JsonObject,
  named: NamedTokens,
): MetadataEntry[] {
  const entries: MetadataEntry[] = [];
  for (const [name, key] of SPECIAL_TOKENS) {
    const content = tokenText(named[name]);
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

/** Settings that differ from what the file's layout implies. */
function settingEntries({ givesTokenTypes, parsesSpecialTokens, truncationSide }: TokenizerSettings, spec: TokenizerSpec): MetadataEntry[] {
  const entries: MetadataEntry[] = [];
  if (spec.model === "wordpiece" && !givesTokenTypes) entries.push([TOKEN_TYPES_KEY, "bool", false]);
  if (truncationSide === "left") entries.push([TRUNCATION_SIDE_KEY, "string", "left"]);
  if (!parsesSpecialTokens) entries.push([PARSE_SPECIAL_KEY, "bool", false]);
  return entries;
}

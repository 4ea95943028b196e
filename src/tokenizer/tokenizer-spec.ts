// tokenizer.json -> TokenizerSpec: the rules of a Hugging Face tokenizer as plain lists that native code runs. What
// native code cannot do exactly is refused here or there, by name; nothing is left out silently.

import type { AddedToken, GgufHeader, TokenizerSpec } from "../addon/native.js";
import { RerankerError, shown } from "../errors.js";
import { nestingDepth } from "../files/json.js";
import { BYTE_LEVEL_NAMES, byteLevelRules } from "./byte-level.js";

type Step = readonly string[];
type Json = Readonly<Record<string, unknown>>;

const MAX_STEPS = 64; // real files have up to 8
const MAX_ADDED_TOKENS = 100_000; // real files have up to 1,100
const MAX_ADDED_TOKEN_BYTES = 256; // as in native/tokenizer/tokenizer.cpp; real ones have up to 30
const MAX_DEPTH = 64; // real files nest five deep
const MAX_TEXT_LENGTH = 256; // prefixes and the like
const MAX_PATTERN_LENGTH = 2048; // the longest real one has 400
const MAX_JSON_LENGTH = 64 * 1024 * 1024; // gemma's whole tokenizer.json has 17 MB; ours goes without the vocabulary
const SPACE = "▁";

/** The rules of a GGUF: its own tokenizer.huggingface.json, or what its llama.cpp keys say. */
export function tokenizerSpecOf({ metadata }: Pick<GgufHeader, "metadata">): TokenizerSpec {
  const json = metadata["tokenizer.huggingface.json"]?.value;
  if (json === undefined) return defaultTokenizerSpec(metadata);
  if (typeof json !== "string" || json.length > MAX_JSON_LENGTH) throw invalid("tokenizer.huggingface.json", "a text", typeof json);
  if (nestingDepth(json) > MAX_DEPTH)
    throw invalid("tokenizer.huggingface.json", `nested up to ${MAX_DEPTH} levels deep`, nestingDepth(json));
  let parsed: unknown;
  try {
    parsed = JSON.parse(json);
  } catch (cause) {
    throw new RerankerError("MODEL_INVALID", "tokenizer.huggingface.json is not valid JSON; convert the model again", { cause });
  }
  return compileTokenizerSpec(parsed);
}

/**
 * Rules for a GGUF that llama.cpp's own converter made. What its keys do not say, and so may differ from Hugging Face:
 * - t5 (XLM-R): the rules are those of bge-reranker-v2-m3; for -base and -large, trailing white space loses its `▁`.
 *   bge-reranker-v2-m3 files have `<mask>` as padding, so the text "<mask>" is plain text.
 * - llama (Gemma, MiniCPM): only the pieces that the file calls user defined are matched as added tokens.
 * - bert: whether the model lowercases is known only when tokenizer.ggml.normalizer.lowercase says so; else it does.
 * - gpt2 (byte-level BPE): tokenizer.ggml.pre names the rules; a name that is not in byte-level.ts is refused.
 */
export function defaultTokenizerSpec(metadata: GgufHeader["metadata"]): TokenizerSpec {
  const flagOf = (key: string, otherwise: boolean): boolean => {
    const value = metadata[`tokenizer.ggml.${key}`]?.value;
    return typeof value === "boolean" ? value : otherwise;
  };
  const model = metadata["tokenizer.ggml.model"]?.value;
  const addedTokens = addedTokensOf(metadata);
  const prefix = flagOf("add_space_prefix", true);
  switch (model) {
    case "t5": {
      const charsmap = metadata["tokenizer.ggml.precompiled_charsmap"] ? [["precompiled"]] : [];
      const spaces = [
        ["strip", "false", "true"],
        ["replace", "regex", " {2,}", SPACE],
      ];
      return {
        model: "unigram",
        normalizer: [...charsmap, ...(flagOf("remove_extra_whitespaces", true) ? spaces : [])],
        preTokenizer: [["metaspace", SPACE, prefix ? "always" : "never", "true"]],
        options: [],
        addedTokens,
      };
    }
    case "llama":
      return {
        model: "bpe",
        normalizer: [...(prefix ? [["prepend", SPACE]] : []), ["replace", "string", " ", SPACE]],
        preTokenizer: [],
        options: [
          ["unk_token", textAt(metadata["tokenizer.ggml.tokens"]?.value, metadata["tokenizer.ggml.unknown_token_id"]?.value) ?? "<unk>"],
          ["fuse_unk", "true"],
          ["byte_fallback", "true"],
          // Without a prefix it is Gemma, whose pieces the converter spells anew and whose merges are of February 2024.
          ["respelled_by_llama_cpp", String(!prefix)],
          ["longer_merges_first", String(prefix)],
        ],
        addedTokens: prefix ? addedTokens : addedTokens.map((token) => ({ ...token, content: token.content.replaceAll(" ", SPACE) })),
      };
    case "bert": {
      const lowercase = String(flagOf("normalizer.lowercase", true));
      return {
        model: "wordpiece",
        normalizer: [["bert", "true", "true", String(flagOf("normalizer.strip_accents", lowercase === "true")), lowercase]],
        preTokenizer: [["bert"]],
        options: [],
        addedTokens,
      };
    }
    case "gpt2": {
      const pre = metadata["tokenizer.ggml.pre"]?.value;
      const rules = byteLevelRules(pre);
      if (!rules)
        throw new RerankerError(
          "TOKENIZER_UNSUPPORTED",
          `The GGUF has a byte-level tokenizer of kind ${shown(pre)} (tokenizer.ggml.pre); known are ${BYTE_LEVEL_NAMES.join(", ")}. Convert the checkpoint with this package.`,
        );
      return { model: "bpe", ...rules, addedTokens };
    }
    default:
      throw new RerankerError(
        "TOKENIZER_UNSUPPORTED",
        `The GGUF has a tokenizer of kind ${shown(model)}; known are t5, llama, bert and gpt2.`,
      );
  }
}

/** Control, unknown and user defined tokens of the vocabulary. */
function addedTokensOf(metadata: GgufHeader["metadata"]): AddedToken[] {
  const tokens = metadata["tokenizer.ggml.tokens"]?.value;
  const types = metadata["tokenizer.ggml.token_type"]?.value;
  const mask = metadata["tokenizer.ggml.mask_token_id"]?.value;
  if (types === undefined || typeof types !== "object") return [];
  const added: AddedToken[] = [];
  for (let id = 0; id < types.length; id++) {
    const type = Number(types[id]);
    const content = textAt(tokens, id);
    if ((type !== 2 && type !== 3 && type !== 4) || content === undefined) continue;
    added.push({
      id,
      content,
      special: type !== 4,
      normalized: false,
      lstrip: id === mask && content === "<mask>",
      rstrip: false,
      singleWord: false,
    });
  }
  return added;
}

function textAt(list: unknown, index: unknown): string | undefined {
  const item: unknown = Array.isArray(list) && typeof index === "number" ? list[index] : undefined;
  return typeof item === "string" ? item : undefined;
}

/**
 * Compiles the parsed content of a tokenizer.json. Vocabulary, merges and charsmap may be absent: they stand in the GGUF.
 *
 * @throws {RerankerError} `TOKENIZER_UNSUPPORTED` names the step that would give other ids than Hugging Face;
 *   `MODEL_INVALID` names the field that is not what the format says.
 */
export function compileTokenizerSpec(tokenizerJson: unknown): TokenizerSpec {
  const root = object(tokenizerJson, "the file");
  const model = object(root["model"], "model");
  return {
    ...compileModel(model),
    normalizer: limited(compileNormalizer(root["normalizer"], "normalizer"), "normalizer"),
    preTokenizer: limited(compilePreTokenizer(root["pre_tokenizer"], "pre_tokenizer"), "pre_tokenizer"),
    addedTokens: compileAddedTokens(root["added_tokens"]),
  };
}

function compileModel(model: Json): Pick<TokenizerSpec, "model" | "options"> {
  const type = text(model, "type", "model");
  const options: [string, string][] = [];
  const copy = (key: string, allowed: "string" | "number" | "boolean"): void => {
    const value = model[key];
    if (value === undefined || value === null) return;
    if (typeof value !== allowed || (typeof value === "number" && !Number.isSafeInteger(value)))
      throw invalid(`model.${key}`, `a ${allowed}`, value);
    if (String(value).length > MAX_TEXT_LENGTH) throw invalid(`model.${key}`, "a short text", value);
    options.push([key, String(value)]);
  };
  const refuse = (key: string, plain: unknown): void => {
    const value = model[key];
    if (value !== undefined && value !== null && value !== plain) throw unsupported(`model.${key} = ${shown(value)}`);
  };

  copy("vocab_size", "number"); // ours: how many of the GGUF's pieces belong to the model
  switch (type) {
    case "Unigram":
      copy("unk_id", "number");
      copy("byte_fallback", "boolean");
      return { model: "unigram", options };
    case "BPE":
      refuse("dropout", 0);
      refuse("continuing_subword_prefix", "");
      refuse("end_of_word_suffix", "");
      copy("ignore_merges", "boolean");
      copy("unk_token", "string");
      copy("fuse_unk", "boolean");
      copy("byte_fallback", "boolean");
      return { model: "bpe", options };
    case "WordPiece":
      copy("unk_token", "string");
      copy("continuing_subword_prefix", "string");
      copy("max_input_chars_per_word", "number");
      return { model: "wordpiece", options };
    default:
      throw unsupported(`a model of type ${shown(type)}`);
  }
}

function compileNormalizer(value: unknown, path: string): Step[] {
  if (value === undefined || value === null) return [];
  const step = object(value, path);
  const type = text(step, "type", path);
  switch (type) {
    case "Sequence":
      return list(step["normalizers"], `${path}.normalizers`).flatMap((item, i) => compileNormalizer(item, `${path}.normalizers[${i}]`));
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD":
    case "Lowercase":
      return [[type.toLowerCase()]];
    case "StripAccents":
      return [["strip_accents"]];
    case "Strip":
      return [["strip", flag(step, "strip_left", path), flag(step, "strip_right", path)]];
    case "Prepend":
      return [["prepend", text(step, "prepend", path)]];
    case "Replace":
      return [["replace", ...pattern(step["pattern"], `${path}.pattern`), text(step, "content", path)]];
    case "Precompiled":
      return [["precompiled"]];
    case "BertNormalizer": {
      const lowercase = flag(step, "lowercase", path, true);
      // null means: as lowercase says.
      const accents = step["strip_accents"] === null || step["strip_accents"] === undefined ? lowercase : flag(step, "strip_accents", path);
      return [["bert", flag(step, "clean_text", path, true), flag(step, "handle_chinese_chars", path, true), accents, lowercase]];
    }
    default:
      throw unsupported(`the normalizer ${shown(type)}`);
  }
}

function compilePreTokenizer(value: unknown, path: string): Step[] {
  if (value === undefined || value === null) return [];
  const step = object(value, path);
  const type = text(step, "type", path);
  switch (type) {
    case "Sequence":
      return list(step["pretokenizers"], `${path}.pretokenizers`).flatMap((item, i) =>
        compilePreTokenizer(item, `${path}.pretokenizers[${i}]`),
      );
    case "WhitespaceSplit":
      return [["whitespace_split"]];
    case "Whitespace":
      return [["whitespace"]];
    case "BertPreTokenizer":
      return [["bert"]];
    case "Punctuation":
      return [["punctuation", behavior(step, path, "Isolated")]];
    case "Split":
      return [["split", ...pattern(step["pattern"], `${path}.pattern`), behavior(step, path), flag(step, "invert", path, false)]];
    case "Metaspace":
      return [compileMetaspace(step, path)];
    case "ByteLevel":
      return [["byte_level", flag(step, "add_prefix_space", path, true), flag(step, "use_regex", path, true)]];
    default:
      throw unsupported(`the pre-tokenizer ${shown(type)}`);
  }
}

// Old files say add_prefix_space and str_rep, new ones prepend_scheme and split (tokenizers pre_tokenizers/metaspace.rs).
function compileMetaspace(step: Json, path: string): Step {
  const replacement = text(step, "replacement", path);
  if ([...replacement].length !== 1) throw invalid(`${path}.replacement`, "one character", replacement);
  let scheme = step["prepend_scheme"] === undefined ? "always" : text(step, "prepend_scheme", path);
  if (scheme !== "always" && scheme !== "first" && scheme !== "never")
    throw invalid(`${path}.prepend_scheme`, "always, first or never", scheme);
  if (step["add_prefix_space"] !== undefined && flag(step, "add_prefix_space", path) === "false") {
    if (step["prepend_scheme"] !== undefined && scheme !== "never")
      throw invalid(`${path}.add_prefix_space`, `true with prepend_scheme ${scheme}`, false);
    scheme = "never";
  }
  return ["metaspace", replacement, scheme, flag(step, "split", path, true)];
}

function compileAddedTokens(value: unknown): AddedToken[] {
  if (value === undefined || value === null) return [];
  const tokens = list(value, "added_tokens");
  if (tokens.length > MAX_ADDED_TOKENS) throw invalid("added_tokens", `at most ${MAX_ADDED_TOKENS} entries`, tokens.length);
  return tokens.map((item, i) => {
    const path = `added_tokens[${i}]`;
    const token = object(item, path);
    const id = token["id"];
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id > 0x7fffffff) throw invalid(`${path}.id`, "a token id", id);
    const special = flag(token, "special", path, false) === "true";
    const content = text(token, "content", path, MAX_ADDED_TOKEN_BYTES);
    if (Buffer.byteLength(content) > MAX_ADDED_TOKEN_BYTES)
      throw invalid(`${path}.content`, `a text of up to ${MAX_ADDED_TOKEN_BYTES} bytes`, content);
    return {
      id,
      content,
      special,
      normalized: flag(token, "normalized", path, !special) === "true",
      lstrip: flag(token, "lstrip", path, false) === "true",
      rstrip: flag(token, "rstrip", path, false) === "true",
      singleWord: flag(token, "single_word", path, false) === "true",
    };
  });
}

function pattern(value: unknown, path: string): [kind: string, text: string] {
  const of = object(value, path);
  if (of["String"] !== undefined) return ["string", text(of, "String", path)];
  if (of["Regex"] !== undefined) return ["regex", text(of, "Regex", path, MAX_PATTERN_LENGTH)];
  throw invalid(path, "{ String } or { Regex }", value);
}

function behavior(step: Json, path: string, otherwise?: string): string {
  const name = step["behavior"] === undefined && otherwise !== undefined ? otherwise : text(step, "behavior", path);
  const names: Record<string, string> = {
    Removed: "removed",
    Isolated: "isolated",
    MergedWithPrevious: "merged_with_previous",
    MergedWithNext: "merged_with_next",
    Contiguous: "contiguous",
  };
  const known = Object.hasOwn(names, name) ? names[name] : undefined;
  if (known === undefined) throw invalid(`${path}.behavior`, Object.keys(names).join(", "), name);
  return known;
}

// --- reading unknown values

function object(value: unknown, path: string): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw invalid(path, "an object", value);
  return value as Json;
}

function list(value: unknown, path: string): readonly unknown[] {
  if (!Array.isArray(value)) throw invalid(path, "a list", value);
  return value;
}

function text(of: Json, key: string, path: string, maxLength = MAX_TEXT_LENGTH): string {
  const value = of[key];
  if (typeof value !== "string" || value.length > maxLength)
    throw invalid(`${path}.${key}`, `a text of up to ${maxLength} characters`, value);
  return value;
}

function flag(of: Json, key: string, path: string, otherwise?: boolean): "true" | "false" {
  const value = of[key] ?? otherwise;
  if (typeof value !== "boolean") throw invalid(`${path}.${key}`, "true or false", value);
  return value ? "true" : "false";
}

function limited(steps: Step[], path: string): Step[] {
  if (steps.length > MAX_STEPS) throw invalid(path, `at most ${MAX_STEPS} steps`, steps.length);
  return steps;
}

function invalid(path: string, expected: string, value: unknown): RerankerError {
  return new RerankerError("MODEL_INVALID", `tokenizer.json: expected ${path} to be ${expected}, got ${shown(value)}`);
}

function unsupported(what: string): RerankerError {
  return new RerankerError("TOKENIZER_UNSUPPORTED", `tokenizer.json asks for ${what}, which is not implemented; ids would be wrong`);
}

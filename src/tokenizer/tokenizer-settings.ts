// Fields of tokenizer_config.json and tokenizer.json that decide what the model reads, beside the rules of the tokenizer:
// honoured, or refused when they ask for what is not done here. What only decoding, chat or saving reads is left alone.
import { RerankerError, shown } from "../errors.js";
import { isObject, type JsonObject } from "../files/json.js";
import type { TokenizerClass } from "./tokenizer-class.js";

export interface TokenizerSettings {
  /** false: `model_input_names` has no `token_type_ids`, so the model's own default counts, which is 0 everywhere. */
  readonly givesTokenTypes: boolean;
  /** false: special tokens spelled in a text are text (`split_special_tokens`). */
  readonly parsesSpecialTokens: boolean;
  /** Where texts that are too long are cut. */
  readonly truncationSide: "left" | "right";
  /** The vocabulary file is read though there is a tokenizer.json. */
  readonly fromSlow: boolean;
}

/** @throws {RerankerError} `TOKENIZER_UNSUPPORTED` naming the field that would give other ids. */
export function tokenizerSettings(config: JsonObject, truncation: unknown, of: TokenizerClass): TokenizerSettings {
  if (config["fix_mistral_regex"] === true)
    throw unsupported(
      "`fix_mistral_regex` is true, which replaces the pre-tokenizer",
      "Save the tokenizer with the fixed rules and without the field",
    );
  // A unigram model has special tokens among its pieces, and finds them there though none is parsed.
  if (config["split_special_tokens"] === true && of.model === "Unigram")
    throw unsupported(
      "`split_special_tokens` is true",
      `${of.name} still reads some of them as tokens, which is not done here; set it to false`,
    );
  for (const field of ["split_special_tokens", "from_slow", "do_lower_case", "tokenize_chinese_chars"]) {
    const value = config[field];
    if (value !== undefined && value !== null && typeof value !== "boolean")
      throw unsupported(`\`${field}\` is ${shown(value)}`, "It is true or false");
  }
  return {
    givesTokenTypes: givesTokenTypes(config["model_input_names"], of),
    parsesSpecialTokens: config["split_special_tokens"] !== true,
    truncationSide: truncationSide(config["truncation_side"], isObject(truncation) ? truncation["direction"] : undefined),
    fromSlow: config["from_slow"] === true || (of.prefixSpaceFromSlow === true && typeof config["add_prefix_space"] === "boolean"),
  };
}

/** tokenizer_config.json wins over tokenizer.json, which spells it with a capital. Source: transformers tokenization_utils_fast.py. */
function truncationSide(side: unknown, direction: unknown): "left" | "right" {
  if (side === "left" || side === "right") return side;
  if (side !== undefined) throw unsupported(`\`truncation_side\` is ${shown(side)}`, "It is left or right");
  return direction === "Left" ? "left" : "right";
}

function givesTokenTypes(names: unknown, of: TokenizerClass): boolean {
  if (names === undefined || names === null) return of.givesTokenTypes;
  if (!Array.isArray(names) || names[0] !== "input_ids")
    throw unsupported(`\`model_input_names\` is ${shown(names)}`, "It is a list that begins with input_ids");
  return names.includes("token_type_ids");
}

function unsupported(what: string, advice: string): RerankerError {
  return new RerankerError("TOKENIZER_UNSUPPORTED", `In tokenizer_config.json, ${what}. ${advice}.`);
}

// Byte-level BPE: what llama.cpp's `tokenizer.ggml.pre` names, and tokenizer.json as transformers makes it of vocab.json and
// merges.txt.
import type { TokenizerSpec } from "../addon/native.js";
import { RerankerError, shown } from "../errors.js";
import { type JsonObject, parseJsonObject } from "../files/json.js";
import { invalid } from "./damaged.js";

type Rules = Pick<TokenizerSpec, "normalizer" | "preTokenizer" | "options">;

const split = (digits: string): string =>
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
const QWEN2_PATTERN = split("\\p{N}");
const LLAMA3_PATTERN = split("\\p{N}{1,3}");

const GPT2: Rules = { normalizer: [], preTokenizer: [["byte_level", "false", "true"]], options: [] };
const isolated = (pattern: string) => [
  ["split", "regex", pattern, "isolated", "false"],
  ["byte_level", "false", "false"],
];

const RULES: Readonly<Record<string, Rules>> = {
  "gpt-2": GPT2,
  "roberta-bpe": GPT2,
  "modern-bert": { ...GPT2, normalizer: [["nfc"]] },
  qwen2: { normalizer: [["nfc"]], preTokenizer: isolated(QWEN2_PATTERN), options: [] },
  "llama-bpe": { normalizer: [], preTokenizer: isolated(LLAMA3_PATTERN), options: [["ignore_merges", "true"]] },
};

export const BYTE_LEVEL_NAMES = Object.keys(RULES);

/** The rules that a `tokenizer.ggml.pre` stands for. */
export function byteLevelRules(pre: unknown): Rules | undefined {
  return typeof pre === "string" && Object.hasOwn(RULES, pre) ? RULES[pre] : undefined;
}

export function isByteLevel(spec: Pick<TokenizerSpec, "preTokenizer">): boolean {
  return spec.preTokenizer.some(([name]) => name === "byte_level");
}

/** The `tokenizer.ggml.pre` for rules, so that other readers of the file split as we do. */
export function byteLevelName(spec: Rules, postProcessor: unknown): string {
  const steps = ({ normalizer, preTokenizer }: Pick<Rules, "normalizer" | "preTokenizer">) => JSON.stringify([normalizer, preTokenizer]);
  const found = BYTE_LEVEL_NAMES.find((name) => steps(RULES[name] ?? GPT2) === steps(spec));
  return found === "gpt-2" && postProcessor === "RobertaProcessing" ? "roberta-bpe" : (found ?? "default");
}

/**
 * What transformers makes of vocab.json and merges.txt.
 *
 * @param name - tokenizer_class, without "Fast".
 * @throws {RerankerError} `TOKENIZER_UNSUPPORTED` for other classes, whose rules the two files do not tell.
 */
export function convertByteLevel(vocab: Uint8Array, merges: Uint8Array, name: string | undefined, addPrefixSpace: boolean): JsonObject {
  const byteLevel = { type: "ByteLevel", add_prefix_space: addPrefixSpace, trim_offsets: true, use_regex: true };
  const pieces = parseJsonObject(vocab, "`vocab.json`");
  const model = {
    type: "BPE",
    unk_token: null,
    continuing_subword_prefix: "",
    end_of_word_suffix: "",
    fuse_unk: false,
    vocab: pieces,
    merges: readMerges(merges),
  };
  const special = (content: string, flags: JsonObject = {}) =>
    pieces[content] === undefined ? [] : [{ id: pieces[content], content, special: true, normalized: true, ...flags }];
  switch (name) {
    case "RobertaTokenizer":
      return {
        version: "1.0",
        added_tokens: [
          ...["<s>", "<pad>", "</s>", "<unk>"].flatMap((content) => special(content)),
          ...special("<mask>", { lstrip: true, normalized: false }),
        ],
        normalizer: null,
        pre_tokenizer: byteLevel,
        post_processor: { type: "RobertaProcessing", sep: ["</s>", pieces["</s>"]], cls: ["<s>", pieces["<s>"]] },
        model,
      };
    case "GPT2Tokenizer":
      return { version: "1.0", added_tokens: [], normalizer: null, pre_tokenizer: byteLevel, model };
    case "Qwen2Tokenizer":
      return {
        version: "1.0",
        added_tokens: [],
        normalizer: { type: "NFC" },
        pre_tokenizer: {
          type: "Sequence",
          pretokenizers: [
            { type: "Split", pattern: { Regex: QWEN2_PATTERN }, behavior: "Isolated", invert: false },
            { ...byteLevel, use_regex: false },
          ],
        },
        model,
      };
    default:
      throw new RerankerError(
        "TOKENIZER_UNSUPPORTED",
        `There is no tokenizer.json, and how ${shown(name)} reads vocab.json is not known here. Save the tokenizer with transformers to get a tokenizer.json.`,
      );
  }
}

function readMerges(list: Uint8Array): string[] {
  const lines = new TextDecoder().decode(list).split("\n");
  const merges = lines.filter((line, i) => line.trim() !== "" && !(i === 0 && line.startsWith("#version"))).map((line) => line.trimEnd());
  const odd = merges.find((line) => line.split(" ").length !== 2);
  if (odd !== undefined) throw invalid(`merges.txt has the line ${shown(odd)}, which is not two pieces`);
  return merges;
}

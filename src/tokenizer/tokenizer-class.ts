// Which tokenizer class of transformers reads a folder, and the list of those whose ids we give exactly. A vocab.txt alone
// says nothing: English WordPiece, MeCab pieces and BPE of syllables look the same.
import { RerankerError, shown } from "../errors.js";
import type { JsonObject } from "../files/json.js";

/** How a class makes a tokenizer.json out of its vocabulary file when the folder has none. */
export type SlowVocabulary = "wordpiece" | "xlm-roberta" | "llama" | "gemma" | "byte-level";

export interface TokenizerClass {
  /** Without the "Fast" that makes no difference here. */
  readonly name: string;
  /** `model.type` its tokenizer.json must have; undefined: whatever it is. */
  readonly model?: "WordPiece" | "Unigram" | "BPE";
  readonly slow?: { readonly kind: SlowVocabulary; readonly file: string; readonly merges?: string };
  /** Its options set the switches of a BertNormalizer, whatever tokenizer.json says. */
  readonly setsBertNormalizer?: true;
  /** `add_prefix_space` makes it read the vocabulary file though there is a tokenizer.json. */
  readonly prefixSpaceFromSlow?: true;
  /** Special tokens it assumes when no file names one. */
  readonly specialTokens: Readonly<Record<string, string>>;
  /** `model_input_names` when tokenizer_config.json has none: whether the model gets token types. */
  readonly givesTokenTypes: boolean;
  /** A mask token of which only the text is given takes the blank before it along; `normalized` as the class has it. */
  readonly mask?: { readonly normalized: boolean };
  /** It knows itself how to join a pair; others do as `post_processor` says. */
  readonly joinsPairs: boolean;
}

const BERT = {
  model: "WordPiece",
  slow: { kind: "wordpiece", file: "vocab.txt" },
  setsBertNormalizer: true,
  specialTokens: { unk_token: "[UNK]", sep_token: "[SEP]", pad_token: "[PAD]", cls_token: "[CLS]", mask_token: "[MASK]" },
  givesTokenTypes: true,
  joinsPairs: true,
} as const;

const FAIRSEQ_TOKENS = {
  bos_token: "<s>",
  eos_token: "</s>",
  unk_token: "<unk>",
  sep_token: "</s>",
  pad_token: "<pad>",
  cls_token: "<s>",
  mask_token: "<mask>",
} as const;

const END_OF_TEXT = "<|endoftext|>";

const BYTE_LEVEL = {
  model: "BPE",
  slow: { kind: "byte-level", file: "vocab.json", merges: "merges.txt" },
  givesTokenTypes: false,
  joinsPairs: true,
} as const;

// Source: the Fast classes of transformers 4.57, which FlagEmbedding loads. A class goes in here when its ids are tested.
const CLASSES: readonly TokenizerClass[] = [
  { name: "BertTokenizer", ...BERT },
  { name: "ElectraTokenizer", ...BERT },
  { name: "DistilBertTokenizer", ...BERT, givesTokenTypes: false },
  {
    name: "XLMRobertaTokenizer",
    model: "Unigram",
    slow: { kind: "xlm-roberta", file: "sentencepiece.bpe.model" },
    specialTokens: FAIRSEQ_TOKENS,
    givesTokenTypes: false,
    mask: { normalized: true },
    joinsPairs: true,
  },
  {
    name: "DebertaV2Tokenizer", // of transformers 4: release 5 makes rules of its own in place of tokenizer.json's
    model: "Unigram",
    specialTokens: {
      bos_token: "[CLS]",
      eos_token: "[SEP]",
      unk_token: "[UNK]",
      sep_token: "[SEP]",
      pad_token: "[PAD]",
      cls_token: "[CLS]",
      mask_token: "[MASK]",
    },
    givesTokenTypes: true,
    joinsPairs: true,
  },
  {
    name: "RobertaTokenizer",
    ...BYTE_LEVEL,
    specialTokens: FAIRSEQ_TOKENS,
    mask: { normalized: false },
  },
  {
    name: "GPT2Tokenizer",
    ...BYTE_LEVEL,
    specialTokens: { bos_token: END_OF_TEXT, eos_token: END_OF_TEXT, unk_token: END_OF_TEXT },
    joinsPairs: false,
  },
  { name: "Qwen2Tokenizer", ...BYTE_LEVEL, specialTokens: { eos_token: END_OF_TEXT, pad_token: END_OF_TEXT }, joinsPairs: false },
  {
    name: "GemmaTokenizer",
    model: "BPE",
    slow: { kind: "gemma", file: "tokenizer.model" },
    specialTokens: { bos_token: "<bos>", eos_token: "<eos>", unk_token: "<unk>", pad_token: "<pad>" },
    givesTokenTypes: false,
    joinsPairs: true,
  },
  {
    name: "LlamaTokenizer",
    model: "BPE",
    slow: { kind: "llama", file: "tokenizer.model" },
    prefixSpaceFromSlow: true,
    specialTokens: { bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>" },
    givesTokenTypes: false,
    joinsPairs: true,
  },
  // tokenizer.json and nothing else; transformers 5 calls the same class TokenizersBackend.
  { name: "PreTrainedTokenizer", specialTokens: {}, givesTokenTypes: true, joinsPairs: false },
  { name: "TokenizersBackend", specialTokens: {}, givesTokenTypes: true, joinsPairs: false },
];

/** The class that `model_type` of config.json implies (transformers, TOKENIZER_MAPPING_NAMES). */
const BY_MODEL_TYPE: Readonly<Record<string, string>> = {
  bert: "BertTokenizer",
  "deberta-v2": "DebertaV2Tokenizer",
  electra: "ElectraTokenizer",
  distilbert: "DistilBertTokenizer",
  "xlm-roberta": "XLMRobertaTokenizer",
  roberta: "RobertaTokenizer",
  qwen2: "Qwen2Tokenizer",
  qwen3: "Qwen2Tokenizer",
  modernbert: "PreTrainedTokenizer",
  gemma: "GemmaTokenizer",
  gemma2: "GemmaTokenizer",
};

/** Vocabulary files of the classes, as a message names them. */
export const SLOW_FILES: readonly string[] = [...new Set(CLASSES.flatMap(({ slow }) => slow?.file ?? []))];

/**
 * As AutoTokenizer decides: `tokenizer_class` of tokenizer_config.json, that of config.json, then what `model_type` implies.
 *
 * @throws {RerankerError} `TOKENIZER_UNSUPPORTED` naming a class that we do not do exactly, or saying that nothing names one.
 */
export function tokenizerClassOf(tokenizerConfig: JsonObject, modelConfig: JsonObject): TokenizerClass {
  throwIfForeignCode(tokenizerConfig);
  const given = tokenizerConfig["tokenizer_class"] ?? modelConfig["tokenizer_class"];
  const modelType = modelConfig["model_type"];
  const name = given ?? (typeof modelType === "string" && Object.hasOwn(BY_MODEL_TYPE, modelType) ? BY_MODEL_TYPE[modelType] : undefined);
  if (name === undefined || name === null) {
    throw new RerankerError(
      "TOKENIZER_UNSUPPORTED",
      `Nothing says which tokenizer class reads these files: no \`tokenizer_class\` in tokenizer_config.json or config.json, and \`model_type\` is ${shown(modelType ?? null)}. ` +
        "Download tokenizer_config.json too, or name the class there.",
    );
  }
  const found = CLASSES.find((each) => typeof name === "string" && (name === each.name || name === `${each.name}Fast`));
  if (found) return found;
  const known = CLASSES.map((each) => each.name).join(", ");
  const file = (tokenizerConfig["tokenizer_class"] ?? undefined) === undefined ? "config.json" : "tokenizer_config.json";
  throw new RerankerError(
    "TOKENIZER_UNSUPPORTED",
    `\`tokenizer_class\` in ${file} is ${shown(name)}, whose ids this package does not give exactly, and other ids mean wrong scores. Known: ${known}.`,
  );
}

/** A tokenizer written in Python, which comes with the repository. */
function throwIfForeignCode(tokenizerConfig: JsonObject): void {
  const map = tokenizerConfig["auto_map"];
  const code: unknown = Array.isArray(map)
    ? map
    : typeof map === "object" && map !== null
      ? (map as JsonObject)["AutoTokenizer"]
      : undefined;
  if (code === undefined || code === null) return;
  throw new RerankerError(
    "TOKENIZER_UNSUPPORTED",
    `The tokenizer is Python code of the repository (\`auto_map\` in tokenizer_config.json: ${shown(code)}), which is not run here. ` +
      "If a class of transformers gives the same ids, save the tokenizer with it: `tokenizer.save_pretrained(folder)`.",
  );
}

// The tokenizer that will read the new file, loaded from a GGUF of the vocabulary alone before any weight is read: what would
// not load, or would read pairs otherwise than the checkpoint's own tokenizer, is refused while nothing is written yet.
import { rm } from "node:fs/promises";
import type { NativeAddon } from "../addon/native.js";
import { RerankerError } from "../errors.js";
import type { MetadataEntry } from "../gguf/metadata-entry.js";
import { inputLayoutOf } from "../gguf/model-facts.js";
import { pairTemplateOf, throwIfJoinedOtherwise } from "../tokenizer/pair-template.js";
import type { VocabularyFiles } from "../tokenizer/vocabulary.js";
import { type CheckpointConfig, quantity } from "./config.js";
import type { PromptIds } from "./metadata.js";

/**
 * @param metadata - The vocabulary's, padded to the embedding table.
 * @param path - Of a temporary file.
 * @returns Ids of the fixed texts of a prompt layout.
 */
export async function proveTokenizer(
  addon: NativeAddon,
  config: CheckpointConfig,
  { spec, pairs }: VocabularyFiles,
  metadata: readonly MetadataEntry[],
  path: string,
): Promise<PromptIds | undefined> {
  const { profile } = config;
  try {
    addon.writeGgufHeader(path, [["general.architecture", "string", profile.architecture], ...metadata], []);
    const tokenizer = addon.loadTokenizer(path, spec);
    if (profile.layout.kind === "pair") {
      const layout = inputLayoutOf(addon.readGguf(path), profile, "The checkpoint");
      if (!pairs.own && profile.defaults.truncation !== "longest_first") throw nameless(config);
      if (layout.kind === "pair") throwIfJoinedOtherwise(layout, pairTemplateOf(pairs.postProcessor), pairs.own);
      if (layout.kind === "pair" && layout.documentTokenType >= (config.quantities.get("n_token_type") ?? 2)) throw fewTokenTypes(config);
      throwIfOtherPadding(config, metadata);
      return undefined;
    }
    const scored = profile.score.kind === "token-logit" ? [...tokenizer.encode(profile.score.token, false)] : undefined;
    return {
      separator: [...tokenizer.encode(profile.layout.separator, true)],
      prompt: [...tokenizer.encode(profile.defaults.prompt ?? "", true)],
      tokenId: scored?.[0],
    };
  } finally {
    await rm(path, { force: true });
  }
}

/** Positions skip the token that config.json calls padding; our files know that of the tokenizer. */
function throwIfOtherPadding({ checkpoint, padTokenId }: CheckpointConfig, metadata: readonly MetadataEntry[]): void {
  if (checkpoint.reservedPositions === "none") return;
  const padding = metadata.find(([key]) => key === "tokenizer.ggml.padding_token_id")?.[2];
  if (padding === padTokenId) return;
  throw new RerankerError(
    "CONVERT_FAILED",
    `\`pad_token_id\` in config.json is ${padTokenId}, and the tokenizer's padding has the id ${String(padding ?? "of no token")}: positions would be counted from another place than in training.`,
  );
}

/** FlagEmbedding joins pairs through the class, and one that knows only tokenizer.json puts nothing around the texts. */
function nameless({ name }: CheckpointConfig): RerankerError {
  return new RerankerError(
    "TOKENIZER_UNSUPPORTED",
    `The tokenizer has no class of its own (\`tokenizer_class\` in tokenizer_config.json): FlagEmbedding then feeds ${name} pairs without special tokens, sentence-transformers feeds it those of \`post_processor\`. ` +
      "Name the class that it was trained with there, such as BertTokenizer or XLMRobertaTokenizer.",
  );
}

function fewTokenTypes(config: CheckpointConfig): RerankerError {
  return new RerankerError(
    "CONVERT_FAILED",
    `The tokenizer gives the document token type 1, and the model has ${quantity(config, "n_token_type")} (\`type_vocab_size\`): the two belong to different models.`,
  );
}

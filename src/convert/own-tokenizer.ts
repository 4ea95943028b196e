// The tokenizer that will read the new file, loaded from a GGUF of the vocabulary alone before any weight is read: what would
// not load, or would read pairs otherwise than the checkpoint's own tokenizer, is refused while nothing is written yet.
import { rm } from "node:fs/promises";
import type { NativeAddon } from "../addon/native.js";
import { RerankerError, shown } from "../errors.js";
import type { MetadataEntry } from "../gguf/metadata-entry.js";
import { inputLayoutOf } from "../gguf/model-facts.js";
import { type ChatTemplate, templateText } from "../models/index.js";
import { pairTemplateOf, throwIfJoinedOtherwise } from "../tokenizer/pair-template.js";
import type { VocabularyFiles } from "../tokenizer/vocabulary.js";
import { type CheckpointConfig, quantity } from "./config.js";
import type { CheckpointForm } from "./form.js";
import type { PromptIds } from "./metadata.js";

/**
 * @param metadata - The vocabulary's, padded to the embedding table.
 * @param path - Of a temporary file.
 * @returns Ids of the fixed texts of a prompt layout.
 */
export async function proveTokenizer(
  addon: NativeAddon,
  config: CheckpointConfig,
  { form, chat, instruction, labels }: CheckpointForm,
  { spec, pairs, adds, truncationSide }: VocabularyFiles,
  metadata: readonly MetadataEntry[],
  path: string,
): Promise<PromptIds | undefined> {
  const { profile } = config;
  try {
    addon.writeGgufHeader(path, [["general.architecture", "string", profile.architecture], ...metadata], []);
    const tokenizer = addon.loadTokenizer(path, spec);
    if (form.layout.kind === "pair") {
      if (form.layout.readsBeforePadding) throwIfPairsAreOpen(config, pairs.postProcessor, adds, metadata);
      const layout = inputLayoutOf(addon.readGguf(path), form, "The checkpoint");
      if (!pairs.own && form.defaults.truncation !== "longest_first") throw nameless(config);
      if (layout.kind === "pair") throwIfJoinedOtherwise(layout, pairTemplateOf(pairs.postProcessor), pairs.own);
      if (layout.kind === "pair" && layout.documentTokenType >= (config.quantities.get("n_token_type") ?? 2)) throw fewTokenTypes(config);
      throwIfOtherPadding(config, metadata);
      return undefined;
    }
    const { layout, score } = form;
    const ids = (text: string) => [...tokenizer.encode(text, true)];
    if (chat) throwIfUnclosed(chat.template, spec);
    if (chat && truncationSide !== "right") throw keepsEnd();
    return {
      separator: ids(layout.kind === "prompt" ? layout.separator : ""),
      prompt: ids(form.defaults.prompt ?? ""),
      tokenId: score.kind === "token-logit" ? tokenizer.encode(score.token, false)[0] : undefined,
      labelIds: labels?.map((label) => (typeof label === "number" ? label : wordId(label, tokenizer.encode(label, false)))),
      prefix: ids((layout.kind === "prompt" && layout.prefix) || ""),
      template: chat ? ids(templateText(chat.template, instruction ?? "", "", "")) : [],
    };
  } finally {
    await rm(path, { force: true });
  }
}

/** Where transformers 4 and 5 join pairs in different ways, or padding would be scored. */
function throwIfPairsAreOpen(
  { name, checkpoint, json }: CheckpointConfig,
  postProcessor: unknown,
  adds: VocabularyFiles["adds"],
  metadata: readonly MetadataEntry[],
): void {
  const refused = (why: string) => new RerankerError("TOKENIZER_UNSUPPORTED", `${why}.`);
  if (pairTemplateOf(postProcessor) === null)
    throw refused(
      `How a ${name} reads a pair is not known: tokenizer.json has no \`post_processor\` that joins two texts. Save the tokenizer as it was in training`,
    );
  const isOpen = (adds.bos !== undefined && adds.bos !== true) || (adds.eos !== undefined && (adds.eos !== false || adds.bos !== true));
  if (isOpen)
    throw refused(
      `\`add_bos_token\` is ${shown(adds.bos ?? null)} and \`add_eos_token\` ${shown(adds.eos ?? null)} in tokenizer_config.json; a ${name} is read with true and false, which is how \`post_processor\` joins a pair`,
    );
  const given = json["pad_token_id"];
  const wanted = given === undefined ? (checkpoint.padTokenId?.otherwise ?? null) : given;
  const padding = metadata.find(([key]) => key === "tokenizer.ggml.padding_token_id")?.[2];
  if (wanted === null || wanted !== padding)
    throw refused(
      `The score of a ${name} is read at the last token that is not padding: \`pad_token_id\` in config.json is ${shown(wanted)}, and the tokenizer pads with the id ${String(padding ?? "of no token")}. Name the same token in both`,
    );
}

/** Without a token between, what closes the document would join it. */
function throwIfUnclosed(template: ChatTemplate, { addedTokens }: VocabularyFiles["spec"]): void {
  const last = template.at(-1);
  if (typeof last === "string" && addedTokens.some(({ content, normalized }) => !normalized && last.startsWith(content))) return;
  throw new RerankerError(
    "CONVERT_FAILED",
    `The chat template closes the document with ${shown(last ?? null)}, which does not begin with a special token of the tokenizer: not supported.`,
  );
}

function wordId(word: string, ids: Int32Array): number {
  const [id] = ids;
  if (id !== undefined) return id;
  throw new RerankerError("CONVERT_FAILED", `The tokenizer gives no token for ${shown(word)}, whose logit is the score.`);
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

function keepsEnd(): RerankerError {
  return new RerankerError(
    "TOKENIZER_UNSUPPORTED",
    "`truncation_side` is left, and a pair in a chat template that loses its beginning loses its template: set it to right in tokenizer_config.json, or shorten the texts before they are scored.",
  );
}

function fewTokenTypes(config: CheckpointConfig): RerankerError {
  return new RerankerError(
    "CONVERT_FAILED",
    `The tokenizer gives the document token type 1, and the model has ${quantity(config, "n_token_type")} (\`type_vocab_size\`): the two belong to different models.`,
  );
}

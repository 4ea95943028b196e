// The metadata of a converted file: llama.cpp's keys, the vocabulary's, and our own under `reranker.`.

import type { TensorType } from "../addon/native.js";
import { RerankerError } from "../errors.js";
import type { MetadataEntry } from "../gguf/metadata-entry.js";
import { templateText } from "../models/index.js";
import { type CheckpointConfig, quantity } from "./config.js";
import { localLayers, namedValue } from "./config-values.js";
import type { Cutting } from "./cutting.js";
import type { CheckpointForm } from "./form.js";
import { fileType } from "./tensor-type.js";

/** Stands for the hash of the weights until they have been read (late-metadata.ts). */
const SHA256_PLACEHOLDER = "0".repeat(64);
export const SHA256_KEY = "reranker.source.sha256";
export const PAD_ROW_KEY = "reranker.position.pad_row";

/** ggml's GGML_QNT_VERSION. */
const QUANTIZATION_VERSION = 2;

/** What the tokenizer gives for the texts that every pair contains. */
export interface PromptIds {
  readonly separator: readonly number[];
  readonly prompt: readonly number[];
  /** First id of the scored word, for token-logit models. */
  readonly tokenId: number | undefined;
  /** First ids of the words whose logits score, for models with labels. */
  readonly labelIds: readonly number[] | undefined;
  /** What stands before the query, in the place of bos. */
  readonly prefix: readonly number[];
  /** A pair of two empty texts, of chat layouts. */
  readonly template: readonly number[];
}

export interface MetadataSource {
  readonly config: CheckpointConfig;
  readonly name: string;
  readonly type: TensorType;
  readonly vocabulary: readonly MetadataEntry[];
  readonly promptIds: PromptIds | undefined;
  /** Position embedding of a literal padding token, where the model has one; a placeholder, as the hash is. */
  readonly padPosition: Float32Array | undefined;
  readonly cutting: Cutting;
  readonly form: CheckpointForm;
}

export function buildMetadata(source: MetadataSource): MetadataEntry[] {
  const { config } = source;
  return [
    ["general.architecture", "string", config.profile.architecture],
    ["general.type", "string", "model"],
    ["general.name", "string", source.name],
    ...quantizationEntries(source.type),
    [SHA256_KEY, "string", SHA256_PLACEHOLDER],
    ...architectureEntries(source),
    ...rerankerEntries(source),
    ...source.vocabulary,
  ];
}

/** The entries that say which type the tensors have; quantize replaces them. */
export function quantizationEntries(type: TensorType): MetadataEntry[] {
  return [
    ["general.file_type", "u32", fileType(type)],
    ["general.quantization_version", "u32", QUANTIZATION_VERSION],
  ];
}

function architectureEntries({ config, vocabulary }: MetadataSource): MetadataEntry[] {
  const given = new Set(vocabulary.map(([key]) => key));
  return config.checkpoint.metadata
    .filter(([key]) => !given.has(key))
    .map(([key, type, value]) => {
      if (typeof value === "string") return [key, type, quantity(config, value)];
      if ("constant" in value) return [key, type, type.endsWith("[]") ? [value.constant as string] : value.constant];
      if ("names" in value) return [key, type, namedValue(config, value)];
      return localLayers(config, key, value);
    });
}

function rerankerEntries({ config, name, promptIds, padPosition, cutting, form: checkpointForm }: MetadataSource): MetadataEntry[] {
  const { profile } = config;
  const { form } = checkpointForm;
  const { defaults, layout, score } = form;
  const entries: MetadataEntry[] = [
    ["reranker.model", "string", name],
    ["reranker.class", "string", form.class],
    ["reranker.score", "string", score.kind],
    ["reranker.ffn.activation", "string", config.activation],
  ];
  entries.push(...formEntries(checkpointForm, promptIds), ...llamaCppEntries(profile.architecture, checkpointForm));
  const maxLength = config.maxLength ?? cutting.maxLength;
  if (maxLength !== undefined) entries.push(["reranker.max_length", "u32", maxLength]);
  if (layout.kind === "pair") entries.push(["reranker.truncation", "string", cutting.truncation]);
  if (padPosition) entries.push([PAD_ROW_KEY, "f32[]", padPosition]);
  if (defaults.queryInstruction !== null) entries.push(["reranker.query_instruction", "string", defaults.queryInstruction]);
  if (defaults.documentInstruction !== null) entries.push(["reranker.document_instruction", "string", defaults.documentInstruction]);
  if (layout.kind === "prompt" && promptIds) {
    entries.push(
      ["reranker.separator", "string", layout.separator],
      ["reranker.separator_ids", "i32[]", Int32Array.from(promptIds.separator)],
    );
    entries.push(["reranker.prompt", "string", defaults.prompt ?? ""], ["reranker.prompt_ids", "i32[]", Int32Array.from(promptIds.prompt)]);
    if (promptIds.tokenId !== undefined) entries.push(["reranker.token_id", "u32", promptIds.tokenId]);
  }
  if (score.kind === "layer-head") {
    entries.push(
      ["reranker.head.start_layer", "u32", quantity(config, "start_layer")],
      ["reranker.head.layer_step", "u32", quantity(config, "layer_step")],
      ["reranker.head.count", "u32", quantity(config, "n_score_head")],
      ["reranker.head.select", "string", score.select],
    );
  }
  if (profile.compress && form.options.includes("compressLayers")) {
    entries.push(["reranker.compress.ratios", "u32[]", Uint32Array.from(profile.compress.ratios)]);
    const layers = profile.compress.layers.filter((layer) => layer <= quantity(config, "n_layer"));
    entries.push(["reranker.compress.layers", "u32[]", Uint32Array.from(layers)]);
  }
  return entries;
}

/** llama.cpp ranks by "yes" and "no" alone, and lays pairs out by this template. */
function llamaCppEntries(architecture: string, { chat, instruction, labels, form }: CheckpointForm): MetadataEntry[] {
  if (!chat || labels?.length !== 2 || form.form !== "qwen3-reranker") return [];
  return [
    [`${architecture}.pooling_type`, "u32", 4], // rank
    [`${architecture}.classifier.output_labels`, "string[]", ["yes", "no"]],
    ["tokenizer.chat_template.rerank", "string", templateText(chat.template, instruction ?? "", "{query}", "{document}")],
  ];
}

/** What the model cards leave open, so that nothing about a pair is guessed from the architecture. */
function formEntries({ form, chat, instruction, labelWeights }: CheckpointForm, promptIds: PromptIds | undefined): MetadataEntry[] {
  const entries: MetadataEntry[] = [];
  if (form.form !== undefined) entries.push(["reranker.form", "string", form.form]);
  if (labelWeights.length > 0) entries.push(["reranker.label_weights", "f32[]", Float32Array.from(labelWeights)]);
  if (promptIds?.labelIds) entries.push(["reranker.label_ids", "i32[]", Int32Array.from(promptIds.labelIds)]);
  if (instruction !== null) entries.push(["reranker.instruction", "string", instruction]);
  if (chat && promptIds) {
    entries.push(["reranker.template", "string[]", chat.template.map((part) => (typeof part === "string" ? part : `{${part.slot}}`))]);
    entries.push(["reranker.template_ids", "i32[]", Int32Array.from(promptIds.template)]);
    entries.push(["reranker.strips_texts", "bool", chat.stripsTexts]);
  }
  if (form.layout.kind === "prompt" && form.layout.prefix !== undefined && promptIds) {
    entries.push(["reranker.prefix", "string", form.layout.prefix], ["reranker.prefix_ids", "i32[]", Int32Array.from(promptIds.prefix)]);
  }
  return entries;
}

// llama.cpp's token type for rows of the embedding table that no token has.
const UNUSED_TOKEN = 5;

/** Embedding tables are often longer than their vocabulary; the rest is named `[PADn]`, as llama.cpp's converter does. */
export function padVocabulary(entries: readonly MetadataEntry[], n_vocab: number): MetadataEntry[] {
  const tokens = entries.find(([key]) => key === "tokenizer.ggml.tokens")?.[2] as readonly string[] | undefined;
  if (!tokens) throw new RerankerError("CONVERT_FAILED", "The tokenizer files hold no vocabulary.");
  const missing = n_vocab - tokens.length;
  if (missing < 0) {
    throw new RerankerError(
      "CONVERT_FAILED",
      `The tokenizer has ${tokens.length} tokens, the embedding table (\`vocab_size\`) only ${n_vocab} rows: the last tokens would have no embedding. The tokenizer belongs to another model.`,
    );
  }
  if (missing === 0) return [...entries];
  return entries.map(([key, type, value]): MetadataEntry => {
    switch (key) {
      case "tokenizer.ggml.tokens":
        return [key, type, [...tokens, ...Array.from({ length: missing }, (_, i) => `[PAD${tokens.length + i}]`)]];
      case "tokenizer.ggml.scores":
        return [key, type, Float32Array.from([...(value as ArrayLike<number> & Iterable<number>), ...Array<number>(missing).fill(-1000)])];
      case "tokenizer.ggml.token_type":
        return [
          key,
          type,
          Int32Array.from([...(value as ArrayLike<number> & Iterable<number>), ...Array<number>(missing).fill(UNUSED_TOKEN)]),
        ];
      default:
        return [key, type, value];
    }
  });
}

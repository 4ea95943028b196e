// Language models used as rerankers: the forms in use, and what the checkpoints of Qwen2, Qwen3 and Llama share.
// Source: the model card of Qwen3-Reranker; mxbai-rerank mxbai_rerank_v2.py; zerank's chat template; FlagEmbedding
// inference/reranker/decoder_only/base.py.
import { ACTIVATIONS } from "./activations.js";
import { decoderDefaults, decoderDropped, decoderFields, decoderRequires, decoderTensors, YES_NO_PROMPT } from "./decoder-tensors.js";
import type { CheckpointProfile, RerankerForm, TensorRule } from "./profile.js";

const NO_PREFIXES = { queryInstruction: null, documentInstruction: null, prompt: null } as const;

export const qwen3Reranker = {
  form: "qwen3-reranker",
  class: "cross-encoder",
  layout: {
    kind: "chat",
    template: [
      '<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
      "<Instruct>: ",
      { slot: "instruction" },
      "\n<Query>: ",
      { slot: "query" },
      "\n<Document>: ",
      { slot: "document" },
      "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    ],
    stripsTexts: false,
  },
  score: {
    kind: "labels",
    labels: [
      { token: "yes", weight: 1 },
      { token: "no", weight: -1 },
    ],
  },
  defaults: {
    ...NO_PREFIXES,
    instruction: "Given a web search query, retrieve relevant passages that answer the query",
    maxLength: 8192,
    batchSize: 128,
  },
  prompts: {},
  options: ["instruction"],
} as const satisfies RerankerForm;

/** The logit of "Yes" alone; it is divided by 5, so that its sigmoid is the published probability. */
export const zerank = {
  form: "zerank",
  checkpointName: /\bzerank\b/i,
  class: "cross-encoder",
  layout: {
    kind: "chat",
    template: [
      "<|im_start|>system\n",
      { slot: "query" },
      "<|im_end|>\n<|im_start|>user\n",
      { slot: "document" },
      "<|im_end|>\n<|im_start|>assistant\n",
    ],
    stripsTexts: true,
  },
  score: { kind: "labels", labels: [{ token: "Yes", weight: 0.2 }] },
  defaults: { ...NO_PREFIXES, maxLength: 40960, batchSize: 128 },
  prompts: {},
  options: [],
} as const satisfies RerankerForm;

const MXBAI_TASK =
  "You are a search relevance expert who evaluates how well documents match search queries. For each query-document pair, carefully analyze the semantic relationship between them, then provide your binary relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:";

export const mxbaiV2 = {
  form: "mxbai-v2",
  class: "cross-encoder",
  layout: {
    kind: "prompt",
    separator: "\n",
    prefix: "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
    instruction: ["instruction: ", "\n"],
  },
  score: {
    kind: "labels",
    labels: [
      { token: "1", weight: 1 },
      { token: "0", weight: -1 },
    ],
  },
  defaults: {
    queryInstruction: "query: ",
    documentInstruction: "document: ",
    prompt: `${MXBAI_TASK}<|im_end|>\n<|im_start|>assistant\n`,
    instruction: null,
    maxLength: 8192,
    batchSize: 128,
  },
  prompts: {},
  options: ["instruction"],
} as const satisfies RerankerForm;

/** Any language model fine-tuned with FlagEmbedding, which scores by its "Yes". */
export const flagLlm = {
  form: "flag-llm",
  class: "decoder-only-base",
  layout: { kind: "prompt", separator: "\n" },
  score: { kind: "labels", labels: [{ token: "Yes", weight: 1 }] },
  defaults: { ...decoderDefaults, prompt: YES_NO_PROMPT },
  prompts: { answer: YES_NO_PROMPT },
  options: ["prompt"],
} as const satisfies RerankerForm;

/** A classifier on the pair as the tokenizer's own post-processor lays it out. */
export const pairClassifier = {
  form: "pair-classifier",
  class: "cross-encoder",
  layout: {
    kind: "pair",
    byTokenizer: {
      llama: { before: ["cls"], between: ["cls"], after: [], documentTokenType: 0 },
      gpt2: { before: ["cls"], between: ["cls"], after: [], documentTokenType: 0 },
    },
    readsBeforePadding: true,
  },
  score: { kind: "labels", labels: [{ token: "", weight: 1 }] },
  defaults: { ...NO_PREFIXES, maxLength: 8192, batchSize: 128, truncation: "longest_first" },
  prompts: {},
  options: [],
} as const satisfies RerankerForm;

// --- checkpoints

export const causalFields = {
  ...decoderFields,
  n_head_kv: { field: "num_key_value_heads", otherwise: 32, orNull: "n_head" },
  n_embd_head: { field: "head_dim", derived: true },
  norm_eps: { field: "rms_norm_eps", otherwise: 1e-6 },
} as const satisfies CheckpointProfile["fields"];

export const causalRequires = [
  ...decoderRequires,
  { field: "mlp_bias", values: [false, null, undefined], advice: "Feed-forward layers with biases are not supported." },
  { field: "use_sliding_window", values: [false, null, undefined], advice: "Attention in a window is not supported." },
] as const satisfies CheckpointProfile["requires"];

export const causalActivation = { field: "hidden_act", otherwise: "silu", names: ACTIVATIONS } as const;

export function causalMetadata(architecture: string): CheckpointProfile["metadata"] {
  return [
    [`${architecture}.block_count`, "u32", "n_layer"],
    [`${architecture}.context_length`, "u32", "n_ctx_train"],
    [`${architecture}.embedding_length`, "u32", "n_embd"],
    [`${architecture}.feed_forward_length`, "u32", "n_ff"],
    [`${architecture}.attention.head_count`, "u32", "n_head"],
    [`${architecture}.attention.head_count_kv`, "u32", "n_head_kv"],
    [`${architecture}.attention.key_length`, "u32", "n_embd_head"],
    [`${architecture}.attention.value_length`, "u32", "n_embd_head"],
    [`${architecture}.rope.dimension_count`, "u32", "n_embd_head"],
    [`${architecture}.attention.layer_norm_rms_epsilon`, "f32", "norm_eps"],
    [`${architecture}.rope.freq_base`, "f32", "rope_theta"],
  ];
}

export const causalTensors = {
  ...decoderTensors,
  "model.norm.weight": { name: "output_norm.weight", shape: ["n_embd"] },
  "model.layers.{i}.input_layernorm.weight": { name: "blk.{i}.attn_norm.weight", shape: ["n_embd"] },
  "model.layers.{i}.post_attention_layernorm.weight": { name: "blk.{i}.ffn_norm.weight", shape: ["n_embd"] },
} as const satisfies CheckpointProfile["tensors"];

/** A classifier's one output, or the difference of two. */
export const classifierTensors = {
  "score.weight": { name: "cls.output.weight", shape: ["n_label", "n_embd"], transform: "label-difference", keepF32: true },
} as const satisfies Readonly<Record<string, TensorRule>>;

export const headOfLanguageModel = {
  dropped: { ...decoderDropped, "lm_head.weight": "only the rows of the scored words are needed" },
  tied: { name: "lm_head.weight", to: "model.embed_tokens.weight", otherwise: false },
} as const;

export const headOfClassifier = { dropped: { ...decoderDropped, "lm_head.weight": "a classifier has its own head" } } as const;

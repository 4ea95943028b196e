// Gemma 2 with score heads and token compression: bge-reranker-v2.5-gemma2-lightweight; or a classifier of one label on it.
// Source: FlagEmbedding inference/reranker/decoder_only/lightweight.py and its gemma_model.py; transformers 4.57 modeling_gemma2.py,
// modeling_layers.py.
import { ACTIVATIONS } from "./activations.js";
import { classifierTensors, headOfClassifier, pairClassifier } from "./causal.js";
import { decoderDefaults, decoderDropped, decoderFields, decoderRequires, decoderTensors, scoreHeads } from "./decoder-tensors.js";
import type { CheckpointProfile, ModelProfile, RerankerForm } from "./profile.js";

const ANSWER_PROMPT = "Predict whether passage B contains an answer to query A.";

const lightweight = {
  class: "decoder-only-lightweight",
  layout: { kind: "prompt", separator: "\n" },
  // A single cutoff always meets head 0: the reference counts heads by rank, and users get its scores by default.
  score: { kind: "layer-head", select: "rank" },
  defaults: { ...decoderDefaults, prompt: ANSWER_PROMPT },
  prompts: {
    answer: ANSWER_PROMPT,
    "same-meaning": "Predict whether passages A and B have the same meaning.",
    "same-question": "Predict whether queries A and B are asking the same thing.",
    contradiction: "Predict whether argument A and counterargument B express contradictory opinions.",
  },
  options: ["prompt", "cutoffLayers", "compressLayers", "compressRatio", "headSelection", "attentionSoftcap", "cascade"],
} as const satisfies RerankerForm;

const fields = {
  ...decoderFields,
  n_layer: { field: "num_hidden_layers", otherwise: 26 },
  n_embd: { field: "hidden_size", otherwise: 2304 },
  n_ff: { field: "intermediate_size", otherwise: 9216 },
  n_vocab: { field: "vocab_size", otherwise: 256000 },
  n_head: { field: "num_attention_heads", otherwise: 8 },
  n_head_kv: { field: "num_key_value_heads", otherwise: 4 },
  n_embd_head: { field: "head_dim", otherwise: 256 },
  n_ctx_train: { field: "max_position_embeddings", otherwise: 8192 },
  norm_eps: { field: "rms_norm_eps", otherwise: 1e-6 },
  attention_softcap: { field: "attn_logit_softcapping", otherwise: 50, orNull: 0 },
  sliding_window: { field: "sliding_window", otherwise: 4096 },
} as const satisfies CheckpointProfile["fields"];

const shared = {
  activation: { field: "hidden_activation", otherwise: "gelu_pytorch_tanh", names: ACTIVATIONS },
  reservedPositions: "none",
} as const satisfies Partial<CheckpointProfile>;

const metadata = [
  ["gemma2.block_count", "u32", "n_layer"],
  ["gemma2.context_length", "u32", "n_ctx_train"],
  ["gemma2.embedding_length", "u32", "n_embd"],
  ["gemma2.feed_forward_length", "u32", "n_ff"],
  ["gemma2.attention.head_count", "u32", "n_head"],
  ["gemma2.attention.head_count_kv", "u32", "n_head_kv"],
  ["gemma2.attention.key_length", "u32", "n_embd_head"],
  ["gemma2.attention.value_length", "u32", "n_embd_head"],
  ["gemma2.attention.layer_norm_rms_epsilon", "f32", "norm_eps"],
  ["gemma2.attention.scale", "f32", "attention_scale"],
  ["gemma2.attention.sliding_window", "u32", "sliding_window"],
  ["gemma2.attn_logit_softcapping", "f32", "attention_softcap"],
  ["gemma2.rope.freq_base", "f32", "rope_theta"],
  ["reranker.rope.layout", "string", { constant: "neox" }],
  // Both references run SDPA, which leaves the attention soft-cap out.
  ["reranker.attention.softcap", "bool", { constant: false }],
] as const satisfies CheckpointProfile["metadata"];

const tensors = {
  ...decoderTensors,
  "model.norm.weight": { name: "output_norm.weight", shape: ["n_embd"], transform: "plus-one" },
  "model.layers.{i}.input_layernorm.weight": { name: "blk.{i}.attn_norm.weight", shape: ["n_embd"], transform: "plus-one" },
  "model.layers.{i}.post_attention_layernorm.weight": {
    name: "blk.{i}.post_attention_norm.weight",
    shape: ["n_embd"],
    transform: "plus-one",
  },
  "model.layers.{i}.pre_feedforward_layernorm.weight": { name: "blk.{i}.ffn_norm.weight", shape: ["n_embd"], transform: "plus-one" },
  "model.layers.{i}.post_feedforward_layernorm.weight": {
    name: "blk.{i}.post_ffw_norm.weight",
    shape: ["n_embd"],
    transform: "plus-one",
  },
} as const satisfies CheckpointProfile["tensors"];

export const gemma2 = {
  architecture: "gemma2",
  ...lightweight,
  compress: { ratios: [1, 2, 4, 8], layers: [8, 16, 24, 32, 40] },
  forms: [lightweight, pairClassifier],
  checkpoints: [
    {
      names: ["CostWiseGemmaForCausalLM"],
      modelTypes: ["cost_wise_gemma"],
      ...shared,
      fields: {
        ...fields,
        final_softcap: { field: "final_logit_softcapping", otherwise: 30, orNull: 0 },
        start_layer: { field: "start_layer", otherwise: 28 },
        layer_step: { field: "layer_sep", otherwise: 28 },
      },
      requires: [
        ...decoderRequires,
        { field: "layer_types", values: [undefined, null], advice: "The reference's class alternates windows by itself." },
        {
          field: "layer_wise",
          values: [true],
          advice: "Only checkpoints with score heads (`layer_wise: true`) are rerankers of this class.",
        },
      ],
      metadata: [...metadata, ["gemma2.final_logit_softcapping", "f32", "final_softcap"]],
      tensors: { ...tensors, ...scoreHeads },
      dropped: { ...decoderDropped, "lm_head.weight": "the score heads take its place" },
    },
    {
      names: ["Gemma2ForSequenceClassification"],
      modelTypes: ["gemma2"],
      ...shared,
      truncation: "longest_first",
      padTokenId: { otherwise: 0 },
      fields,
      requires: [
        ...decoderRequires,
        {
          field: "layer_types",
          values: [undefined, null, { repeats: ["sliding_attention", "full_attention"] }],
          advice: "It must have an entry for each layer; only windows in every second layer, beginning with the first, are supported.",
        },
      ],
      metadata,
      tensors: { ...tensors, ...classifierTensors },
      ...headOfClassifier,
    },
  ],
} as const satisfies ModelProfile;

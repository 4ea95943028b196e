// Gemma scored by its "Yes" logit: bge-reranker-v2-gemma; or a classifier of one label on it.
// Source: FlagEmbedding inference/reranker/decoder_only/base.py; transformers 4.57 modeling_gemma.py, modeling_layers.py.
import { ACTIVATIONS } from "./activations.js";
import { classifierTensors, headOfClassifier, pairClassifier } from "./causal.js";
import { decoderDefaults, decoderDropped, decoderFields, decoderRequires, decoderTensors, YES_NO_PROMPT } from "./decoder-tensors.js";
import type { CheckpointProfile, ModelProfile, RerankerForm } from "./profile.js";

const yesLogit = {
  class: "decoder-only-base",
  layout: { kind: "prompt", separator: "\n" },
  score: { kind: "token-logit", token: "Yes" },
  defaults: { ...decoderDefaults, prompt: YES_NO_PROMPT },
  prompts: { answer: YES_NO_PROMPT },
  options: ["prompt"],
} as const satisfies RerankerForm;

const shared = {
  modelTypes: ["gemma"],
  fields: {
    ...decoderFields,
    n_layer: { field: "num_hidden_layers", otherwise: 28 },
    n_embd: { field: "hidden_size", otherwise: 3072 },
    n_ff: { field: "intermediate_size", otherwise: 24576 },
    n_vocab: { field: "vocab_size", otherwise: 256000 },
    n_head: { field: "num_attention_heads", otherwise: 16 },
    n_head_kv: { field: "num_key_value_heads", otherwise: 16 },
    n_embd_head: { field: "head_dim", otherwise: 256 },
    n_ctx_train: { field: "max_position_embeddings", otherwise: 8192 },
    norm_eps: { field: "rms_norm_eps", otherwise: 1e-6 },
  },
  requires: decoderRequires,
  // transformers 4.57 obeys hidden_act and ignores hidden_activation; releases before 4.48 did the opposite.
  activation: {
    field: "hidden_act",
    otherwise: "gelu_pytorch_tanh",
    names: ACTIVATIONS,
  },
  reservedPositions: "none",
  metadata: [
    ["gemma.block_count", "u32", "n_layer"],
    ["gemma.context_length", "u32", "n_ctx_train"],
    ["gemma.embedding_length", "u32", "n_embd"],
    ["gemma.feed_forward_length", "u32", "n_ff"],
    ["gemma.attention.head_count", "u32", "n_head"],
    ["gemma.attention.head_count_kv", "u32", "n_head_kv"],
    ["gemma.attention.key_length", "u32", "n_embd_head"],
    ["gemma.attention.value_length", "u32", "n_embd_head"],
    ["gemma.attention.layer_norm_rms_epsilon", "f32", "norm_eps"],
    ["gemma.rope.freq_base", "f32", "rope_theta"],
    ["reranker.rope.layout", "string", { constant: "neox" }],
  ],
} as const satisfies Partial<CheckpointProfile>;

const tensors = {
  ...decoderTensors,
  "model.norm.weight": { name: "output_norm.weight", shape: ["n_embd"], transform: "plus-one" },
  "model.layers.{i}.input_layernorm.weight": { name: "blk.{i}.attn_norm.weight", shape: ["n_embd"], transform: "plus-one" },
  "model.layers.{i}.post_attention_layernorm.weight": { name: "blk.{i}.ffn_norm.weight", shape: ["n_embd"], transform: "plus-one" },
} as const satisfies CheckpointProfile["tensors"];

export const gemma = {
  architecture: "gemma",
  ...yesLogit,
  forms: [yesLogit, pairClassifier],
  checkpoints: [
    {
      names: ["GemmaForCausalLM"],
      ...shared,
      tensors,
      dropped: { ...decoderDropped, "lm_head.weight": "tied to model.embed_tokens.weight" },
      tied: { name: "lm_head.weight", to: "model.embed_tokens.weight", otherwise: true },
    },
    {
      names: ["GemmaForSequenceClassification"],
      ...shared,
      truncation: "longest_first",
      padTokenId: { otherwise: 0 },
      tensors: { ...tensors, ...classifierTensors },
      ...headOfClassifier,
    },
  ],
} as const satisfies ModelProfile;

// GTE: gte-multilingual-reranker-base, as its own code (`new`) and as transformers 5 (`gte`) write it.
// Source: text-embeddings-inference backends/candle/src/models/gte.rs; transformers 5 modeling_gte.py.
import { ACTIVATIONS } from "./activations.js";
import { encoderDefaults, encoderMetadata, headDense, labels, withBias } from "./encoder-tensors.js";
import type { CheckpointProfile, ModelProfile } from "./profile.js";

const fields = {
  n_layer: { field: "num_hidden_layers", otherwise: 12 },
  n_embd: { field: "hidden_size", otherwise: 768 },
  n_ff: { field: "intermediate_size", otherwise: 3072 },
  n_vocab: { field: "vocab_size" },
  n_head: { field: "num_attention_heads", otherwise: 12 },
  n_ctx_train: { field: "max_position_embeddings", otherwise: 8192 },
  norm_eps: { field: "layer_norm_eps", otherwise: 1e-12 },
} as const satisfies CheckpointProfile["fields"];

const activation = { field: "hidden_act", otherwise: "gelu", names: ACTIVATIONS } as const satisfies CheckpointProfile["activation"];

const metadata = [
  ...encoderMetadata("gte"),
  ["gte.rope.freq_base", "f32", "rope_theta"],
  ["gte.rope.scaling.type", "string", { constant: "linear" }],
  ["gte.rope.scaling.factor", "f32", "rope_factor"],
] as const satisfies CheckpointProfile["metadata"];

function embeddings(prefix: string): CheckpointProfile["tensors"] {
  return {
    [`${prefix}.embeddings.word_embeddings.weight`]: { name: "token_embd.weight", shape: ["n_vocab", "n_embd"] },
    [`${prefix}.embeddings.token_type_embeddings.weight`]: {
      name: "token_types.weight",
      shape: ["n_token_type", "n_embd"],
      keepF32: true,
      when: { exists: "n_token_type" },
    },
    ...withBias(`${prefix}.embeddings.LayerNorm`, "token_embd_norm", ["n_embd"]),
    ...headDense(`${prefix}.pooler.dense`),
    ...labels("classifier"),
  };
}

function encoderTensors(prefix: string): CheckpointProfile["tensors"] {
  const layer = `${prefix}.encoder.layer.{i}`;
  return {
    ...embeddings(prefix),
    ...withBias(`${layer}.attention.qkv_proj`, "blk.{i}.attn_qkv", ["n_embd_qkv", "n_embd"]),
    ...withBias(`${layer}.attention.o_proj`, "blk.{i}.attn_output", ["n_embd", "n_embd"]),
    ...withBias(`${layer}.attn_ln`, "blk.{i}.attn_output_norm", ["n_embd"]),
    [`${layer}.mlp.up_gate_proj.weight`]: { name: "blk.{i}.ffn_up.weight", shape: ["n_ff_gated", "n_embd"] }, // up, then gate
    ...withBias(`${layer}.mlp.down_proj`, "blk.{i}.ffn_down", ["n_embd", "n_ff"]),
    ...withBias(`${layer}.mlp_ln`, "blk.{i}.layer_output_norm", ["n_embd"]),
  };
}

const ownCode = {
  names: ["NewForSequenceClassification"],
  modelTypes: ["new"],
  fields: {
    ...fields,
    n_token_type: { field: "type_vocab_size", otherwise: 2, zeroIsNone: true },
    rope_theta: { field: "rope_theta", otherwise: 10000, rope: "ntk" },
  },
  requires: [
    { field: "position_embedding_type", values: ["rope", undefined], advice: "Only rotary positions are supported." },
    { field: "layer_norm_type", values: ["layer_norm", undefined], advice: "Only plain layer norms are supported." },
    { field: "pack_qkv", values: [true, undefined], advice: "Only packed q, k and v are supported; save the model with `pack_qkv: true`." },
    { field: "logn_attention_scale", values: [false, null, undefined], advice: "Attention scaled by the length is not supported." },
    { field: "logn_attention_clip1", values: [false, null, undefined], advice: "Attention scaled by the length is not supported." },
  ],
  activation,
  reservedPositions: "none",
  metadata,
  tensors: encoderTensors("new"),
  dropped: {
    "new.embeddings.position_ids": "a buffer of 0, 1, 2, ..., not a weight",
    "new.embeddings.rotary_emb.inv_freq": "computed from rope_theta",
  },
} as const satisfies CheckpointProfile;

// The class of transformers 5 reads and writes the names of the model's own code, under its own prefix or theirs.
const ofTransformers = {
  names: ["GteForSequenceClassification"],
  modelTypes: ["gte"],
  fields: {
    ...fields,
    n_token_type: { field: "type_vocab_size", otherwise: 1, zeroIsNone: true },
    rope_theta: { field: "rope_theta", otherwise: 160000, rope: "all" },
  },
  requires: [],
  activation,
  reservedPositions: "none",
  metadata,
  tensors: encoderTensors("gte"),
  dropped: {},
  prefixes: { "new.": "gte." },
} as const satisfies CheckpointProfile;

export const gte = {
  architecture: "gte",
  class: "encoder-only-base",
  layout: {
    kind: "pair",
    byTokenizer: {
      t5: { before: ["cls"], between: ["separator", "separator"], after: ["separator"], documentTokenType: 0 }, // XLM-R's
      bert: { before: ["cls"], between: ["separator"], after: ["separator"], documentTokenType: 1 },
    },
  },
  score: { kind: "cls" },
  defaults: { ...encoderDefaults, maxLength: 8192, truncation: "longest_first" },
  prompts: {},
  options: [],
  checkpoints: [ownCode, ofTransformers],
} as const satisfies ModelProfile;

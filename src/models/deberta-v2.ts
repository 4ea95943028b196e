// DeBERTa-v2 and -v3: mxbai-rerank-xsmall, -base and -large v1, and other classifiers of the v3 kind.
// Source: transformers 4.57 modeling_deberta_v2.py DebertaV2ForSequenceClassification.
import { ACTIVATIONS } from "./activations.js";
import { encoderDefaults, encoderMetadata, headDense, labels, plainEncoder, withBias } from "./encoder-tensors.js";
import type { CheckpointProfile, ModelProfile } from "./profile.js";

const layer = "deberta.encoder.layer.{i}";
const ONLY_V3 = "Only the attention of DeBERTa-v3 is supported, whose scores count content and relative positions with shared projections.";

const classifier = {
  names: ["DebertaV2ForSequenceClassification"],
  modelTypes: ["deberta-v2"],
  fields: {
    n_layer: { field: "num_hidden_layers", otherwise: 24 },
    n_embd: { field: "hidden_size", otherwise: 1536 },
    n_ff: { field: "intermediate_size", otherwise: 6144 },
    n_vocab: { field: "vocab_size", otherwise: 128100 },
    n_head: { field: "num_attention_heads", otherwise: 24 },
    n_ctx_train: { field: "max_position_embeddings", otherwise: 512 },
    norm_eps: { field: "layer_norm_eps", otherwise: 1e-7 },
  },
  requires: [
    ...plainEncoder,
    { field: "relative_attention", values: [true], advice: ONLY_V3 },
    { field: "pos_att_type", values: [["c2p", "p2c"], "c2p|p2c", "p2c|c2p"], advice: ONLY_V3 },
    { field: "share_att_key", values: [true], advice: ONLY_V3 },
    { field: "norm_rel_ebd", values: ["layer_norm"], advice: ONLY_V3 },
    { field: "position_biased_input", values: [false], advice: "Position embeddings beside the relative ones are not supported." },
    { field: "type_vocab_size", values: [0, undefined], advice: "Token types are not supported with this architecture." },
    { field: "conv_kernel_size", values: [0, null, undefined], advice: "The convolution of DeBERTa-v2-xlarge is not supported." },
  ],
  activation: { field: "hidden_act", otherwise: "gelu", names: ACTIVATIONS },
  reservedPositions: "none",
  metadata: [
    ...encoderMetadata("deberta-v2"),
    ["reranker.relative.buckets", "u32", "position_buckets"],
    ["reranker.relative.max_distance", "u32", "max_distance"],
    ["reranker.head.activation", "string", { field: "pooler_hidden_act", otherwise: "gelu", names: ACTIVATIONS }],
  ],
  tensors: {
    "deberta.embeddings.word_embeddings.weight": { name: "token_embd.weight", shape: ["n_vocab", "n_embd"] },
    ...withBias("deberta.embeddings.LayerNorm", "token_embd_norm", ["n_embd"]),
    "deberta.encoder.rel_embeddings.weight": { name: "relative_embd.weight", shape: ["n_distance", "n_embd"], keepF32: true },
    ...withBias("deberta.encoder.LayerNorm", "relative_embd_norm", ["n_embd"]),
    ...withBias(`${layer}.attention.self.query_proj`, "blk.{i}.attn_q", ["n_embd", "n_embd"]),
    ...withBias(`${layer}.attention.self.key_proj`, "blk.{i}.attn_k", ["n_embd", "n_embd"]),
    ...withBias(`${layer}.attention.self.value_proj`, "blk.{i}.attn_v", ["n_embd", "n_embd"]),
    ...withBias(`${layer}.attention.output.dense`, "blk.{i}.attn_output", ["n_embd", "n_embd"]),
    ...withBias(`${layer}.attention.output.LayerNorm`, "blk.{i}.attn_output_norm", ["n_embd"]),
    ...withBias(`${layer}.intermediate.dense`, "blk.{i}.ffn_up", ["n_ff", "n_embd"]),
    ...withBias(`${layer}.output.dense`, "blk.{i}.ffn_down", ["n_embd", "n_ff"]),
    ...withBias(`${layer}.output.LayerNorm`, "blk.{i}.layer_output_norm", ["n_embd"]),
    ...headDense("pooler.dense"),
    ...labels("classifier"),
  },
  dropped: { "deberta.embeddings.position_ids": "a buffer of 0, 1, 2, ..., not a weight" },
} as const satisfies CheckpointProfile;

export const debertaV2 = {
  architecture: "deberta-v2",
  class: "encoder-only-base",
  layout: {
    kind: "pair",
    // The model has no token types; the tokenizer gives them all the same.
    byTokenizer: { t5: { before: ["cls"], between: ["separator"], after: ["separator"], documentTokenType: 1 } },
  },
  score: { kind: "cls" },
  defaults: { ...encoderDefaults, truncation: "longest_first" },
  prompts: {},
  options: [],
  checkpoints: [classifier],
} as const satisfies ModelProfile;

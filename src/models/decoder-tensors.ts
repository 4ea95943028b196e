// Tensors and settings that Gemma, Gemma 2 and MiniCPM checkpoints share.
import type { CheckpointProfile } from "./profile.js";

export const YES_NO_PROMPT =
  "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a prediction of either 'Yes' or 'No'.";

export const decoderDefaults = { queryInstruction: "A: ", documentInstruction: "B: ", maxLength: 512, batchSize: 128 } as const;

/** Defaults of the classes differ; those of a row are the ones that transformers takes when config.json lacks the field. */
export const decoderFields = {
  n_layer: { field: "num_hidden_layers" },
  n_embd: { field: "hidden_size" },
  n_ff: { field: "intermediate_size" },
  n_vocab: { field: "vocab_size" },
  n_head: { field: "num_attention_heads" },
  n_ctx_train: { field: "max_position_embeddings" },
  rope_theta: { field: "rope_theta", otherwise: 10000, rope: "all" },
  norm_eps: { field: "rms_norm_eps" },
} as const satisfies CheckpointProfile["fields"];

export const decoderRequires = [
  { field: "attention_bias", values: [false, null, undefined], advice: "Attention with biases is not supported." },
  {
    field: "use_bidirectional_attention",
    values: [false, null, undefined],
    advice: "Only models whose tokens see what stands before them are rerankers of this class.",
  },
] as const satisfies CheckpointProfile["requires"];

export const decoderTensors = {
  "model.embed_tokens.weight": { name: "token_embd.weight", shape: ["n_vocab", "n_embd"] },
  "model.layers.{i}.self_attn.q_proj.weight": { name: "blk.{i}.attn_q.weight", shape: ["n_embd_q", "n_embd"] },
  "model.layers.{i}.self_attn.k_proj.weight": { name: "blk.{i}.attn_k.weight", shape: ["n_embd_kv", "n_embd"] },
  "model.layers.{i}.self_attn.v_proj.weight": { name: "blk.{i}.attn_v.weight", shape: ["n_embd_kv", "n_embd"] },
  "model.layers.{i}.self_attn.o_proj.weight": { name: "blk.{i}.attn_output.weight", shape: ["n_embd", "n_embd_q"] },
  "model.layers.{i}.mlp.gate_proj.weight": { name: "blk.{i}.ffn_gate.weight", shape: ["n_ff", "n_embd"] },
  "model.layers.{i}.mlp.up_proj.weight": { name: "blk.{i}.ffn_up.weight", shape: ["n_ff", "n_embd"] },
  "model.layers.{i}.mlp.down_proj.weight": { name: "blk.{i}.ffn_down.weight", shape: ["n_embd", "n_ff"] },
} as const satisfies CheckpointProfile["tensors"];

/** Old checkpoints carry the table of rotary frequencies; it follows from rope_theta. */
export const decoderDropped = {
  "model.layers.{i}.self_attn.rotary_emb.inv_freq": "computed from rope_theta",
} as const satisfies CheckpointProfile["dropped"];

/** One score vector per legal cutoff layer. */
export const scoreHeads = {
  "lm_head.{h}.linear_head.weight": { name: "reranker.head.weight", shape: [1, "n_embd"], keepF32: true, stacked: true },
} as const satisfies CheckpointProfile["tensors"];

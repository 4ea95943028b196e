// MiniCPM with a score head per layer: bge-reranker-v2-minicpm-layerwise.
// Source: FlagEmbedding inference/reranker/decoder_only/layerwise.py and its modeling_minicpm_reranker.py.
import { ACTIVATIONS } from "./activations.js";
import {
  decoderDefaults,
  decoderDropped,
  decoderFields,
  decoderRequires,
  decoderTensors,
  scoreHeads,
  YES_NO_PROMPT,
} from "./decoder-tensors.js";
import type { ModelProfile } from "./profile.js";

export const minicpm = {
  architecture: "minicpm",
  class: "decoder-only-layerwise",
  layout: { kind: "prompt", separator: "\n" },
  score: { kind: "layer-head", select: "layer" },
  defaults: { ...decoderDefaults, prompt: YES_NO_PROMPT },
  prompts: { answer: YES_NO_PROMPT },
  options: ["prompt", "cutoffLayers", "cascade"],
  checkpoints: [
    {
      names: ["LayerWiseMiniCPMForCausalLM"],
      modelTypes: ["minicpm"],
      fields: {
        ...decoderFields,
        n_layer: { field: "num_hidden_layers", otherwise: 32 },
        n_embd: { field: "hidden_size", otherwise: 4096 },
        n_ff: { field: "intermediate_size", otherwise: 11008 },
        n_vocab: { field: "vocab_size", otherwise: 32000 },
        n_head: { field: "num_attention_heads", otherwise: 32 },
        n_head_kv: { field: "num_key_value_heads", otherwise: "n_head", orNull: "n_head" },
        n_ctx_train: { field: "max_position_embeddings", otherwise: 2048 },
        norm_eps: { field: "rms_norm_eps", otherwise: 1e-6 },
        embedding_scale: { field: "scale_emb", otherwise: 1 },
        start_layer: { field: "start_layer", otherwise: 8 },
      },
      requires: [
        ...decoderRequires,
        {
          field: "head_type",
          values: ["simple", undefined],
          advice: "Heads of type raw or complex give no usable score in the reference; fine-tune with `head_type: simple`.",
        },
        {
          field: "head_multi",
          values: [true, false, undefined],
          advice: "It says whether each layer has its own head; set it to true or false.",
        },
      ],
      activation: { field: "hidden_act", otherwise: "silu", names: ACTIVATIONS },
      reservedPositions: "none",
      metadata: [
        ["minicpm.block_count", "u32", "n_layer"],
        ["minicpm.context_length", "u32", "n_ctx_train"],
        ["minicpm.embedding_length", "u32", "n_embd"],
        ["minicpm.feed_forward_length", "u32", "n_ff"],
        ["minicpm.attention.head_count", "u32", "n_head"],
        ["minicpm.attention.head_count_kv", "u32", "n_head_kv"],
        ["minicpm.attention.layer_norm_rms_epsilon", "f32", "norm_eps"],
        ["minicpm.rope.dimension_count", "u32", "n_embd_head"],
        ["minicpm.rope.freq_base", "f32", "rope_theta"],
        ["minicpm.embedding_scale", "f32", "embedding_scale"],
        ["minicpm.residual_scale", "f32", "residual_scale"],
        ["minicpm.logit_scale", "f32", "logit_scale"], // of the language model's head; simple heads do not use it
        ["reranker.rope.layout", "string", { constant: "normal" }],
      ],
      tensors: {
        ...decoderTensors,
        // llama.cpp rotates adjacent pairs here, so the rows of q and k are interleaved to match.
        "model.layers.{i}.self_attn.q_proj.weight": {
          name: "blk.{i}.attn_q.weight",
          shape: ["n_embd_q", "n_embd"],
          transform: "permute-rope",
        },
        "model.layers.{i}.self_attn.k_proj.weight": {
          name: "blk.{i}.attn_k.weight",
          shape: ["n_embd_kv", "n_embd"],
          transform: "permute-rope",
        },
        "model.norm.weight": { name: "output_norm.weight", shape: ["n_embd"] },
        "model.layers.{i}.input_layernorm.weight": { name: "blk.{i}.attn_norm.weight", shape: ["n_embd"] },
        "model.layers.{i}.post_attention_layernorm.weight": { name: "blk.{i}.ffn_norm.weight", shape: ["n_embd"] },
        "lm_head.{h}.linear_head.weight": {
          ...scoreHeads["lm_head.{h}.linear_head.weight"],
          when: { field: "head_multi", value: true, otherwise: true },
        },
        // Fine-tunes made with FlagEmbedding's script have one head for every layer unless told otherwise.
        "lm_head.linear_head.weight": {
          name: "reranker.head.weight",
          shape: [1, "n_embd"],
          keepF32: true,
          when: { field: "head_multi", value: false, otherwise: true },
        },
      },
      dropped: { ...decoderDropped, "lm_head.weight": "the embedding hung on the head list; simple heads do not use it" },
    },
  ],
} as const satisfies ModelProfile;

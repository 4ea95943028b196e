// Llama, Mistral's older siblings and others of that shape: fine-tunes of FlagEmbedding's FlagLLMReranker.
// Source: transformers modeling_llama.py, configuration_llama.py.
import { causalActivation, causalFields, causalMetadata, causalRequires, causalTensors, flagLlm, headOfLanguageModel } from "./causal.js";
import type { ModelProfile } from "./profile.js";

export const llama = {
  architecture: "llama",
  ...flagLlm,
  forms: [flagLlm],
  checkpoints: [
    {
      names: ["LlamaForCausalLM"],
      modelTypes: ["llama"],
      fields: { ...causalFields, n_head_kv: { field: "num_key_value_heads", otherwise: "n_head", orNull: "n_head" } },
      requires: causalRequires,
      activation: causalActivation,
      reservedPositions: "none",
      metadata: causalMetadata("llama"),
      tensors: {
        ...causalTensors,
        // llama.cpp's files rotate neighbouring values.
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
      },
      ...headOfLanguageModel,
    },
  ],
} as const satisfies ModelProfile;

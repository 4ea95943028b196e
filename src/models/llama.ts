// Llama, Mistral's older siblings and others of that shape: fine-tunes of FlagEmbedding's FlagLLMReranker, and classifiers of one label.
// Source: transformers modeling_llama.py, configuration_llama.py, modeling_layers.py.
import {
  causalActivation,
  causalFields,
  causalMetadata,
  causalRequires,
  causalTensors,
  classifierTensors,
  flagLlm,
  headOfClassifier,
  headOfLanguageModel,
  pairClassifier,
} from "./causal.js";
import type { CheckpointProfile, ModelProfile } from "./profile.js";

const shared = {
  modelTypes: ["llama"],
  fields: { ...causalFields, n_head_kv: { field: "num_key_value_heads", otherwise: "n_head", orNull: "n_head" } },
  requires: causalRequires,
  activation: causalActivation,
  reservedPositions: "none",
  metadata: causalMetadata("llama"),
} as const satisfies Partial<CheckpointProfile>;

const tensors = {
  ...causalTensors,
  // llama.cpp's files rotate neighbouring values.
  "model.layers.{i}.self_attn.q_proj.weight": { name: "blk.{i}.attn_q.weight", shape: ["n_embd_q", "n_embd"], transform: "permute-rope" },
  "model.layers.{i}.self_attn.k_proj.weight": { name: "blk.{i}.attn_k.weight", shape: ["n_embd_kv", "n_embd"], transform: "permute-rope" },
} as const satisfies CheckpointProfile["tensors"];

export const llama = {
  architecture: "llama",
  ...flagLlm,
  forms: [flagLlm, pairClassifier],
  checkpoints: [
    { names: ["LlamaForCausalLM"], ...shared, tensors, ...headOfLanguageModel },
    {
      names: ["LlamaForSequenceClassification"],
      ...shared,
      truncation: "longest_first",
      padTokenId: { otherwise: null },
      tensors: { ...tensors, ...classifierTensors },
      ...headOfClassifier,
    },
  ],
} as const satisfies ModelProfile;

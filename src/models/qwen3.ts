// Qwen3: Qwen3-Reranker in its forms, zerank, and fine-tunes of FlagEmbedding's FlagLLMReranker.
// Source: transformers modeling_qwen3.py, configuration_qwen3.py.
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
  qwen3Reranker,
  zerank,
} from "./causal.js";
import type { CheckpointProfile, ModelProfile } from "./profile.js";

const shared = {
  modelTypes: ["qwen3"],
  fields: { ...causalFields, n_embd_head: { field: "head_dim", otherwise: 128 } },
  requires: causalRequires,
  activation: causalActivation,
  reservedPositions: "none",
  metadata: causalMetadata("qwen3"),
} as const satisfies Partial<CheckpointProfile>;

const tensors = {
  ...causalTensors,
  "model.layers.{i}.self_attn.q_norm.weight": { name: "blk.{i}.attn_q_norm.weight", shape: ["n_embd_head"] },
  "model.layers.{i}.self_attn.k_norm.weight": { name: "blk.{i}.attn_k_norm.weight", shape: ["n_embd_head"] },
} as const satisfies CheckpointProfile["tensors"];

export const qwen3 = {
  architecture: "qwen3",
  ...qwen3Reranker,
  forms: [qwen3Reranker, zerank, flagLlm],
  checkpoints: [
    { names: ["Qwen3ForCausalLM"], ...shared, tensors, ...headOfLanguageModel },
    { names: ["Qwen3ForSequenceClassification"], ...shared, tensors: { ...tensors, ...classifierTensors }, ...headOfClassifier },
  ],
} as const satisfies ModelProfile;

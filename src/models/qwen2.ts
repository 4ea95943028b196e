// Qwen2: mxbai-rerank base and large v2, and fine-tunes of FlagEmbedding's FlagLLMReranker.
// Source: transformers modeling_qwen2.py, configuration_qwen2.py.
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
  mxbaiV2,
} from "./causal.js";
import type { CheckpointProfile, ModelProfile } from "./profile.js";

const shared = {
  modelTypes: ["qwen2"],
  fields: causalFields,
  requires: causalRequires,
  activation: causalActivation,
  reservedPositions: "none",
  metadata: causalMetadata("qwen2"),
} as const satisfies Partial<CheckpointProfile>;

const tensors = {
  ...causalTensors,
  "model.layers.{i}.self_attn.q_proj.bias": { name: "blk.{i}.attn_q.bias", shape: ["n_embd_q"] },
  "model.layers.{i}.self_attn.k_proj.bias": { name: "blk.{i}.attn_k.bias", shape: ["n_embd_kv"] },
  "model.layers.{i}.self_attn.v_proj.bias": { name: "blk.{i}.attn_v.bias", shape: ["n_embd_kv"] },
} as const satisfies CheckpointProfile["tensors"];

export const qwen2 = {
  architecture: "qwen2",
  ...mxbaiV2,
  forms: [mxbaiV2, flagLlm],
  checkpoints: [
    { names: ["Qwen2ForCausalLM"], ...shared, tensors, ...headOfLanguageModel },
    { names: ["Qwen2ForSequenceClassification"], ...shared, tensors: { ...tensors, ...classifierTensors }, ...headOfClassifier },
  ],
} as const satisfies ModelProfile;

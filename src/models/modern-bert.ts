// ModernBERT: gte-reranker-modernbert-base, whose head is transformers' own, and the ettin rerankers, whose head is a chain of
// sentence-transformers' modules. Source: transformers 4.57 and 5 modeling_modernbert.py; sentence-transformers 6 modules.
import { ACTIVATIONS } from "./activations.js";
import { encoderDefaults, encoderMetadata, headDense, labels, withBias } from "./encoder-tensors.js";
import type { CheckpointProfile, ModelProfile, TensorRule } from "./profile.js";

const fields = {
  n_layer: { field: "num_hidden_layers", otherwise: 22 },
  n_embd: { field: "hidden_size", otherwise: 768 },
  n_ff: { field: "intermediate_size", otherwise: 1152 },
  n_vocab: { field: "vocab_size", otherwise: 50368 },
  n_head: { field: "num_attention_heads", otherwise: 12 },
  n_ctx_train: { field: "max_position_embeddings", otherwise: 8192 },
  norm_eps: { field: "norm_eps", otherwise: 1e-5 },
  sliding_window: { field: "local_attention", otherwise: 128 },
  rope_theta: { field: "global_rope_theta", otherwise: 160000, rope: "full_attention" },
  rope_theta_local: { field: "local_rope_theta", otherwise: 10000, rope: "sliding_attention" },
} as const satisfies CheckpointProfile["fields"];

const metadata = [
  ...encoderMetadata("modern-bert"),
  ["modern-bert.attention.sliding_window", "u32", "sliding_window"],
  [
    "modern-bert.attention.sliding_window_pattern",
    "u32",
    { localLayers: { field: "layer_types", value: "sliding_attention" }, every: { field: "global_attn_every_n_layers", otherwise: 3 } },
  ],
  ["modern-bert.rope.freq_base", "f32", "rope_theta"],
  ["modern-bert.rope.freq_base_swa", "f32", "rope_theta_local"],
] as const satisfies CheckpointProfile["metadata"];

const activation = { field: "hidden_activation", otherwise: "gelu", names: ACTIVATIONS } as const satisfies CheckpointProfile["activation"];

const flag = (field: string, otherwise = false): NonNullable<TensorRule["when"]> => ({ field, value: true, otherwise });

/** The encoder under its prefix. */
function encoderTensors(prefix: string): CheckpointProfile["tensors"] {
  const layer = `${prefix}layers.{i}`;
  const norm = flag("norm_bias");
  return {
    [`${prefix}embeddings.tok_embeddings.weight`]: { name: "token_embd.weight", shape: ["n_vocab", "n_embd"] },
    ...withBias(`${prefix}embeddings.norm`, "token_embd_norm", ["n_embd"], {}, norm),
    ...withBias(`${layer}.attn_norm`, "blk.{i}.attn_norm", ["n_embd"], { firstLayer: 1 }, norm),
    ...withBias(`${layer}.attn.Wqkv`, "blk.{i}.attn_qkv", ["n_embd_qkv", "n_embd"], {}, flag("attention_bias")),
    ...withBias(`${layer}.attn.Wo`, "blk.{i}.attn_output", ["n_embd", "n_embd"], {}, flag("attention_bias")),
    ...withBias(`${layer}.mlp_norm`, "blk.{i}.ffn_norm", ["n_embd"], {}, norm),
    ...withBias(`${layer}.mlp.Wi`, "blk.{i}.ffn_up", ["n_ff_gated", "n_embd"], {}, flag("mlp_bias")),
    ...withBias(`${layer}.mlp.Wo`, "blk.{i}.ffn_down", ["n_embd", "n_ff"], {}, flag("mlp_bias")),
    ...withBias(`${prefix}final_norm`, "output_norm", ["n_embd"], {}, norm),
  };
}

const classifier = {
  names: ["ModernBertForSequenceClassification"],
  modelTypes: ["modernbert"],
  fields,
  requires: [],
  activation,
  reservedPositions: "none",
  metadata: [
    ...metadata,
    ["reranker.pooling", "string", { field: "classifier_pooling", otherwise: "cls", names: { cls: "cls", mean: "mean" } }],
    ["reranker.head.activation", "string", { field: "classifier_activation", otherwise: "gelu", names: ACTIVATIONS }],
  ],
  tensors: {
    ...encoderTensors("model."),
    ...headDense("head.dense", flag("classifier_bias")),
    ...withBias("head.norm", "cls.norm", ["n_embd"], {}, flag("norm_bias")),
    ...labels("classifier"),
  },
  dropped: {},
} as const satisfies CheckpointProfile;

const OTHER_CHAIN = "Only modules that follow one another are supported, the last of which gives the score.";

// Pooling, Dense, LayerNorm, Dense. Their settings stand in the profile's fields as `modules.<number>.<field>`.
const modules = {
  names: ["ModernBertModel"],
  modelTypes: ["modernbert"],
  modules: ["Transformer", "Pooling", "Dense", "LayerNorm", "Dense"],
  fields,
  requires: [
    { field: "modules.2.module_input_name", values: ["sentence_embedding", undefined], advice: OTHER_CHAIN },
    { field: "modules.2.module_output_name", values: ["sentence_embedding", undefined], advice: OTHER_CHAIN },
    { field: "modules.4.module_input_name", values: ["sentence_embedding", undefined], advice: OTHER_CHAIN },
    { field: "modules.4.module_output_name", values: ["scores"], advice: OTHER_CHAIN },
    { field: "modules.4.out_features", values: [1], advice: "A reranker has one score." },
    {
      field: "modules.4.activation_function",
      values: ["torch.nn.modules.linear.Identity"],
      advice: "The last module should give the score as it is.",
    },
  ],
  activation,
  reservedPositions: "none",
  metadata: [
    ...metadata,
    ["reranker.pooling", "string", { field: "modules.1.pooling_mode", names: { cls: "cls", mean: "mean" } }],
    [
      "reranker.head.activation",
      "string",
      {
        field: "modules.2.activation_function",
        names: {
          "torch.nn.modules.activation.GELU": "gelu_erf",
          "torch.nn.modules.activation.Tanh": "tanh",
          "torch.nn.modules.activation.ReLU": "relu",
          "torch.nn.modules.activation.SiLU": "silu",
        },
      },
    ],
    ["reranker.head.norm_epsilon", "f32", { constant: 1e-5 }], // of torch.nn.LayerNorm, which the module takes
  ],
  tensors: {
    ...encoderTensors(""),
    ...headDense("modules.2.linear", flag("modules.2.bias", true)),
    ...withBias("modules.3.norm", "cls.norm", ["n_embd"]),
    "modules.4.linear.weight": { name: "cls.output.weight", shape: [1, "n_embd"], keepF32: true },
    "modules.4.linear.bias": { name: "cls.output.bias", shape: [1], keepF32: true, when: flag("modules.4.bias", true) },
  },
  dropped: {},
} as const satisfies CheckpointProfile;

export const modernBert = {
  architecture: "modern-bert",
  class: "encoder-only-base",
  layout: { kind: "pair", byTokenizer: { gpt2: { before: ["cls"], between: ["separator"], after: ["separator"], documentTokenType: 0 } } },
  score: { kind: "cls" },
  defaults: { ...encoderDefaults, maxLength: 8192, truncation: "longest_first" },
  prompts: {},
  options: [],
  checkpoints: [classifier, modules],
} as const satisfies ModelProfile;

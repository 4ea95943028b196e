// BERT and XLM-RoBERTa sequence classifiers with one output or two: bge-reranker-base, -large, -v2-m3 and their fine-tunes.
// Source: FlagEmbedding inference/reranker/encoder_only/base.py; transformers modeling_xlm_roberta.py, modeling_bert.py.
import type { CheckpointProfile, ModelProfile, TensorRule } from "./profile.js";

// BERT and XLM-RoBERTa have the same defaults.
const fields = {
  n_layer: { field: "num_hidden_layers", otherwise: 12 },
  n_embd: { field: "hidden_size", otherwise: 768 },
  n_ff: { field: "intermediate_size", otherwise: 3072 },
  n_vocab: { field: "vocab_size", otherwise: 30522 },
  n_head: { field: "num_attention_heads", otherwise: 12 },
  n_position: { field: "max_position_embeddings", otherwise: 512 },
  n_token_type: { field: "type_vocab_size", otherwise: 2 },
  norm_eps: { field: "layer_norm_eps", otherwise: 1e-12 },
} as const satisfies CheckpointProfile["fields"];

const requires = [
  {
    field: "position_embedding_type",
    values: ["absolute", null, undefined], // transformers 5 has no other and does not write it
    advice: "Only absolute position embeddings can be scored; train or export the model with `position_embedding_type: absolute`.",
  },
  { field: "is_decoder", values: [false, null, undefined], advice: "Only bidirectional encoders are cross-encoders of this class." },
  { field: "add_cross_attention", values: [false, null, undefined], advice: "Only plain encoders can be scored." },
] as const satisfies CheckpointProfile["requires"];

const activation = {
  field: "hidden_act",
  otherwise: "gelu",
  names: { gelu: "gelu_erf", gelu_python: "gelu_erf", gelu_new: "gelu_tanh", gelu_pytorch_tanh: "gelu_tanh" },
} as const satisfies CheckpointProfile["activation"];

const metadata = [
  ["bert.block_count", "u32", "n_layer"],
  ["bert.context_length", "u32", "n_ctx_train"],
  ["bert.embedding_length", "u32", "n_embd"],
  ["bert.feed_forward_length", "u32", "n_ff"],
  ["bert.attention.head_count", "u32", "n_head"],
  ["bert.attention.layer_norm_epsilon", "f32", "norm_eps"],
  ["bert.attention.causal", "bool", { constant: false }],
  ["bert.pooling_type", "u32", { constant: 4 }], // rank
  ["tokenizer.ggml.token_type_count", "u32", "n_token_type"],
  ["bert.classifier.output_labels", "string[]", { constant: "score" }],
] as const satisfies CheckpointProfile["metadata"];

/** The encoder under its Hugging Face prefix. */
function encoderTensors(prefix: string, positions: TensorRule): CheckpointProfile["tensors"] {
  const layer = `${prefix}.encoder.layer.{i}`;
  return {
    [`${prefix}.embeddings.word_embeddings.weight`]: { name: "token_embd.weight", shape: ["n_vocab", "n_embd"] },
    [`${prefix}.embeddings.position_embeddings.weight`]: positions,
    [`${prefix}.embeddings.token_type_embeddings.weight`]: {
      name: "token_types.weight",
      shape: ["n_token_type", "n_embd"],
      keepF32: true,
    },
    ...withBias(`${prefix}.embeddings.LayerNorm`, "token_embd_norm", ["n_embd"]),
    ...withBias(`${layer}.attention.self.query`, "blk.{i}.attn_q", ["n_embd", "n_embd"]),
    ...withBias(`${layer}.attention.self.key`, "blk.{i}.attn_k", ["n_embd", "n_embd"]),
    ...withBias(`${layer}.attention.self.value`, "blk.{i}.attn_v", ["n_embd", "n_embd"]),
    ...withBias(`${layer}.attention.output.dense`, "blk.{i}.attn_output", ["n_embd", "n_embd"]),
    ...withBias(`${layer}.attention.output.LayerNorm`, "blk.{i}.attn_output_norm", ["n_embd"]),
    ...withBias(`${layer}.intermediate.dense`, "blk.{i}.ffn_up", ["n_ff", "n_embd"]),
    ...withBias(`${layer}.output.dense`, "blk.{i}.ffn_down", ["n_embd", "n_ff"]),
    ...withBias(`${layer}.output.LayerNorm`, "blk.{i}.layer_output_norm", ["n_embd"]),
  };
}

/** A linear or a norm: `shape` is the weight's, the bias has one value per row. */
function withBias(source: string, name: string, shape: TensorRule["shape"], keepF32?: true): CheckpointProfile["tensors"] {
  const keep = keepF32 ? { keepF32 } : {};
  return {
    [`${source}.weight`]: { name: `${name}.weight`, shape, ...keep },
    [`${source}.bias`]: { name: `${name}.bias`, shape: shape.slice(0, 1), ...keep },
  };
}

/** The last linear, one row for the score, whether it has one output or two. */
function labels(source: string): CheckpointProfile["tensors"] {
  const rule = { keepF32: true, transform: "label-difference" } as const;
  return {
    [`${source}.weight`]: { name: "cls.output.weight", shape: ["n_label", "n_embd"], ...rule },
    [`${source}.bias`]: { name: "cls.output.bias", shape: ["n_label"], ...rule },
  };
}

// Names from before PyTorch, still in checkpoints of 2019.
const renames = { "LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias" } as const;

const POSITION_IDS = "a buffer of 0, 1, 2, ..., not a weight";

const xlmRoberta = {
  names: ["XLMRobertaForSequenceClassification"],
  modelTypes: ["xlm-roberta"],
  fields,
  requires,
  activation,
  reservedPositions: "pad-id-plus-one",
  metadata,
  tensors: {
    // XLM-R positions start at pad_id + 1 = 2, so 8192 tokens need 8194 rows; llama.cpp files begin at the first one in use.
    ...encoderTensors("roberta", {
      name: "position_embd.weight",
      shape: ["n_position", "n_embd"],
      transform: "drop-reserved-positions",
      keepF32: true,
    }),
    ...withBias("classifier.dense", "cls", ["n_embd", "n_embd"], true),
    ...labels("classifier.out_proj"),
  },
  dropped: {
    "roberta.embeddings.position_ids": POSITION_IDS,
    "roberta.pooler.dense.weight": "the classifier does not use the pooler",
    "roberta.pooler.dense.bias": "the classifier does not use the pooler",
  },
  renames,
} as const satisfies CheckpointProfile;

const bertClassifier = {
  names: ["BertForSequenceClassification"],
  modelTypes: ["bert"],
  fields,
  requires,
  activation,
  reservedPositions: "none",
  metadata,
  tensors: {
    ...encoderTensors("bert", { name: "position_embd.weight", shape: ["n_position", "n_embd"], keepF32: true }),
    // tanh(W x0 + b), then one linear: the same head as XLM-R's under other names.
    ...withBias("bert.pooler.dense", "cls", ["n_embd", "n_embd"], true),
    ...labels("classifier"),
  },
  dropped: { "bert.embeddings.position_ids": POSITION_IDS },
  renames,
} as const satisfies CheckpointProfile;

const SENTENCE_PAIR = { before: ["cls"], between: ["separator", "separator"], after: ["separator"], documentTokenType: 0 } as const;

export const bert = {
  architecture: "bert",
  class: "encoder-only-base",
  layout: {
    kind: "pair",
    byTokenizer: {
      t5: SENTENCE_PAIR, // XLM-R: <s> query </s></s> document </s>
      gpt2: SENTENCE_PAIR, // RoBERTa, likewise
      bert: { before: ["cls"], between: ["separator"], after: ["separator"], documentTokenType: 1 },
    },
  },
  score: { kind: "cls" },
  defaults: { queryInstruction: null, documentInstruction: null, prompt: null, maxLength: 512, batchSize: 128 },
  prompts: {},
  options: [],
  checkpoints: [xlmRoberta, bertClassifier],
} as const satisfies ModelProfile;

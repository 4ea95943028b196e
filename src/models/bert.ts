// BERT, XLM-RoBERTa, RoBERTa, ELECTRA and DistilBERT sequence classifiers with one output or two: bge-reranker-base, -large, -v2-m3
// and their fine-tunes, bce-reranker, the ms-marco cross-encoders of sentence-transformers.
// Source: FlagEmbedding inference/reranker/encoder_only/base.py; transformers modeling_xlm_roberta.py, modeling_bert.py,
// modeling_electra.py, modeling_distilbert.py.
import { ACTIVATIONS } from "./activations.js";
import { encoderDefaults, encoderMetadata, headDense, labels, plainEncoder, withBias } from "./encoder-tensors.js";
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
  ...plainEncoder,
] as const satisfies CheckpointProfile["requires"];

const activation = { field: "hidden_act", otherwise: "gelu", names: ACTIVATIONS } as const satisfies CheckpointProfile["activation"];

const metadata = [
  ...encoderMetadata("bert"),
  ["tokenizer.ggml.token_type_count", "u32", "n_token_type"],
] as const satisfies CheckpointProfile["metadata"];

const POSITION_IDS = "a buffer of 0, 1, 2, ..., not a weight";

const positions = (source: string): CheckpointProfile["tensors"] => ({
  [source]: { name: "position_embd.weight", shape: ["n_position", "n_embd"], keepF32: true },
});

// XLM-R positions start at pad_id + 1 = 2, so 8192 tokens need 8194 rows; llama.cpp files begin at the first one in use.
const positionsAfterPadding = (source: string): CheckpointProfile["tensors"] => ({
  [source]: { name: "position_embd.weight", shape: ["n_position", "n_embd"], transform: "drop-reserved-positions", keepF32: true },
});

/** Token types and layers, under the model's prefix; `table` is the width of the embedding tables. */
function encoderTensors(prefix: string, table: TensorRule["shape"][number] = "n_embd"): CheckpointProfile["tensors"] {
  const layer = `${prefix}.encoder.layer.{i}`;
  return {
    [`${prefix}.embeddings.word_embeddings.weight`]: { name: "token_embd.weight", shape: ["n_vocab", table] },
    [`${prefix}.embeddings.token_type_embeddings.weight`]: { name: "token_types.weight", shape: ["n_token_type", table], keepF32: true },
    ...withBias(`${prefix}.embeddings.LayerNorm`, "token_embd_norm", [table]),
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

// Names from before PyTorch, still in checkpoints of 2019.
const renames = { "LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias" } as const;

const roberta = {
  fields,
  requires,
  activation,
  reservedPositions: "pad-id-plus-one",
  metadata,
  tensors: {
    ...encoderTensors("roberta"),
    ...positionsAfterPadding("roberta.embeddings.position_embeddings.weight"),
    ...headDense("classifier.dense"),
    ...labels("classifier.out_proj"),
  },
  dropped: {
    "roberta.embeddings.position_ids": POSITION_IDS,
    "roberta.pooler.dense.weight": "the classifier does not use the pooler",
    "roberta.pooler.dense.bias": "the classifier does not use the pooler",
  },
  renames,
} as const;

const checkpoints = [
  { names: ["XLMRobertaForSequenceClassification"], modelTypes: ["xlm-roberta"], ...roberta },
  { names: ["RobertaForSequenceClassification"], modelTypes: ["roberta"], truncation: "longest_first", ...roberta },
  {
    names: ["BertForSequenceClassification"],
    modelTypes: ["bert"],
    fields,
    requires,
    activation,
    reservedPositions: "none",
    metadata,
    tensors: {
      ...encoderTensors("bert"),
      ...positions("bert.embeddings.position_embeddings.weight"),
      // tanh(W x0 + b), then one linear: the same head as XLM-R's under other names.
      ...headDense("bert.pooler.dense"),
      ...labels("classifier"),
    },
    dropped: { "bert.embeddings.position_ids": POSITION_IDS },
    renames,
  },
  {
    names: ["ElectraForSequenceClassification"],
    modelTypes: ["electra"],
    truncation: "longest_first",
    fields: {
      ...fields,
      n_embd: { field: "hidden_size", otherwise: 256 },
      n_embd_table: { field: "embedding_size", otherwise: 128 },
      n_ff: { field: "intermediate_size", otherwise: 1024 },
      n_head: { field: "num_attention_heads", otherwise: 4 },
    },
    requires,
    activation,
    reservedPositions: "none",
    metadata: [...metadata, ["reranker.head.activation", "string", { constant: "gelu_erf" }]],
    tensors: {
      ...encoderTensors("electra", "n_embd_table"),
      "electra.embeddings.position_embeddings.weight": {
        name: "position_embd.weight",
        shape: ["n_position", "n_embd_table"],
        keepF32: true,
      },
      ...withBias("electra.embeddings_project", "token_embd_proj", ["n_embd", "n_embd_table"], {
        when: { differ: ["n_embd_table", "n_embd"] },
      }),
      ...headDense("classifier.dense"),
      ...labels("classifier.out_proj"),
    },
    dropped: { "electra.embeddings.position_ids": POSITION_IDS },
  },
  {
    names: ["DistilBertForSequenceClassification"],
    modelTypes: ["distilbert"],
    truncation: "longest_first",
    fields: {
      n_layer: { field: "n_layers", otherwise: 6 },
      n_embd: { field: "dim", otherwise: 768 },
      n_ff: { field: "hidden_dim", otherwise: 3072 },
      n_vocab: { field: "vocab_size", otherwise: 30522 },
      n_head: { field: "n_heads", otherwise: 12 },
      n_position: { field: "max_position_embeddings", otherwise: 512 },
    },
    requires: [],
    activation: { field: "activation", otherwise: "gelu", names: ACTIVATIONS },
    reservedPositions: "none",
    metadata: [
      ...encoderMetadata("bert", { constant: 1e-12 }), // stands in the code of the class, not in config.json
      ["reranker.head.activation", "string", { constant: "relu" }],
    ],
    tensors: {
      "distilbert.embeddings.word_embeddings.weight": { name: "token_embd.weight", shape: ["n_vocab", "n_embd"] },
      ...positions("distilbert.embeddings.position_embeddings.weight"),
      ...withBias("distilbert.embeddings.LayerNorm", "token_embd_norm", ["n_embd"]),
      ...withBias("distilbert.transformer.layer.{i}.attention.q_lin", "blk.{i}.attn_q", ["n_embd", "n_embd"]),
      ...withBias("distilbert.transformer.layer.{i}.attention.k_lin", "blk.{i}.attn_k", ["n_embd", "n_embd"]),
      ...withBias("distilbert.transformer.layer.{i}.attention.v_lin", "blk.{i}.attn_v", ["n_embd", "n_embd"]),
      ...withBias("distilbert.transformer.layer.{i}.attention.out_lin", "blk.{i}.attn_output", ["n_embd", "n_embd"]),
      ...withBias("distilbert.transformer.layer.{i}.sa_layer_norm", "blk.{i}.attn_output_norm", ["n_embd"]),
      ...withBias("distilbert.transformer.layer.{i}.ffn.lin1", "blk.{i}.ffn_up", ["n_ff", "n_embd"]),
      ...withBias("distilbert.transformer.layer.{i}.ffn.lin2", "blk.{i}.ffn_down", ["n_embd", "n_ff"]),
      ...withBias("distilbert.transformer.layer.{i}.output_layer_norm", "blk.{i}.layer_output_norm", ["n_embd"]),
      ...headDense("pre_classifier"),
      ...labels("classifier"),
    },
    dropped: { "distilbert.embeddings.position_ids": POSITION_IDS },
  },
] as const satisfies readonly CheckpointProfile[];

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
  defaults: encoderDefaults,
  prompts: {},
  options: [],
  checkpoints,
} as const satisfies ModelProfile;

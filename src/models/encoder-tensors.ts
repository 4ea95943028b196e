// What the profiles of encoders share: linears and norms with their biases, the last linear of the head.
import type { CheckpointProfile, ConfigRequirement, MetadataValue, ProfileDefaults, TensorRule } from "./profile.js";

export const encoderDefaults = {
  queryInstruction: null,
  documentInstruction: null,
  prompt: null,
  maxLength: 512,
  batchSize: 128,
} as const satisfies ProfileDefaults;

export const plainEncoder = [
  { field: "is_decoder", values: [false, null, undefined], advice: "Only bidirectional encoders are cross-encoders of this class." },
  { field: "add_cross_attention", values: [false, null, undefined], advice: "Only plain encoders can be scored." },
] as const satisfies readonly ConfigRequirement[];

/** A linear or a norm: `shape` is the weight's, the bias has one value per row. */
export function withBias(
  source: string,
  name: string,
  shape: TensorRule["shape"],
  more: Pick<TensorRule, "keepF32" | "when" | "firstLayer"> = {},
  bias: TensorRule["when"] | undefined = more.when,
): CheckpointProfile["tensors"] {
  return {
    [`${source}.weight`]: { name: `${name}.weight`, shape, ...more },
    [`${source}.bias`]: { name: `${name}.bias`, shape: shape.slice(0, 1), ...more, ...(bias && { when: bias }) },
  };
}

/** The first linear of the head. */
export function headDense(source: string, bias?: NonNullable<TensorRule["when"]>): CheckpointProfile["tensors"] {
  return withBias(source, "cls", ["n_embd", "n_embd"], { keepF32: true }, bias);
}

/** The last linear, one row for the score, whether it has one output or two. */
export function labels(source: string): CheckpointProfile["tensors"] {
  const rule = { keepF32: true, transform: "label-difference" } as const;
  return {
    [`${source}.weight`]: { name: "cls.output.weight", shape: ["n_label", "n_embd"], ...rule },
    [`${source}.bias`]: { name: "cls.output.bias", shape: ["n_label"], ...rule },
  };
}

/** GGUF metadata that every encoder has. */
export function encoderMetadata(architecture: string, normEps: MetadataValue = "norm_eps"): CheckpointProfile["metadata"] {
  return [
    [`${architecture}.block_count`, "u32", "n_layer"],
    [`${architecture}.context_length`, "u32", "n_ctx_train"],
    [`${architecture}.embedding_length`, "u32", "n_embd"],
    [`${architecture}.feed_forward_length`, "u32", "n_ff"],
    [`${architecture}.attention.head_count`, "u32", "n_head"],
    [`${architecture}.attention.layer_norm_epsilon`, "f32", normEps],
    [`${architecture}.attention.causal`, "bool", { constant: false }],
    [`${architecture}.pooling_type`, "u32", { constant: 4 }], // rank
    [`${architecture}.classifier.output_labels`, "string[]", { constant: "score" }],
  ];
}

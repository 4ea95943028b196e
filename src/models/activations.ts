// Names of activations. Source: transformers activations.py, ACT2FN.
import type { Activation } from "./profile.js";

export const ACTIVATIONS = {
  gelu: "gelu_erf",
  gelu_python: "gelu_erf",
  gelu_new: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  gelu_fast: "gelu_tanh",
  silu: "silu",
  swish: "silu",
  relu: "relu",
  tanh: "tanh",
} as const satisfies Readonly<Record<string, Activation>>;

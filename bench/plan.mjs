// Who takes part, and how much is scored.

/**
 * `file` says what an engine opens. `arithmetic` is the limit of the chip it is held against.
 * The engines of this package get texts, all others ready token ids.
 */
export const ENGINES = {
  "ours-f32": { title: "ours F32", module: "ours", file: "F32", arithmetic: "f32", families: ["encoder"] },
  "ours-f16": { title: "ours F16", module: "ours", file: "F16", arithmetic: "f32", families: ["encoder"] },
  "ours-q8_0": { title: "ours Q8_0", module: "ours", file: "Q8_0", arithmetic: "int8", families: ["encoder", "decoder"] },
  "ours-fast": {
    title: 'ours Q8_0, "fast"',
    module: "ours",
    file: "Q8_0",
    arithmetic: "int8",
    families: ["encoder", "decoder"],
    weightMode: "fast",
  },
  "ours-rows": { title: "ours row-int8", module: "ours", file: "F16", arithmetic: "int8", families: ["encoder"], weightMode: "row-int8" },
  "ours-rows-q8_0": {
    title: "ours row-int8 (from Q8_0)",
    module: "ours",
    file: "Q8_0",
    arithmetic: "int8",
    families: ["decoder"],
    weightMode: "row-int8",
  },
  "ours-vnni": {
    title: "ours Q8_0 without AMX",
    module: "ours",
    file: "Q8_0",
    arithmetic: "int8",
    families: ["encoder", "decoder"],
    env: { BGE_CPU_ISA: "avx512-vnni" },
  },
  "ours-stock": {
    title: "ours, stock ggml Q8_0",
    module: "ours",
    file: "Q8_0",
    arithmetic: "int8",
    families: ["encoder", "decoder"],
    env: { BGE_CPU_ISA: "plain" },
  },
  "onnx-f32": {
    title: "onnxruntime F32",
    module: "onnxruntime",
    file: "onnx-f32",
    arithmetic: "f32",
    families: ["encoder"],
    package: "onnxruntime-node",
  },
  "onnx-int8": {
    title: "onnxruntime int8",
    module: "onnxruntime",
    file: "onnx-int8",
    arithmetic: "int8",
    families: ["encoder"],
    package: "onnxruntime-node",
  },
  "transformers-int8": {
    title: "transformers.js int8",
    module: "transformers",
    file: "onnx-int8",
    arithmetic: "int8",
    families: ["encoder"],
    package: "@huggingface/transformers",
  },
  "node-llama-cpp": {
    title: "node-llama-cpp Q8_0",
    module: "node-llama-cpp",
    file: "llama-Q8_0",
    arithmetic: "int8",
    families: ["encoder", "decoder"],
    package: "node-llama-cpp",
  },
  torch: { title: "PyTorch F32", module: "torch", file: "checkpoint", arithmetic: "f32", families: ["encoder"] },
};

export const BASELINE = "ours-q8_0";
export const QUICK_ENGINES = ["ours-q8_0", "onnx-int8"];

/** The logits that all others are compared with: the most exact file that fits the memory of an ordinary machine. */
export const REFERENCE_FILE = { encoder: "F32", decoder: "F16" };

export const WORKLOADS = {
  golden: { passages: 60, long: 0, single: false, callers: 0, passagesPerCaller: 0, search: 0 },
  encoder: { passages: 100, long: 32, single: true, callers: 8, passagesPerCaller: 4, search: 20 },
  decoder: { passages: 12, long: 2, single: true, callers: 8, passagesPerCaller: 1, search: 0 },
  quick: { passages: 100, long: 0, single: true, callers: 0, passagesPerCaller: 0, search: 20 },
  quickDecoder: { passages: 6, long: 0, single: false, callers: 0, passagesPerCaller: 0, search: 0 },
};

export const PREFIX_WORKLOADS = { documents: 8, queryLengths: [20, 200] };

/** --quick runs the first layers of the decoders only; minicpm needs eight before its first exit. */
export const QUICK_LAYERS = { gemma: 3, minicpm: 9, gemma2: 3 };

// @huggingface/transformers on the same ONNX file. It runs on onnxruntime-node; token ids are given, as to the others.
import path from "node:path";
import { AutoModelForSequenceClassification, env, Tensor } from "@huggingface/transformers";
import { paddedEngine } from "./padded-batches.mjs";

export async function load({ onnx, threads }) {
  const folder = path.dirname(path.dirname(onnx)); // its layout: config.json beside onnx/model_quantized.onnx
  env.allowRemoteModels = false;
  env.localModelPath = path.dirname(folder);
  const model = await AutoModelForSequenceClassification.from_pretrained(path.basename(folder), {
    device: "cpu",
    dtype: onnx.endsWith("_quantized.onnx") ? "q8" : "fp32",
    local_files_only: true,
    session_options: { intraOpNumThreads: threads, interOpNumThreads: 1 },
  });
  const engine = paddedEngine(async (ids, mask, shape) => {
    const input = { input_ids: new Tensor("int64", ids, shape), attention_mask: new Tensor("int64", mask, shape) };
    return (await model(input)).logits.data;
  });
  return { ...engine, close: () => model.dispose() };
}

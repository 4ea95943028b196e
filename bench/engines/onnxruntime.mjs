// onnxruntime-node on the same weights, with all of its graph optimisations.
import { InferenceSession, Tensor } from "onnxruntime-node";
import { paddedEngine } from "./padded-batches.mjs";

export async function load({ onnx, threads }) {
  const session = await InferenceSession.create(onnx, {
    executionProviders: ["cpu"],
    graphOptimizationLevel: "all",
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
  });
  const engine = paddedEngine(async (ids, mask, shape) => {
    const input = { input_ids: new Tensor("int64", ids, shape), attention_mask: new Tensor("int64", mask, shape) };
    return (await session.run(input)).logits.data;
  });
  return { ...engine, close: () => session.release() };
}

// onnxruntime-node on the same weights, with all of its graph optimisations.
import { InferenceSession, Tensor } from "onnxruntime-node";
import { paddedEngine } from "./padded-batches.mjs";

/** @param types - The graph takes token types as well. @param padId - The id that fills batches up. */
export async function load({ onnx, threads, types = false, padId }) {
  const session = await InferenceSession.create(onnx, {
    executionProviders: ["cpu"],
    graphOptimizationLevel: "all",
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
  });
  const engine = paddedEngine(async (ids, mask, shape, typeIds) => {
    const input = { input_ids: new Tensor("int64", ids, shape), attention_mask: new Tensor("int64", mask, shape) };
    if (types) input.token_type_ids = new Tensor("int64", typeIds, shape);
    return (await session.run(input)).logits.data;
  }, padId);
  return { ...engine, close: () => session.release() };
}

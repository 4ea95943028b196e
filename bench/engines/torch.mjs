// PyTorch in a Python process, as FlagEmbedding runs a reranker, from ready token ids.
import { startPython } from "./python-process.mjs";

/** @param options - `yes`: of a language model, the token whose logit is the score. */
export async function load({ checkpoint, threads, device = "cpu", dtype = "float32", batchSize = 128, yes = -1, python }) {
  const engine = await startPython("torch-engine.py", [checkpoint, threads, device, dtype, batchSize, yes], { python });
  return {
    facts: engine.last.facts,
    score: async (pairs) => (await engine.ask(pairs.map(({ ids }) => ids))).logits,
    time: ({ pairs }) => engine.ask(pairs.map(({ ids }) => ids)), // logits, and how long they took, seen from Python
    usage: () => engine.last,
    close: engine.close,
  };
}

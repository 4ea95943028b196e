// FlagEmbedding in a Python process: texts in, so that tokenizing is part of the time, as it is of ours.
import { startPython } from "./python-process.mjs";

/** `time` gives what one call of compute_score answers and how long it took, seen from Python. */
export async function load({ checkpoint, family, threads, device, dtype, batchSize, python }) {
  const args = [checkpoint, family, threads, device, dtype, batchSize];
  const engine = await startPython("flagembedding.py", args, { python, env: { TQDM_DISABLE: "1", HF_HUB_OFFLINE: "1" } });
  return {
    facts: engine.last.facts,
    time: ({ pairs }) => engine.ask(pairs.map(({ query, passage }) => [query, passage])),
    close: engine.close,
  };
}

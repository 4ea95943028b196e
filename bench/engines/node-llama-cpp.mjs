// node-llama-cpp on the same GGUF: rankAll for encoders, prompt processing for decoders, whose scores it cannot give.
import { getLlama } from "node-llama-cpp";

export async function load({ gguf, threads, family }) {
  const llama = await getLlama({ gpu: false, build: "never", logLevel: "error", maxThreads: threads });
  const model = await llama.loadModel({ modelPath: gguf, gpuLayers: 0 });
  const contextSize = 768; // of 512-token pairs, in llama.cpp's steps of 256
  const engine = family === "encoder" ? await ranking(model, contextSize, threads) : await promptProcessing(model, contextSize, threads);
  return { facts: { build: llama.buildType }, ...engine, close: () => llama.dispose() };
}

async function ranking(model, contextSize, threads) {
  const context = await model.createRankingContext({ contextSize, batchSize: contextSize, threads });
  return {
    score: async (pairs) => {
      const probabilities = [];
      for (let at = 0; at < pairs.length; ) {
        let end = at + 1;
        while (end < pairs.length && pairs[end].query === pairs[at].query) end++;
        const parts = pairs.slice(at, end).map(({ ids }) => split(ids));
        const ranked = await context.rankAll(
          parts[0].query,
          parts.map(({ passage }) => passage),
        );
        probabilities.push(...ranked);
        at = end;
      }
      return probabilities.map((p) => Math.log(p) - Math.log1p(-p));
    },
  };
}

/** <s> query </s></s> passage </s> or [CLS] query [SEP] passage [SEP]: rankAll puts the special tokens back at the same places. */
function split(ids) {
  const separator = ids.at(-1);
  const middle = ids.indexOf(separator);
  return { query: ids.slice(1, middle), passage: ids.slice(ids[middle + 1] === separator ? middle + 2 : middle + 1, -1) };
}

async function promptProcessing(model, contextSize, threads) {
  const context = await model.createContext({ contextSize, batchSize: 512, threads, sequences: 1 });
  const sequence = context.getSequence();
  let turn = Promise.resolve(); // one sequence: callers wait for each other
  const evaluate = async (ids) => {
    await sequence.clearHistory();
    await sequence.evaluateWithoutGeneratingNewTokens(ids);
  };
  return {
    score: async (pairs) => {
      for (const { ids } of pairs) {
        turn = turn.then(() => evaluate(ids));
        await turn;
      }
      return pairs.map(() => Number.NaN);
    },
  };
}

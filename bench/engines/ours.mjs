// This package, as its users call it: texts in, so that tokenizing is part of the time (the peers get ready token ids).
import { Reranker } from "../../lib/index.js";

export async function load({ gguf, threads, weightMode, maxLength }) {
  const reranker = await Reranker.load(gguf, { threads, weightMode, maxLength, devices: "cpu" });
  return {
    facts: reranker.model,
    score: async (pairs, { cutoffLayers, cascade }) => {
      if (cascade) {
        const results = await reranker.rerank(
          pairs[0].query,
          pairs.map(({ passage }) => passage),
          { cascade },
        );
        return results.map(({ logit }) => logit);
      }
      return reranker.computeScore(
        pairs.map(({ query, passage }) => [query, passage]),
        cutoffLayers ? { cutoffLayers } : {},
      );
    },
    close: () => reranker.dispose(),
  };
}

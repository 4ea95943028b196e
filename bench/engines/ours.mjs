// This package, as its users call it: texts in, so that tokenizing is part of the time (the peers get ready token ids). What was
// computed of queries is not kept: a round would find that of the one before.
import { Reranker } from "../../lib/index.js";

export async function load({ gguf, threads, weightMode, maxLength }) {
  const reranker = await Reranker.load(gguf, { threads, weightMode, maxLength, devices: "cpu", prefixCacheSize: 0 });
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

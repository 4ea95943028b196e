// bge-reranker/mastra in rerankWithScorer.
import type { RelevanceScoreProvider } from "@mastra/core/relevance";
import type { Reranker } from "bge-reranker";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { whyNotInstalled } from "./install.js";

const why = await whyNotInstalled();
const { FlagAutoReranker } = await import("bge-reranker");
const { BgeRelevanceScorer } = await import("bge-reranker/mastra");

const TEXTS = ["hi", "The giant panda is a bear endemic to China.", "Bread keeps in a paper bag."];
const RESULTS = Array.from({ length: 20 }, (_, i) => ({
  id: String(i),
  score: 1 - i / 20,
  metadata: { text: i < TEXTS.length ? TEXTS[i] : `note ${i}` },
}));

describe.skipIf(why)("bge-reranker/mastra", () => {
  let reranker: Reranker;
  beforeAll(async () => {
    reranker = await FlagAutoReranker.fromFinetuned("default");
  });
  afterAll(() => reranker?.dispose());

  it("scores twenty documents in one call of the model", async () => {
    const { rerankWithScorer } = await import("@mastra/rag");
    const calls = vi.spyOn(reranker, "rerank");
    const batches: number[] = [];
    const scorer: RelevanceScoreProvider = new BgeRelevanceScorer(reranker);
    const query = "what is a panda?";
    const ranked = await rerankWithScorer({
      results: RESULTS,
      query,
      scorer,
      options: { weights: { semantic: 1, vector: 0, position: 0 }, topK: 3 },
    });
    expect(calls).toHaveBeenCalledTimes(1);
    expect(calls.mock.calls[0]?.[1]).toHaveLength(20);
    calls.mockRestore();
    // ... which is one batch of the engine: what is there at once is computed at once.
    await reranker.rerank(
      query,
      RESULTS.map(({ metadata }) => metadata.text as string),
      { onProgress: ({ done }) => batches.push(done) },
    );
    expect(batches).toEqual([20]);
    expect(ranked[0]?.result.id).toBe("1");
    const [best] = await reranker.rerank(query, [TEXTS[1] as string], { normalize: true });
    expect(ranked[0]?.score).toBeCloseTo(best?.score as number, 6);
    expect(ranked[0]?.details.semantic).toBeLessThanOrEqual(1);
  });

  it("keeps queries apart, and batches turn by turn", async () => {
    const scorer = new BgeRelevanceScorer(reranker);
    const calls = vi.spyOn(reranker, "rerank");
    const scores = await Promise.all([
      scorer.getRelevanceScore("what is a panda?", TEXTS[1] as string),
      scorer.getRelevanceScore("how do I keep bread?", TEXTS[1] as string),
      scorer.getRelevanceScore("what is a panda?", TEXTS[0] as string),
    ]);
    expect(calls).toHaveBeenCalledTimes(2);
    expect(scores[0]).toBeGreaterThan(scores[1] as number);
    expect(scores[0]).toBeGreaterThan(scores[2] as number);
    await scorer.getRelevanceScore("what is a panda?", "hi");
    expect(calls).toHaveBeenCalledTimes(3);
    calls.mockRestore();
  });

  it("rejects every call when the model does not load", async () => {
    const scorer = new BgeRelevanceScorer("/nowhere/model.gguf");
    const calls = await Promise.allSettled([scorer.getRelevanceScore("q", "a"), scorer.getRelevanceScore("q", "b")]);
    expect(calls.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  });
});

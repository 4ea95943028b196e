// The model that ships with the package: the file itself, and that it ranks.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { evaluate, FlagAutoReranker, loadDataset, type Reranker, type Run, rerankDataset } from "../../src/index.js";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

describe("the default model", () => {
  let reranker: Reranker;

  beforeAll(async () => {
    reranker = await FlagAutoReranker.fromFinetuned("default");
  });
  afterAll(() => reranker.dispose());

  it("is the file its model card names", () => {
    const file = readFileSync(path.join(root, "models", "default.gguf"));
    const card = readFileSync(path.join(root, "models", "README.md"), "utf8");
    expect(card).toContain(createHash("sha256").update(file).digest("hex"));
    expect(file.byteLength).toBeLessThan(30e6);
  });

  it("loads as a cross-encoder", () => {
    expect(reranker.model).toMatchObject({ className: "FlagReranker", architecture: "bert", contextLength: 512 });
  });

  it("reads the tokens it was made for, unless told otherwise", async () => {
    const long = "a panda eats bamboo ".repeat(200);
    expect(reranker.encodePair("what do pandas eat?", long)).toMatchObject({ inputIds: { length: 256 }, truncated: true });
    expect(reranker.encodePair("what do pandas eat?", long, { maxLength: 512 }).inputIds).toHaveLength(512);
  });

  it("finds the passage that answers, not the one that repeats the words", async () => {
    const results = await reranker.rerank("what is a panda?", [
      "hi",
      "The giant panda is a bear species endemic to China.",
      "What is a pandemic?",
    ]);
    expect(results[0]).toMatchObject({ index: 1 });
  });

  it("ranks better than BM25 on descriptions it has not seen", async () => {
    const data = await loadDataset(path.join(root, "test", "data", "debian-descriptions"), { candidates: 20 });
    const { run } = await rerankDataset(reranker, data);
    const figures = (order: Run) => evaluate(order, data.qrels, { metrics: ["nDCG@10"] }).means["nDCG@10"] as number;
    expect(figures(run)).toBeGreaterThan(figures(data.firstStage.run) + 0.02);
  }, 120_000);
});

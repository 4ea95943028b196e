// plan against what the engine then does: the same tokens, the same batches.
import { describe, expect, it, vi } from "vitest";
import { run } from "../../src/cli/program.js";
import { FlagAutoReranker } from "../../src/index.js";
import { checkpoints, goldenGguf } from "../golden.js";

describe("plan", () => {
  const documents = Array.from({ length: 150 }, (_, i) => `${i}. ${"Water boils at one hundred degrees. ".repeat(1 + ((i * 7) % 40))}`);

  it.each(checkpoints)("tells what rerank does with $name", async ({ name }) => {
    await using reranker = await FlagAutoReranker.fromFinetuned(await goldenGguf(name, "f32"), { devices: "cpu" });
    const options = { maxLength: 200, batchSize: 40 };
    const plan = await reranker.plan("what is panda?", documents, options);
    const done: number[] = [];
    const results = await reranker.rerank("what is panda?", documents, { ...options, onProgress: (progress) => done.push(progress.done) });
    const byIndex = [...results].sort((a, b) => a.index - b.index);
    expect(plan.pairs.map(({ tokens, truncated }) => ({ tokens, truncated }))).toEqual(
      byIndex.map(({ tokens, truncated }) => ({ tokens, truncated })),
    );
    expect(plan.truncatedCount).toBeGreaterThan(0);
    expect(plan.batches.map((batch) => batch.pairs)).toEqual(done.map((count, i) => count - (done[i - 1] ?? 0)));
  });

  it("is printed by rerank --dry-run", async () => {
    const out = vi.spyOn(process.stdout, "write").mockReturnValue(true);
    const file = await goldenGguf("bert-reranker", "f32");
    const code = await run(["node", "bge-reranker", "rerank", "-m", file, "--query", "panda?", "--dry-run", "hi", "a bear ".repeat(1000)]);
    const stdout = out.mock.calls.map(([text]) => text).join("");
    vi.restoreAllMocks();
    expect(code).toBe(0);
    expect(stdout).toMatch(/^pairs {6}2, of \d+ to 512 tokens\ntokens .*\ntruncated {2}1\nbatches {4}1, .*\nmemory .* of weights/);
  });
});

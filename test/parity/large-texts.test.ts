// Large texts and calls on a real engine: what crosses in parts is what crosses at once.
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Reranker } from "../../src/reranker/reranker.js";
import { goldenGguf } from "../golden.js";

let reranker: Reranker;
beforeAll(async () => {
  reranker = await Reranker.load(await goldenGguf("bert-reranker", "f32"), { devices: "cpu", threads: 2 });
});
afterAll(() => reranker.dispose());

const large = "Panda \u{1f43c} 熊猫 eats, bamboo. ".repeat(30_000); // 690,000 units: two parts

it("encodes as on the JS thread", async () => {
  expect(await reranker.tokenizeAsync(large)).toEqual(reranker.tokenize(large));
  expect(await reranker.encodePairAsync("q", large)).toEqual(reranker.encodePair("q", large));
  expect(await reranker.encodePairAsync("a \ud800 b", "\udc00")).toEqual(reranker.encodePair("a \ud800 b", "\udc00"));
});

it("scores and plans as in small calls", async () => {
  const documents = [large, "a panda", `${large}.`, "", "bamboo"];
  const ranked = await reranker.rerank("panda", documents);
  for (const { index, logit, tokens } of ranked) {
    const [alone] = await reranker.rerank("panda", [documents[index] as string]);
    expect(alone).toMatchObject({ logit, tokens });
  }
  const plan = await reranker.plan("panda", documents);
  for (const { index, tokens, truncated } of ranked) expect(plan.pairs[index]).toMatchObject({ index, tokens, truncated });
});

it("ranks many documents like few", async () => {
  const documents = Array.from({ length: 12_000 }, (_, i) => `document ${(i * 31) % 400}`);
  const ranked = await reranker.rerank("document 7", documents, { maxLength: 16 });
  const few = new Map((await reranker.rerank("document 7", documents.slice(0, 400), { maxLength: 16 })).map((r) => [r.document, r.logit]));
  expect(ranked.map(({ index }) => index).sort((a, b) => a - b)).toEqual(documents.map((_, i) => i));
  for (const [i, { document, logit, index }] of ranked.entries()) {
    expect(logit).toBe(few.get(document));
    const before = ranked[i - 1];
    if (before) expect(before.logit > logit || (before.logit === logit && before.index < index)).toBe(true);
  }
});

it("refuses a vocabulary whose unknown token is no number, without ending the process", async () => {
  const { loadNative } = await import("../../src/addon/native.js");
  const { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } = await import("node:fs");
  const folder = mkdtempSync(join(tmpdir(), "bge-unknown-token-"));
  try {
    const file = join(folder, "model.gguf");
    copyFileSync(await goldenGguf("bert-reranker", "f32"), file);
    const bytes = readFileSync(file);
    const key = "tokenizer.ggml.unknown_token_id";
    const at = bytes.indexOf(key) + key.length;
    bytes.writeUInt32LE(6, at); // u32 becomes f32
    writeFileSync(file, bytes);
    await expect(loadNative().readLeanGguf(file)).rejects.toMatchObject({ code: "MODEL_INVALID" });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it("reads the best window of a long text", async () => {
  const filler = "Nothing of interest is written in this sentence. ".repeat(2000);
  const [result] = await reranker.rerank("panda bamboo", [filler], { overflow: "chunk", maxChunks: 5, maxLength: 64 });
  expect(result?.chunk).toMatchObject({ count: 5 });
  expect(result?.truncated).toBe(true);
  expect(filler.slice(result?.chunk?.start, result?.chunk?.end)).toMatch(/^Nothing .*sentence\. $/);
});

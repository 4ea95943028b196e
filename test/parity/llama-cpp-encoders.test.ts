// Encoder files as llama.cpp's converter writes them: our golden files without our keys. Those that say all load; the others are
// refused, saying what is missing.
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { loadNative } from "../../src/addon/native.js";
import type { MetadataEntry } from "../../src/gguf/metadata-entry.js";
import { FlagReranker } from "../../src/index.js";
import { goldenGguf, readCases } from "../golden.js";

const folder = mkdtempSync(path.join(tmpdir(), "bge-llama-cpp-"));
afterAll(() => rmSync(folder, { recursive: true }));

async function foreign(checkpoint: string, changes: Readonly<Record<string, MetadataEntry[2] | undefined>> = {}): Promise<string> {
  const addon = loadNative();
  const file = await goldenGguf(checkpoint, "f32");
  const { metadata, tensors } = addon.readGguf(file);
  const kept = Object.entries(metadata).filter(([key]) => !/^reranker\.|^tokenizer\.huggingface\.json$/.test(key));
  const entries = kept.flatMap(([key, { type, value }]): MetadataEntry[] => {
    if (!Object.hasOwn(changes, key)) return [[key, type, value]];
    const changed = changes[key];
    return changed === undefined ? [] : [[key, type, changed]];
  });
  const output = path.join(folder, `${Math.random()}.gguf`);
  const written = addon.writeGgufHeader(
    output,
    entries,
    tensors.map(({ name, type, shape }) => ({ name, type, shape })),
  );
  const bytes = readFileSync(file);
  const target = openSync(output, "r+");
  for (const [i, { offset, sizeBytes }] of tensors.entries()) writeSync(target, bytes, offset, sizeBytes, written.tensors[i]?.offset ?? 0);
  closeSync(target);
  return output;
}

describe("ModernBERT", () => {
  it("gives the official scores where the name says what the file does not", async () => {
    const file = await foreign("gte-modernbert-reranker", { "general.name": "Gte Reranker Modernbert Base" });
    await using reranker = await FlagReranker.load(file, { devices: "cpu" });
    expect(reranker.model).toMatchObject({ truncation: "longest_first" });
    for (const id of ["basic", "multilingual", "medium", "max-length-33"]) {
      const c = readCases("gte-modernbert-reranker").find((each) => each.id === id);
      const scores = await reranker.computeScore(c?.pairs ?? [], {
        maxLength: (c?.compute_score["max_length"] as number | undefined) ?? null,
      });
      for (const [i, score] of scores.entries()) expect(Math.abs(score - Number(c?.scores[i])), `${id} ${i}`).toBeLessThan(2e-4);
    }
  });

  it.each<[string, Readonly<Record<string, MetadataEntry[2] | undefined>>, string]>([
    ["no pooling", {}, "reranker.pooling"],
    [
      "no theta of local layers",
      { "general.name": "gte-reranker-modernbert-base", "modern-bert.rope.freq_base_swa": undefined },
      "freq_base_swa",
    ],
    [
      "no pattern",
      { "general.name": "gte-reranker-modernbert-base", "modern-bert.attention.sliding_window_pattern": undefined },
      "window_pattern",
    ],
  ])("is refused with %s", async (_, changes, message) => {
    const file = await foreign("gte-modernbert-reranker", changes);
    await expect(FlagReranker.load(file, { devices: "cpu" })).rejects.toMatchObject({ message: expect.stringContaining(message) });
  });
});

it("DistilBERT is refused: the file does not say its head's activation", async () => {
  const file = await foreign("distilbert-reranker");
  await expect(FlagReranker.load(file, { devices: "cpu" })).rejects.toMatchObject({
    code: "MODEL_UNSUPPORTED",
    message: expect.stringContaining("reranker.head.activation"),
  });
});

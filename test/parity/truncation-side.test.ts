// Checkpoints whose tokenizer cuts texts at their beginning (`truncation_side: left`), with the ids and scores of the reference.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { convert, FlagAutoReranker, type Pair, type Reranker } from "../../src/index.js";
import { copyGolden, editJson, temporaryFolder } from "../unit/convert-fixtures.js";

interface Run {
  readonly checkpoint: string;
  readonly maxLength: number;
  readonly truncation?: "longest_first";
  readonly ids: readonly (readonly number[])[];
  readonly scores?: readonly number[];
}
const { pairs, runs }: { pairs: Pair[]; runs: Run[] } = JSON.parse(
  readFileSync(new URL("truncation-side-cases.json", import.meta.url), "utf8"),
);

async function load(checkpoint: string, file = "tokenizer_config.json", change: object = { truncation_side: "left" }): Promise<Reranker> {
  const folder = await copyGolden(checkpoint);
  await editJson(folder, file, { ...change });
  const output = join(await temporaryFolder(), "model.gguf");
  await convert(folder, { output, outtype: "f32" });
  return FlagAutoReranker.fromFinetuned(output, { devices: "cpu" });
}

const idsOf = (reranker: Reranker, { maxLength, truncation }: Run) =>
  pairs.map(([query, document]) => [...reranker.encodePair(query, document, { maxLength, truncation }).inputIds]);

describe.each([...new Set(runs.map(({ checkpoint }) => checkpoint))])("%s", (checkpoint) => {
  it("reads the ends of texts that are too long, and gives the reference's scores", async () => {
    await using reranker = await load(checkpoint);
    for (const run of runs.filter((each) => each.checkpoint === checkpoint)) {
      const { maxLength, truncation, ids, scores } = run;
      expect(idsOf(reranker, run), `${maxLength}, ${truncation}`).toEqual(ids);
      if (!scores) continue;
      const found = await reranker.computeScore(pairs, { maxLength });
      for (const [i, score] of found.entries()) expect(Math.abs(score - (scores[i] as number)), `pair ${i}`).toBeLessThan(2e-4);
    }
  });
});

it("tokenizer.json may say so too", async () => {
  const run = runs.find(({ checkpoint }) => checkpoint === "bert-reranker") as Run;
  const truncation = { direction: "Left", max_length: 512, strategy: "LongestFirst", stride: 0 };
  await using reranker = await load("bert-reranker", "tokenizer.json", { truncation });
  expect(idsOf(reranker, run)).toEqual(run.ids);
});

it("says that a text was cut, and chunks have all of it", async () => {
  await using reranker = await load("gemma-reranker");
  const document = Array.from({ length: 300 }, (_, i) => `word${i}`).join(" ");
  const [cut] = await reranker.rerank("what?", [document], { maxLength: 60 });
  expect(cut).toMatchObject({ truncated: true });
  const [chunked] = await reranker.rerank("what?", [document], { maxLength: 60, overflow: "chunk", maxChunks: 1000 });
  expect(chunked).toMatchObject({ truncated: false });
  const end = document.slice(-500);
  const [ofEnd] = await reranker.rerank("what?", [end], { maxLength: 60 });
  expect(cut?.logit).toBeCloseTo(ofEnd?.logit as number, 5);
});

// The same weights under other settings: layer types, thetas, windows, pooling, activations, buckets of distances, no scaling.
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { convert, FlagAutoReranker } from "../../src/index.js";
import { readCases } from "../golden.js";
import { copyGolden, editConfig } from "../unit/convert-fixtures.js";

interface Variant {
  readonly checkpoint: string;
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly scores: readonly number[];
}

const { variants } = JSON.parse(readFileSync(path.join(path.dirname(fileURLToPath(import.meta.url)), "config-variants.json"), "utf8")) as {
  variants: Variant[];
};

it.each(variants.map((variant) => [variant.checkpoint, variant.name, variant] as const))("%s: %s", async (checkpoint, _, variant) => {
  const folder = await copyGolden(checkpoint);
  await editConfig(folder, Object.fromEntries(Object.entries(variant.config).map(([key, value]) => [key, value ?? undefined])));
  const output = path.join(folder, "variant.gguf");
  await convert(folder, { output, outtype: "f32" });
  const reranker = await FlagAutoReranker.fromFinetuned(output, { devices: "cpu" });
  const pairs = readCases(checkpoint).find(({ id }) => id === "medium")?.pairs ?? [];
  const scores = await reranker.computeScore(pairs);
  await reranker.dispose();
  expect(scores).toHaveLength(variant.scores.length);
  for (const [i, score] of scores.entries()) expect(Math.abs(score - (variant.scores[i] as number)), `pair ${i}`).toBeLessThan(2e-4);
});

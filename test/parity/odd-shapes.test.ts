// Head, hidden and feed-forward sizes that no vector width divides, on every level of kernels against stock ggml, which is the
// other implementation of the same maths. Each level runs in a process of its own, over the built package.
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { convert } from "../../src/convert/convert.js";
import { CPU_LEVELS, type LevelRun, runAtLevel } from "../cpu-levels.js";
import { temporaryFolder } from "../unit/convert-fixtures.js";
import { reshaped, type Shape } from "./reshaped.js";

const SHAPES: readonly Shape[] = [
  { golden: "bert-reranker", hidden: 130, heads: 5, ff: 101 }, // heads of 26, as TinyBERT has them
  { golden: "bert-reranker", hidden: 39, heads: 3, ff: 77 },
  { golden: "bert-reranker", hidden: 7, heads: 7, ff: 3 },
  { golden: "xlmr-reranker", hidden: 36, heads: 4, ff: 33 },
  { golden: "gemma-reranker", hidden: 45, heads: 3, kvHeads: 1, headDim: 10, ff: 51 },
  { golden: "gemma2-lightweight-reranker", hidden: 57, heads: 4, kvHeads: 2, headDim: 6, ff: 35 },
  { golden: "minicpm-layerwise-reranker", hidden: 66, heads: 3, kvHeads: 3, ff: 43 },
];

const nameOf = ({ golden, hidden, heads, ff }: (typeof SHAPES)[number]) => `${golden} ${hidden} by ${heads}, ${ff}`;

const PAIRS = [
  ["what is a panda?", "The giant panda is a bear that eats bamboo."],
  ["what is a panda?", ""],
  ["panda", "bamboo ".repeat(60)],
  ...Array.from({ length: 12 }, (_, i) => ["a query", "word ".repeat(1 + i * 3)]),
];

describe.each(["f32", "q8_0"])("%s", (outtype) => {
  let models: string[] = [];
  let plain: (readonly number[])[] = [];
  beforeAll(async () => {
    const folder = await temporaryFolder();
    models = [];
    for (const [i, shape] of SHAPES.entries()) {
      const output = path.join(folder, `${i}.gguf`);
      await convert(await reshaped(shape), { output, outtype });
      models.push(output);
    }
    plain = ((await runAtLevel(models, PAIRS, "plain")) as LevelRun[]).map(({ scores }) => scores);
  });

  it("scores that tell texts apart", () => {
    for (const [i, scores] of plain.entries()) expect(new Set(scores).size, nameOf(SHAPES[i] as never)).toBeGreaterThan(PAIRS.length / 2);
  });

  it.each(CPU_LEVELS.slice(1))("%s", async (isa) => {
    const got = (await runAtLevel(models, PAIRS, isa))?.map(({ scores }) => scores);
    if (!got) return; // not on this machine
    for (const [i, scores] of plain.entries()) {
      const size = Math.max(1, ...scores.map(Math.abs));
      const error = Math.max(...scores.map((score, j) => Math.abs(score - (got[i]?.[j] as number)))) / size;
      expect(error, `${nameOf(SHAPES[i] as never)}: ${got[i]} instead of ${scores}`).toBeLessThan(outtype === "f32" ? 2e-4 : 0.1);
    }
  });
});

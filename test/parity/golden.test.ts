// Scores of every golden case against FlagEmbedding, through convert, load and computeScore.
import { describe, expect, it } from "vitest";
import { FlagAutoReranker, type LoadOptions, type Pair, type Reranker, type ScoreOptions } from "../../src/index.js";
import { checkpoints, type GoldenCase, goldenGguf, optionsOf, readCases, readTokenization } from "../golden.js";

const flat = (scores: readonly number[] | readonly number[][]): number[] => (scores as number[][]).flat();

/** Layers the reference drops or mixes up, where this package throws or reads the right head instead (README, differences). */
const differs: Record<string, { readonly cutoffLayers: number[] } | "throws"> = {
  "cutoff-with-invalid": "throws",
  "minicpm-layerwise-reranker/cutoff-unsorted": { cutoffLayers: [] },
};

const maxDifference = (a: readonly number[], b: readonly number[]): number =>
  a.length === b.length ? Math.max(0, ...a.map((x, i) => Math.abs(x - (b[i] as number)))) : Number.POSITIVE_INFINITY;

describe.each(checkpoints)("$name", ({ name, tolerance }) => {
  const loaded = new Map<string, Promise<Reranker>>();
  const load = async (c: GoldenCase, outtype: string) => {
    const options: LoadOptions = { ...optionsOf(c.constructor), devices: process.env.BGE_TEST_DEVICE ?? "cpu" };
    const key = outtype + JSON.stringify(options);
    if (!loaded.has(key))
      loaded.set(
        key,
        goldenGguf(name, outtype).then((file) => FlagAutoReranker.fromFinetuned(file, options)),
      );
    return (await loaded.get(key)) as Reranker;
  };

  const score = async (c: GoldenCase, outtype: string, more: ScoreOptions = {}) => {
    const reranker = await load(c, outtype);
    const input = c.flat_pair ? (c.pairs[0] as Pair) : c.pairs;
    return reranker.computeScore(input, { ...optionsOf(c.compute_score), ...more } as ScoreOptions);
  };

  it.each(readCases(name).map((c) => [c.id, c] as const))("%s", async (id, c) => {
    const different = differs[id] ?? differs[`${name}/${id}`];
    if (different === "throws") {
      await expect(score(c, "f32")).rejects.toThrow(RangeError);
      return;
    }
    const got = await score(c, "f32");
    const limit = Math.max(tolerance, 10 * c.fp32_noise);
    if (!different) expect(maxDifference(flat(got), flat(c[c.returns]))).toBeLessThan(limit);
    if (c.scores_attn_softcap) {
      const capped = await score(c, "f32", { attentionSoftcap: true, normalize: false });
      expect(maxDifference(flat(capped), flat(c.scores_attn_softcap))).toBeLessThan(limit);
    }
  });

  it("gives the token ids of the reference", async () => {
    const basic = { constructor: {}, compute_score: {} } as GoldenCase;
    const plain = await load(basic, "f32");
    const { strings, model_inputs } = readTokenization(name);
    for (const { text, ids } of strings) expect(Array.from(plain.tokenize(text)), JSON.stringify(text)).toEqual(ids);
    for (const input of model_inputs) {
      const reranker = await load(input as unknown as GoldenCase, "f32");
      const { max_length, query_max_length, prompt, instruction } = input.compute_score as Record<string, never>;
      const encoded = reranker.encodePair(
        ...input.pair,
        optionsOf({ max_length, query_max_length, instruction, ...(prompt !== undefined && { prompt }) }),
      );
      expect(Array.from(encoded.inputIds), JSON.stringify(input.pair)).toEqual(input.input_ids);
      if (input.token_type_ids) expect(Array.from(encoded.tokenTypeIds)).toEqual(input.token_type_ids);
    }
  });

  it("scores a pair alone as in a batch, and shuffled as in order", async () => {
    const basic = readCases(name).filter(
      (c) => c.tags.includes("many") && Object.keys(c.compute_score).length === 0 && !c.tags.includes("edge"),
    )[0] as GoldenCase;
    const reranker = await load({ ...basic, constructor: {} } as GoldenCase, "f32");
    const pairs: readonly Pair[] = basic.pairs;
    const together = await reranker.computeScore(pairs);
    const backwards = await reranker.computeScore([...pairs].reverse());
    expect(maxDifference(together, [...backwards].reverse())).toBeLessThan(1e-5);
    for (const [i, pair] of pairs.entries()) expect(Math.abs((await reranker.computeScore(pair))[0]! - together[i]!)).toBeLessThan(1e-5);
  });

  it.each(["f16", "bf16", "q8_0", "q4_k"])("prints the deviation of %s", async (outtype) => {
    const cases = readCases(name).filter(
      (c) => ["basic", "medium", "multilingual-all"].includes(c.id) || (c.tags.includes("many") && c.returns === "scores"),
    );
    const reference: number[] = [];
    const got: number[] = [];
    for (const c of cases) {
      if (differs[c.id] ?? differs[`${name}/${c.id}`]) continue;
      got.push(...flat(await score(c, outtype)));
      reference.push(...flat(c.scores));
    }
    const errors = got.map((x, i) => Math.abs(x - (reference[i] as number))).sort((a, b) => a - b);
    const at = (q: number) => (errors[Math.floor(q * (errors.length - 1))] as number).toExponential(1);
    console.log(`${name} ${outtype}: |logit error| median ${at(0.5)}, 99 % ${at(0.99)}, max ${at(1)} over ${errors.length} scores`);
    // Tiny random models react strongly, so the scores' own spread is the yardstick: a broken conversion is off by all of it.
    const mean = reference.reduce((a, b) => a + b, 0) / reference.length;
    const spread = Math.sqrt(reference.reduce((sum, x) => sum + (x - mean) ** 2, 0) / reference.length);
    // Rows of 96 do not divide into Q4_K's blocks of 256; the converter takes Q5_0 for those.
    expect(errors[Math.floor(0.5 * errors.length)] as number).toBeLessThan((outtype === "q4_k" ? 0.6 : 0.25) * spread);
  });
});

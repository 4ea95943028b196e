import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { calibrate, fitCalibration } from "../../src/eval/calibrate.js";
import { thresholdFigures } from "../../src/eval/thresholds.js";
import { type Calibration, calibratedScore, parseCalibration } from "../../src/reranker/calibration.js";
import { openModel } from "../../src/reranker/load.js";
import type { LoadOptions } from "../../src/reranker/options.js";
import { Reranker } from "../../src/reranker/reranker.js";
import { type FakeOptions, fakeNative, MODELS } from "./fake-native.js";

interface ReferenceCase {
  readonly name: string;
  readonly examples: readonly [logit: number, label: number][];
  readonly slope: number;
  readonly intercept: number;
  readonly at: readonly number[];
  readonly platt: readonly number[];
  readonly isotonic: readonly number[];
  readonly curve: readonly [threshold: number, precision: number, recall: number][];
}

/** What scikit-learn makes of some labelled scores, by _SigmoidCalibration, IsotonicRegression and precision_recall_curve. */
const reference: { readonly cases: readonly ReferenceCase[] } = JSON.parse(
  readFileSync(new URL("../data/calibration/scikit-learn.json", import.meta.url), "utf8"),
);
const examplesOf = ({ examples }: ReferenceCase) => examples.map(([logit, label]) => ({ logit, relevant: label === 1 }));

describe.each(reference.cases)("as scikit-learn: $name", (c) => {
  it("Platt scaling", () => {
    const fit = fitCalibration(examplesOf(c));
    if (fit.curve.kind !== "platt") throw new Error(fit.curve.kind);
    expect(fit.curve.slope / c.slope).toBeCloseTo(1, 3);
    expect(Math.abs(fit.curve.intercept - c.intercept)).toBeLessThan(1e-3 * Math.max(1, Math.abs(c.intercept)));
    for (const [i, logit] of c.at.entries()) expect(Math.abs(calibratedScore(fit, logit) - (c.platt[i] ?? 0))).toBeLessThan(1e-4);
  });

  it("isotonic regression", () => {
    const fit = fitCalibration(examplesOf(c), { method: "isotonic" });
    for (const [i, logit] of c.at.entries()) expect(Math.abs(calibratedScore(fit, logit) - (c.isotonic[i] ?? 0))).toBeLessThan(1e-6);
  });

  it("precision and recall over thresholds", () => {
    const figures = thresholdFigures(examplesOf(c)).reverse();
    expect(figures.map(({ logit }) => logit)).toEqual(c.curve.map(([logit]) => logit));
    for (const [i, { precision, recall }] of figures.entries()) {
      expect(Math.abs(precision - (c.curve[i]?.[1] ?? 0))).toBeLessThan(1e-9);
      expect(Math.abs(recall - (c.curve[i]?.[2] ?? 0))).toBeLessThan(1e-9);
    }
  });

  it.each([0.5, 0.8, 0.95, 1])("the lowest threshold of precision %s", (precision) => {
    const { threshold } = fitCalibration(examplesOf(c), { precision });
    const lowest = c.curve.find(([, p, recall]) => p >= precision && recall > 0);
    expect(threshold?.logit).toBe(lowest?.[0]);
    expect(threshold?.score).toBe(threshold ? calibratedScore(fitCalibration(examplesOf(c)), threshold.logit) : undefined);
  });
});

describe("fitCalibration", () => {
  const example = (logit: number, relevant: boolean) => ({ logit, relevant });

  it("says when no threshold is good enough", () => {
    const mixed = [example(3, false), example(2, true), example(1, false), example(0, true)];
    expect(fitCalibration(mixed, { precision: 0.9 }).threshold).toBeNull();
    expect(fitCalibration(mixed, { precision: 0.5 }).threshold).toMatchObject({ logit: 0, precision: 0.5, recall: 1, pairs: 4 });
  });

  it("takes as many pairs as there are", () => {
    const many = Array.from({ length: 300_000 }, (_, i) => example((i % 1000) / 100, i % 1000 > 500));
    for (const method of ["platt", "isotonic"] as const) expect(fitCalibration(many, { method }).threshold?.logit).toBeGreaterThan(4);
  });

  it("never falls: scores that are the wrong way round say nothing", () => {
    const reversed = [example(2, false), example(1, false), example(-1, true), example(-2, true)];
    for (const method of ["platt", "isotonic"] as const) {
      const fit = fitCalibration(reversed, { method });
      expect(calibratedScore(fit, -2)).toBeCloseTo(0.5, 6);
      expect(calibratedScore(fit, 2)).toBeCloseTo(0.5, 6);
    }
  });

  it.each([
    ["no pairs", [], RangeError, "0 relevant of 0"],
    ["only relevant ones", [example(1, true), example(2, true)], RangeError, "2 relevant of 2"],
    ["a logit that is no number", [example(Number.NaN, true), example(2, false)], RangeError, "finite"],
  ])("rejects %s", (_, examples, error, message) => {
    expect(() => fitCalibration(examples)).toThrow(error);
    expect(() => fitCalibration(examples)).toThrow(message);
  });

  it.each([[{ precision: 0 }], [{ precision: 1.1 }], [{ method: "beta" }], [{ treshold: 1 }]])("rejects %j", (options) => {
    expect(() => fitCalibration([example(1, true), example(0, false)], options as never)).toThrow(/Expected|Unknown/);
  });
});

const folder = mkdtempSync(join(tmpdir(), "bge-calibrate-"));
const file = join(folder, "model.gguf");
writeFileSync(file, "");
afterAll(() => rmSync(folder, { recursive: true }));

async function load(fake: FakeOptions = {}, options: LoadOptions = {}) {
  const native = fakeNative(fake);
  return new Reranker(await openModel(file, options, undefined, native.environment));
}

const PAIRS = [
  { query: "abc", document: "abc", relevant: true },
  { query: "abc", document: "ab", relevant: true },
  { query: "abc", document: "a", relevant: false },
  { query: "abc", document: "x", relevant: false },
];

describe("calibrate", () => {
  it("fits logits, whatever the scores are at load, and names the model", async () => {
    const calibration = await calibrate(await load({}, { normalize: true }), PAIRS, { precision: 1 });
    expect(calibration).toMatchObject({ model: "tiny-bert", cutoffLayer: null, compressRatio: null, pairs: 4, relevantPairs: 2 });
    expect(calibration.threshold).toMatchObject({ logit: 2, precision: 1, recall: 1, pairs: 2 });
    expect(parseCalibration(JSON.parse(JSON.stringify(calibration)))).toEqual(calibration);
  });

  it("remembers the layer and the ratio", async () => {
    const reranker = await load({ header: MODELS.lightweight });
    const calibration = await calibrate(reranker, PAIRS, { scoring: { cutoffLayers: 4, compressRatio: 2 } });
    expect(calibration).toMatchObject({ cutoffLayer: 4, compressRatio: 2 });
    await expect(calibrate(reranker, PAIRS, { scoring: { cutoffLayers: [4, 5] } })).rejects.toThrow("one cutoff layer");
  });

  it.each([
    ["a pair without a label", [{ query: "q", document: "d" }]],
    ["a grade for a label", [{ query: "q", document: "d", relevant: 1 }]],
    ["a pair of strings", [["q", "d"]]],
  ])("rejects %s", async (_, pairs) => {
    await expect(calibrate(await load(), pairs as never)).rejects.toThrow("Expected pair 0 to be");
  });
});

describe("a calibration", () => {
  const platt = async () => calibrate(await load(), PAIRS, { precision: 1 });

  it("makes scores probabilities, in rerank and computeScore, at a call and at load", async () => {
    const calibration = await platt();
    const expected = [3, 1].map((logit) => calibratedScore(calibration, logit));
    const reranker = await load();
    const results = await reranker.rerank("abc", ["a", "abc"], { calibration });
    expect(results).toMatchObject([
      { index: 1, logit: 3, score: expected[0], relevant: true },
      { index: 0, logit: 1, score: expected[1], relevant: false },
    ]);
    const atLoad = await load({}, { calibration });
    expect(await atLoad.computeScore(["abc", "abc"])).toEqual([expected[0]]);
    expect(await atLoad.computeScore(["abc", "abc"], { normalize: false })).toEqual([3]);
    expect(await (await load({}, { normalize: true })).computeScore(["abc", "a"], { calibration })).toEqual([expected[1]]);
    expect(await reranker.rerank("abc", ["a", "abc"], { calibration, minScore: 0.5 })).toHaveLength(1);
  });

  it("does not speak of a threshold that was not found", async () => {
    const calibration = { ...(await platt()), threshold: null };
    const [result] = await (await load()).rerank("abc", ["a"], { calibration });
    expect(result).not.toHaveProperty("relevant");
  });

  it("is refused by another model, layer or ratio", async () => {
    const calibration = await platt();
    const other = await load({ header: MODELS.layerwise });
    await expect(other.rerank("q", ["d"], { calibration })).rejects.toThrow(
      'made with model "tiny-bert", and this call has "tiny-minicpm"',
    );
    const of4 = await calibrate(other, PAIRS, { scoring: { cutoffLayers: 4 } });
    await expect(other.rerank("q", ["d"], { calibration: of4 })).rejects.toThrow("made with cutoffLayer 4, and this call has 8");
    await expect(other.computeScore(["q", "d"], { cutoffLayers: [4, 8], calibration: of4 })).rejects.toThrow("one cutoff layer");
    expect(await other.rerank("q", ["d"], { cutoffLayers: 4, calibration: of4 })).toHaveLength(1);
  });

  it("is what normalize means, and excludes asking for logits", async () => {
    const calibration = await platt();
    const [calibrated] = await (await load()).rerank("abc", ["a"], { calibration });
    expect(await (await load()).rerank("abc", ["a"], { calibration, normalize: true })).toEqual([calibrated]);
    expect(await (await load({}, { calibration })).rerank("abc", ["a"], { normalize: true })).toEqual([calibrated]);
    await expect((await load()).rerank("q", ["d"], { calibration, normalize: false })).rejects.toThrow("give one of them");
    await expect(load({}, { calibration, normalize: false })).rejects.toThrow("give one of them");
  });

  const change = (changes: object): Record<string, unknown> => ({
    format: "bge-reranker-calibration",
    version: 1,
    model: null,
    cutoffLayer: null,
    compressRatio: null,
    curve: { kind: "platt", slope: 1, intercept: 0 },
    threshold: null,
    ...changes,
  });
  it.each([
    ["no object", 5, "got `5`"],
    ["another file", { pairs: 3 }, "its `format` is nothing"],
    ["a later version", change({ version: 2 }), "this release reads 1"],
    ["a model that is no name", change({ model: 5 }), "`model`"],
    ["a layer that is no integer", change({ cutoffLayer: "8" }), "`cutoffLayer`"],
    ["an unknown curve", change({ curve: { kind: "beta" } }), 'of the kind "beta"'],
    ["no curve", change({ curve: undefined }), "of the kind nothing"],
    ["a falling sigmoid", change({ curve: { kind: "platt", slope: -1, intercept: 0 } }), "`slope`"],
    ["a curve that turns", change({ curve: { kind: "isotonic", logits: [0, 1], scores: [1, 0] } }), "do not ascend"],
    ["a curve without points", change({ curve: { kind: "isotonic", logits: [], scores: [] } }), "do not ascend"],
    ["a curve of unequal lists", change({ curve: { kind: "isotonic", logits: [0, 1], scores: [1] } }), "differ in number"],
    ["probabilities above 1", change({ curve: { kind: "isotonic", logits: [0, 1], scores: [0, 2] } }), "from 0 to 1"],
    ["a threshold without a logit", change({ threshold: { score: 1 } }), "`threshold`"],
  ])("is checked: %s", async (_, value, message) => {
    expect(() => parseCalibration(value)).toThrow(TypeError);
    await expect((await load()).rerank("q", ["d"], { calibration: value as unknown as Calibration })).rejects.toThrow(message);
  });
});

import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type Evaluation, evaluate, formatRun, type Gain, type Qrels, type Run, rank } from "../../src/eval/index.js";

type Json = Record<string, Record<string, number>>;
const fixture = JSON.parse(readFileSync(new URL("../data/trec-eval/random.json", import.meta.url), "utf8")) as Record<string, Json>;

const asMaps = (json: Json): Run & Qrels =>
  new Map(Object.entries(json).map(([query, scores]) => [query, new Map(Object.entries(scores))]));
const run = asMaps(fixture.run ?? {});
const qrels = asMaps(fixture.qrels ?? {});

function expectFigures(evaluation: Evaluation, expected: Json) {
  expect([...evaluation.perQuery.keys()].sort()).toEqual(Object.keys(expected).sort());
  for (const [query, figures] of Object.entries(expected)) {
    for (const [name, figure] of Object.entries(figures)) {
      expect(evaluation.perQuery.get(query)?.[name], `${name} of ${query}`).toBeCloseTo(figure, 12);
    }
  }
}

const namesOf = (expected: Json) => Object.keys(Object.values(expected)[0] ?? {});

describe("figures of trec_eval", () => {
  it.each(["linear", "exponential"] as const)("%s gain", (gain: Gain) => {
    const expected = fixture[gain] ?? {};
    expect(namesOf(expected).length).toBeGreaterThan(5);
    expectFigures(evaluate(run, qrels, { gain, metrics: namesOf(expected) }), expected);
  });

  it("judged documents only", () => {
    const expected = fixture.judgedOnly ?? {};
    expectFigures(evaluate(run, qrels, { gain: "linear", metrics: namesOf(expected), judgedOnly: true }), expected);
  });

  it("means are over the queries of both, or over all judged ones", () => {
    const { perQuery, means } = evaluate(run, qrels, { metrics: ["map"] });
    const sum = [...perQuery.values()].reduce((total, figures) => total + (figures.MAP ?? 0), 0);
    expect(perQuery.size).toBe(11);
    expect(means.MAP).toBeCloseTo(sum / 11, 12);
    expect(evaluate(run, qrels, { metrics: ["map"], complete: true }).means.MAP).toBeCloseTo(sum / 12, 12);
  });
});

describe("by hand", () => {
  const one = (scores: Record<string, number>, grades: Record<string, number>, metrics: string[], gain: Gain = "exponential") =>
    evaluate(asMaps({ q: scores }), asMaps({ q: grades }), { metrics, gain }).means;

  // Ranking x, a, b, c; a has grade 2, c grade 1, d (grade 3) is not found.
  const scores = { a: 3, b: 2, c: 1, x: 4 };
  const grades = { a: 2, b: 0, c: 1, d: 3 };

  it("rank metrics", () => {
    expect(one(scores, grades, ["MRR", "MRR@1", "MAP", "MAP@2", "Recall@2", "Recall@4", "P@2", "P@10", "Success@1", "Success@2"])).toEqual({
      MRR: 1 / 2,
      "MRR@1": 0,
      MAP: (1 / 2 + 2 / 4) / 3,
      "MAP@2": 1 / 2 / 3,
      "Recall@2": 1 / 3,
      "Recall@4": 2 / 3,
      "P@2": 1 / 2,
      "P@10": 2 / 10,
      "Success@1": 0,
      "Success@2": 1,
    });
  });

  it("nDCG with both gains", () => {
    const [two, three, five] = [Math.log2(3), 2, Math.log2(5)]; // discounts of ranks 2, 3 and 4
    expect(one(scores, grades, ["nDCG@10"])["nDCG@10"]).toBeCloseTo((3 / two + 1 / five) / (7 + 3 / two + 1 / three), 12);
    expect(one(scores, grades, ["nDCG@10"], "linear")["nDCG@10"]).toBeCloseTo((2 / two + 1 / five) / (3 + 2 / two + 1 / three), 12);
  });

  it("equal scores are ordered by id, descending, as bytes of UTF-8", () => {
    const ids = ["a", "b", "B", "a1", "\uff21", "\u{1f600}", "é"];
    const byBytes = [...ids].sort((x, y) => Buffer.compare(Buffer.from(y), Buffer.from(x)));
    expect(rank(new Map(ids.map((id) => [id, 1]))).map(({ id }) => id)).toEqual(byBytes);
  });
});

describe("mistakes", () => {
  it.each(["ndcg@0", "recall", "P", "bleu@10", "MAP@", "", "nDCG@10.5"])("metric %j", (name) => {
    expect(() => evaluate(run, qrels, { metrics: [name] })).toThrow(RangeError);
  });

  it("others", () => {
    expect(() => evaluate(run, new Map())).toThrow("No query");
    expect(() => evaluate(run, qrels, { metrics: [] })).toThrow(TypeError);
    expect(() => evaluate(run, qrels, { gain: "squared" as Gain })).toThrow("squared");
  });
});

describe("formatRun", () => {
  it("writes scores in full", () => {
    const score = Math.fround(0.1);
    expect(formatRun("q", [{ id: "a", score }], "my model")).toBe(`q Q0 a 1 ${score} my_model\n`);
    expect(Number(`${score}`)).toBe(score);
  });

  it("refuses ids with blanks", () => {
    expect(() => formatRun("q", [{ id: "a b", score: 1 }], "m")).toThrow(RangeError);
  });
});

import { describe, expect, it } from "vitest";
import { wordsOf } from "../../src/eval/bm25.js";
import { Bm25 } from "../../src/eval/index.js";

describe("words", () => {
  it.each([
    ["The giant-panda's 2 ears", ["the", "giant", "panda", "s", "2", "ears"]],
    ["ＧＧＵＦ ﬁle_name", ["gguf", "file_name"]], // NFKC
    ["हिन्दी भाषा", ["हिन्दी", "भाषा"]], // marks stay with their letters
    ["北京大学在", ["北京", "京大", "大学", "学在"]],
    ["猫", ["猫"]],
    ["在Node20中", ["在", "node20", "中"]],
    ["ช้าง", ["ช้", "้า", "าง"]],
    ["?! \ud800", []],
    ["", []],
  ])("of %j", (text, words) => {
    expect(wordsOf(text)).toEqual(words);
  });
});

describe("Bm25", () => {
  it("scores by the formula", () => {
    const index = new Bm25();
    index.add("a", "panda panda bear");
    index.add("b", "bear");
    index.add("c", "river");
    // N = 3, df(panda) = 1, tf 2; length 3 of a mean of 5/3; the query has the word twice.
    const idf = Math.log(1 + 2.5 / 1.5);
    const score = (2 * idf * 2) / (2 + 0.9 * (1 - 0.4 + 0.4 * (3 / (5 / 3))));
    const found = index.search("Panda, panda?", 10);
    expect(found.map(({ id }) => id)).toEqual(["a"]);
    expect(found[0]?.score).toBeCloseTo(score, 12);
  });

  it("keeps the best, equal scores by id descending", () => {
    const index = new Bm25();
    for (let i = 0; i < 500; i++) index.add(`d${String(i).padStart(3, "0")}`, i === 250 ? "x x" : "x y");
    expect(index.search("x", 3).map(({ id }) => id)).toEqual(["d250", "d499", "d498"]);
    expect(index.search("z", 3)).toEqual([]);
    expect(index.search("", 3)).toEqual([]);
    expect(new Bm25().search("x", 3)).toEqual([]);
  });

  it("refuses odd numbers and ids twice", () => {
    expect(() => new Bm25({ k1: -1 })).toThrow(RangeError);
    expect(() => new Bm25({ b: 1.5 })).toThrow(RangeError);
    const index = new Bm25();
    index.add("a", "");
    expect(() => index.add("a", "")).toThrow(RangeError);
    expect(index.size).toBe(1);
  });
});

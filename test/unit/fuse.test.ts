import { describe, expect, it } from "vitest";
import { fuse } from "../../src/reranker/fuse.js";

describe("fuse", () => {
  it("adds 1 / (k + rank)", () => {
    const fused = fuse([
      ["a", "b", "c"],
      ["c", "a"],
    ]);
    expect(fused.map(({ hit }) => hit)).toEqual(["a", "c", "b"]);
    expect(fused[0]).toEqual({ id: "a", hit: "a", score: 1 / 61 + 1 / 62, ranks: [1, 2] });
    expect(fused[2]?.ranks).toEqual([2, null]);
  });

  it("takes objects by id or by a function, and keeps the first ranking's", () => {
    const keywords = [{ id: 7, source: "keywords" }];
    const vectors = [
      { id: 8, source: "vectors" },
      { id: 7, source: "vectors" },
    ];
    const fused = fuse([keywords, vectors], { k: 0 });
    expect(fused.map(({ hit }) => hit)).toEqual([keywords[0], vectors[0]]);
    expect(fused.map(({ score }) => score)).toEqual([1.5, 1]);
    expect(fuse([[{ path: "x" }]], { id: ({ path }) => path })[0]?.id).toBe("x");
  });

  it("keeps the order of first appearance between equal scores", () => {
    expect(fuse([["a"], ["b"]]).map(({ id }) => id)).toEqual(["a", "b"]);
  });

  it("weighs rankings", () => {
    expect(fuse([["a"], ["b"]], { weights: [1, 2] }).map(({ id }) => id)).toEqual(["b", "a"]);
    expect(fuse([["a"], ["b"]], { weights: [0, 2] }).at(-1)).toMatchObject({ id: "a", score: 0 });
  });

  it("gives nothing for nothing", () => {
    expect(fuse([])).toEqual([]);
    expect(fuse([[], []])).toEqual([]);
  });

  it.each([
    ["a hit twice in a ranking", () => fuse([["a", "b", "a"]]), RangeError, "twice, at ranks 1 and 3"],
    ["an object without an id", () => fuse([[{}]]), TypeError, "See the option `id`"],
    ["one ranking, not in an array", () => fuse(["a"] as never), TypeError, "array of arrays"],
    ["a negative k", () => fuse([["a"]], { k: -1 }), RangeError, "`k`"],
    ["too few weights", () => fuse([["a"], ["b"]], { weights: [1] }), RangeError, "2 numbers"],
    ["a weight below 0", () => fuse([["a"]], { weights: [-1] }), RangeError, "at least 0"],
    ["an unknown option", () => fuse([["a"]], { topN: 1 } as never), TypeError, "Unknown option `topN`"],
  ])("rejects %s", (_, call, error, message) => {
    expect(call).toThrow(error);
    expect(call).toThrow(message);
  });
});

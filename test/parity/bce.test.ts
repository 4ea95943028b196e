// bce-reranker against BCEmbedding 0.1.5: its rule of truncation, and windows of tokens over long passages. The weights are those
// of the golden xlmr-reranker; the name of the repository says whose rules count.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { convert, FlagAutoReranker, type Reranker } from "../../src/index.js";
import { checkpointFolder } from "../golden.js";

interface Case {
  readonly id: string;
  readonly tags: readonly string[];
  readonly pairs: readonly [string, string][];
  readonly scores: readonly number[];
  /** Of each pair: tokens and logit of each window. */
  readonly windows?: readonly (readonly (readonly [tokens: number, logit: number])[])[];
}

const here = path.dirname(fileURLToPath(import.meta.url));
const { cases } = JSON.parse(readFileSync(path.join(here, "bce-cases.json"), "utf8")) as { cases: Case[] };
const folder = mkdtempSync(path.join(tmpdir(), "bge-bce-"));
let reranker: Reranker;

beforeAll(async () => {
  const output = path.join(folder, "bce.gguf");
  await convert(checkpointFolder("xlmr-reranker"), { output, outtype: "f32", name: "bce-reranker-base_v1" });
  reranker = await FlagAutoReranker.fromFinetuned(output, { devices: "cpu" });
});
afterAll(async () => {
  await reranker.dispose();
  rmSync(folder, { recursive: true });
});

describe("bce-reranker", () => {
  it("cuts the longer text first", () => {
    expect(reranker.model).toMatchObject({ truncation: "longest_first", name: "bce-reranker-base_v1" });
  });

  it.each(cases.filter(({ windows }) => !windows).map((each) => [each.id, each] as const))("%s", async (_, { pairs, scores }) => {
    const got = await reranker.computeScore(pairs);
    for (const [i, score] of got.entries()) expect(Math.abs(score - (scores[i] as number)), `pair ${i}`).toBeLessThan(2e-4);
  });

  it.each(cases.flatMap((each) => (each.windows ? [[each.id, each, each.windows] as const] : [])))("%s", async (_, each, windows) => {
    // All passages of a case have the same query but in `rerank-multi`.
    for (const query of new Set(each.pairs.map(([query]) => query))) {
      const places = each.pairs.flatMap(([own], i) => (own === query ? [i] : []));
      const documents = places.map((i) => each.pairs[i]?.[1] ?? "");
      const ranked = await reranker.rerank(query, documents, { overflow: "window" });
      expect(ranked).toHaveLength(places.length);
      const plan = await reranker.plan(query, documents, { overflow: "window" });
      for (const { index, logit, window, truncated } of ranked) {
        const place = places[index] as number;
        const own = windows[place] ?? [];
        expect(Math.abs(logit - (each.scores[place] as number)), `pair ${place}`).toBeLessThan(2e-4);
        expect(window?.count, `pair ${place}`).toBe(own.length);
        expect(truncated).toBe(false);
        expect(plan.pairs.filter((pair) => pair.index === index).map(({ tokens }) => tokens)).toEqual(own.map(([tokens]) => tokens));
      }
    }
  });

  it("says when the query leaves no room, or windows are left out", async () => {
    const long = "word ".repeat(600);
    await expect(reranker.rerank(long, ["a"], { overflow: "window" })).rejects.toMatchObject({ code: "INPUT_TOO_LONG" });
    const [result] = await reranker.rerank("query", [long.repeat(3)], { overflow: "window", maxChunks: 2 });
    expect(result).toMatchObject({ truncated: true, queryTruncated: false, window: { count: 2 } });
    expect((await reranker.rerank("query", [""], { overflow: "window" }))[0]?.window).toEqual({ start: 0, end: 0, count: 1 });
  });
});

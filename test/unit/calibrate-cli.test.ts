import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { run } from "../../src/cli/program.js";
import { calibratedScore, parseCalibration } from "../../src/reranker/calibration.js";
import { createHandler } from "../../src/server/index.js";
import { type FakeOptions, fakeNative } from "./fake-native.js";

// The machine's place is taken by the fake; all else is as it ships.
let fake: FakeOptions = {};
vi.mock("../../src/reranker/load.js", async (original) => {
  const load = await original<typeof import("../../src/reranker/load.js")>();
  return {
    ...load,
    openModel: (name: string, options: never, wanted: never) => load.openModel(name, options, wanted, fakeNative(fake).environment),
  };
});

const folder = mkdtempSync(join(tmpdir(), "bge-reranker-calibrate-cli-"));
const at = (name: string) => join(folder, name);
writeFileSync(at("model.gguf"), "");
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(() => {
  fake = { logit: (query, document) => [...document].filter((c) => c === query).length };
});
afterEach(() => vi.restoreAllMocks());

async function command(...args: string[]) {
  let stdout = "";
  let stderr = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    stdout += text;
    return true;
  });
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    stderr += text;
    return true;
  });
  const code = await run(["node", "bge-reranker", ...args, "-m", at("model.gguf")]);
  vi.restoreAllMocks();
  return { code, stdout, stderr };
}

const pair = (passage: string, label: unknown) => `${JSON.stringify({ query: "a", passage, label })}\n`;
const JUDGED = [pair("aaa", 2), pair("aa", true), pair("ab", 0), pair("b", false)].join("");

describe("calibrate", () => {
  it("finds the threshold of labelled pairs, and writes what other commands take", async () => {
    writeFileSync(at("judged.jsonl"), JUDGED);
    const { code, stdout, stderr } = await command("calibrate", "--pairs", at("judged.jsonl"), "-o", at("calibration.json"));
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect(stdout).toContain("pairs      4, of which 2 are relevant");
    expect(stdout).toMatch(/threshold {2}0\.\d{4} \(logit 2\.0000\): 100\.0% of the 2 pairs from there up are relevant, 100\.0%/);
    const calibration = parseCalibration(JSON.parse(readFileSync(at("calibration.json"), "utf8")));

    const ranked = await command("rerank", "--query", "a", "aaa", "b", "--calibration", at("calibration.json"), "--json");
    expect(JSON.parse(ranked.stdout).results).toMatchObject([
      { index: 0, score: calibratedScore(calibration, 3), relevant: true },
      { index: 1, score: calibratedScore(calibration, 0), relevant: false },
    ]);
    const some = await command(
      "rerank",
      "--query",
      "a",
      "aaa",
      "b",
      "--calibration",
      at("calibration.json"),
      "--min-score",
      "0.5",
      "--json",
    );
    expect(JSON.parse(some.stdout).results).toHaveLength(1);

    writeFileSync(at("pairs.jsonl"), `${JSON.stringify({ query: "a", passage: "aa" })}\n`);
    const scored = await command("score", "--pairs", at("pairs.jsonl"), "--calibration", at("calibration.json"));
    expect(JSON.parse(scored.stdout)).toEqual({ score: calibratedScore(calibration, 2) });

    const handler = createHandler({ models: [at("model.gguf")], load: { calibration } });
    const post = async (body: object) => {
      const request = new Request("http://localhost/v1/rerank", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ query: "a", documents: ["b", "aaa"], ...body }),
      });
      return ((await (await handler(request)).json()) as { results: { index: number; relevance_score: number }[] }).results;
    };
    expect(await post({})).toMatchObject([
      { index: 1, relevance_score: calibratedScore(calibration, 3) },
      { index: 0, relevance_score: calibratedScore(calibration, 0) },
    ]);
    expect((await post({ raw_scores: true }))[0]?.relevance_score).toBe(3);
    await handler.close();
  });

  it("takes a data set: candidates that are not judged are not relevant", async () => {
    writeFileSync(at("corpus.jsonl"), ["aaa", "a b", "b"].map((text, i) => `{"id": "d${i}", "text": "${text}"}\n`).join(""));
    writeFileSync(at("queries.jsonl"), '{"id": "q", "text": "a"}\n');
    writeFileSync(at("qrels.tsv"), "q d0 1\n");
    writeFileSync(at("run.jsonl"), "");
    writeFileSync(at("bm25.jsonl"), '{"query": "q", "docs": ["d2", "d1", "d0"]}\n');
    const { stdout } = await command("calibrate", folder, "--json");
    expect(JSON.parse(stdout)).toMatchObject({ pairs: 3, relevantPairs: 1, threshold: { logit: 3 } });
  });

  it("says when no score separates", async () => {
    writeFileSync(at("mixed.jsonl"), [pair("aa", false), pair("a", true), pair("b", false)].join(""));
    const { code, stdout } = await command("calibrate", "--pairs", at("mixed.jsonl"));
    expect(code).toBe(0);
    expect(stdout).toContain("threshold  none: no score separates these pairs with a precision of 90.0%. The highest is 50.0%, of 2 pairs");
  });

  it.each([
    ["no pairs", ["calibrate"], 2, "Give a folder, or --pairs"],
    ["both", ["calibrate", folder, "--pairs", "x"], 2, "Give a folder, or --pairs"],
    ["scores that are no logits", ["calibrate", "--pairs", "x", "--normalize"], 2, "leave out --normalize"],
    [
      "a label that is none",
      ["calibrate", "--pairs", at("odd.jsonl")],
      1,
      'odd.jsonl, line 1 needs "query" and "passage", two strings, and "label"',
    ],
    ["pairs of one kind", ["calibrate", "--pairs", at("one.jsonl")], 2, "1 relevant of 1"],
    ["an impossible precision", ["calibrate", "--pairs", at("judged.jsonl"), "--precision", "2"], 2, "`precision`"],
    ["a calibration that is none", ["rerank", "--query", "a", "b", "--calibration", at("odd.jsonl")], 1, "is no calibration"],
    ["a calibration that is missing", ["rerank", "--query", "a", "b", "--calibration", at("none.json")], 1, "none.json is no calibration"],
  ])("rejects %s", async (_, args, wanted, message) => {
    writeFileSync(at("judged.jsonl"), JUDGED);
    writeFileSync(at("odd.jsonl"), pair("a", "yes"));
    writeFileSync(at("one.jsonl"), pair("a", 1));
    const { code, stderr } = await command(...args);
    expect(stderr).toContain(message);
    expect(code).toBe(wanted);
  });
});

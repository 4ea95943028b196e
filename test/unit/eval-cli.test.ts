import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { run } from "../../src/cli/program.js";
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

const folder = mkdtempSync(join(tmpdir(), "bge-reranker-eval-cli-"));
const model = join(folder, "model.gguf");
const file = (name: string, text: string) => writeFileSync(join(folder, name), text);
file("model.gguf", "");
file("corpus.jsonl", ["aa", "ab", "bb", "b".repeat(80)].map((text, i) => `{"id": "d${i}", "text": "${text}"}\n`).join(""));
file("queries.jsonl", '{"id": "q1", "text": "a"}\n{"id": "q2", "text": "b"}\n{"id": "q3", "text": "c"}\n');
file("qrels.tsv", "q1 d0 2\nq1 d1 1\nq2 d3 1\nq3 d0 1\n");
file("bm25.jsonl", '{"query": "q1", "docs": ["d2", "d1", "d0"]}\n{"query": "q2", "docs": ["d0", "d3"]}\n');
afterAll(() => rmSync(folder, { recursive: true }));
beforeEach(() => {
  fake = { logit: (query, document) => [...document].filter((c) => c === query).length };
});
afterEach(() => vi.restoreAllMocks());

async function evalCommand(...args: string[]) {
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
  const code = await run(["node", "bge-reranker", "eval", ...args]);
  vi.restoreAllMocks();
  return { code, stdout, stderr };
}

describe("eval", () => {
  it("prints the first stage beside the reranked figures", async () => {
    const { code, stdout, stderr } = await evalCommand(folder, "-m", model, "--metrics", "mrr@10,success@1", "--max-length", "40");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout.split("\n").slice(1, 6)).toEqual([
      "",
      "metric     first stage  reranked   change  better  worse",
      "MRR@10          0.3333    0.6667  +0.3333       2      0",
      "Success@1       0.0000    0.6667  +0.6667       2      0",
      "",
    ]);
    expect(stdout).toMatch(/3 queries, up to 50 candidates each from bm25\.jsonl; .* on cpu/);
    expect(stdout).toMatch(/5 pairs in .* pairs\/s, .* tokens\/s; 20\.0% of pairs were cut to fit/);
    expect(stdout).toContain("Queries without candidates, counted as 0: 1");
  });

  it("prints JSON, each query if asked", async () => {
    const { stdout } = await evalCommand(folder, "-m", model, "--json", "--per-query", "--candidates", "2", "--gain", "linear");
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({
      model: expect.any(String),
      firstStage: "bm25.jsonl",
      queries: 3,
      candidates: 2,
      gain: "linear",
      pairs: 4,
    });
    expect(Object.keys(result.metrics)).toEqual(["nDCG@10", "MRR@10", "MAP", "Recall@10", "Recall@2"]);
    expect(result.metrics["Recall@2"]).toEqual({ firstStage: 0.5, reranked: 0.5 });
    expect(result.perQuery[1]).toMatchObject({ query: "q2", metrics: { "MRR@10": { firstStage: 0.5, reranked: 1 } } });
    expect(result.pairsPerSecond).toBeGreaterThan(0);
  });

  it("writes a TREC run that evaluates to the same figures", async () => {
    const output = join(folder, "reranked.txt");
    const first = await evalCommand(folder, "-m", model, "--json", "-o", output);
    expect(readFileSync(output, "utf8").split("\n")[0]).toMatch(/^q1 Q0 d0 1 2 \S+$/);
    const again = await evalCommand(folder, "--json", "--no-rerank", "--run", output);
    const figures = (stdout: string, column: string) =>
      Object.values(JSON.parse(stdout).metrics).map((metric) => (metric as never)[column]);
    expect(figures(again.stdout, "firstStage")).toEqual(figures(first.stdout, "reranked"));
  });

  it("measures the first stage alone, without a model", async () => {
    const { code, stdout } = await evalCommand(folder, "--no-rerank", "--bm25", "--per-query", "--metrics", "p@1", "--queries", "1");
    expect(code).toBe(0);
    expect(stdout).toBe(
      `${basename(folder)}: 1 query, up to 50 candidates each from BM25; first stage only\n\nquery  metric  first stage\nq1     P@1          0.0000\n\nmetric  first stage\nP@1          0.0000\n\nQueries without candidates, counted as 0: 1\n`,
    );
  });

  it.each([
    [["--metrics", "bleu"]],
    [["--gain", "cubic"]],
    [["--candidates", "0", "--no-rerank"]],
    [["--no-rerank", "-o", "x"]],
    [["--run", "x", "--bm25"]],
    [["--cutoff-layers", "8"]],
  ])("usage mistakes end with 2: %j", async (args) => {
    const { code, stdout, stderr } = await evalCommand(folder, "-m", model, ...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).not.toBe("");
    expect(existsSync("x")).toBe(false);
  });

  it("ends with 1 when a file is not as it should be, or scoring fails", async () => {
    expect(await evalCommand(join(folder, "nowhere"), "-m", model)).toMatchObject({ code: 1, stderr: expect.stringContaining("nowhere") });
    expect(await evalCommand(folder, "-m", model, "-o", join(folder, "no", "x"))).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("Cannot write"),
    });
    fake = { failWith: { code: "OUT_OF_MEMORY", message: "too small" } };
    expect(await evalCommand(folder, "-m", model)).toMatchObject({ code: 1, stderr: expect.stringContaining("OUT_OF_MEMORY") });
  });
});

// verify: golden files agree with their own cases, and anything else is told and ends with exit 1.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";
import { run } from "../../src/cli/program.js";
import { convert, verifyModel } from "../../src/index.js";
import { referenceModels } from "../../src/verify/reference-cases.js";
import { checkpointFolder, checkpoints, goldenGguf, readCases } from "../golden.js";

const folder = mkdtempSync(path.join(tmpdir(), "bge-verify-"));
afterAll(() => rmSync(folder, { recursive: true }));

const casesOf = (name: string, file = "cases.json") => path.join(checkpointFolder(name), file);

describe("verify with a file of cases", () => {
  // The parity suite scores the cases of all six.
  const three = checkpoints.filter(({ name }) => /^(bert|gemma|minicpm)-/.test(name));

  it.each(three)("agrees with those of $name", async ({ name, tolerance }) => {
    const file = await goldenGguf(name, "f32");
    const result = await verifyModel(file, { cases: casesOf(name), tolerance });
    expect(result.checks.filter((check) => !check.ok)).toEqual([]);
    expect(result.ok).toBe(true);
    const scores = readCases(name).reduce((sum, c) => sum + (c.scores as number[][]).flat().length, 0);
    expect(result.checks.filter(({ kind }) => kind === "score").length).toBeGreaterThan(scores * 0.95);
    expect(result.skipped.every(({ id }) => id.startsWith("cutoff-"))).toBe(true);
    const tokens = await verifyModel(file, { cases: casesOf(name, "tokenization.json") });
    expect(tokens).toMatchObject({ ok: true, skipped: [] });
  });

  it("tells a miss", async () => {
    const [first] = readCases("bert-reranker");
    const wrong = path.join(folder, "wrong.json");
    writeFileSync(wrong, JSON.stringify({ cases: [{ ...first, scores: [1], n_tokens: [3] }] }));
    const file = await goldenGguf("bert-reranker", "f32");
    const out = vi.spyOn(process.stdout, "write").mockReturnValue(true);
    const err = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    const code = await run(["node", "bge-reranker", "verify", file, "--cases", wrong]);
    const [stdout, stderr] = [out, err].map((spy) => spy.mock.calls.map(([text]) => text).join(""));
    vi.restoreAllMocks();
    expect(code).toBe(1);
    expect(stdout).toMatch(/FAIL {2}single-pair {2}token ids {2}3 .*\nFAIL {2}single-pair {2}score {6}1\.00000/);
    expect(stdout).toContain("0 of 2 agree");
    expect(stderr).toContain("2 of 2 comparisons");
  });

  it("reads pairs and their scores from a table", async () => {
    const file = await goldenGguf("bert-reranker", "f32");
    const [first] = readCases("bert-reranker") as unknown as { pairs: [string, string][]; scores: number[] }[];
    const table = path.join(folder, "scored.jsonl");
    const line = ([query, passage]: readonly string[], score: unknown) => `${JSON.stringify({ query, passage, score })}\n`;
    const lines = (first?.pairs ?? []).map((pair, i) => line(pair, first?.scores[i]));
    writeFileSync(table, lines.join(""));
    expect(await verifyModel(file, { cases: table })).toMatchObject({ ok: true, checks: lines.map(() => ({ kind: "score", ok: true })) });
    writeFileSync(table, lines.join("") + line(["a", "b"], "high"));
    await expect(verifyModel(file, { cases: table })).rejects.toMatchObject({
      code: "IO",
      message: expect.stringContaining(`line ${lines.length + 1} needs`),
    });
  });

  it("names what is wrong with the file", async () => {
    const file = await goldenGguf("bert-reranker", "f32");
    const refused = async (json: unknown) => {
      writeFileSync(path.join(folder, "odd.json"), JSON.stringify(json));
      await expect(verifyModel(file, { cases: path.join(folder, "odd.json") })).rejects.toMatchObject({ name: "RerankerError" });
    };
    for (const json of [3, {}, { cases: [{}] }, { cases: [{ pairs: [["a"]] }] }, { cases: [{ pairs: [["a", "b"]], scores: ["x"] }] }])
      await refused(json);
    await expect(verifyModel(file, { cases: path.join(folder, "none.json") })).rejects.toMatchObject({ code: "IO" });
  });
});

describe("verify with the published scores", () => {
  it("has cases whose texts have ids, and as many scores as pairs", () => {
    for (const [name, { cases, tokens }] of Object.entries(referenceModels)) {
      for (const { id, pairs, scores } of cases) expect(scores.length, `${name}, ${id}`).toBe(pairs.length);
      if (tokens.length === 0) continue; // published without the ids
      const known = Object.keys(tokens[0]?.texts ?? {});
      const unknown = cases.flatMap(({ pairs }) => pairs.flat()).filter((text) => !known.includes(text));
      expect(new Set(unknown).size, name).toBeLessThanOrEqual(2);
    }
  });

  it("refuses a model that nobody published scores of", async () => {
    const file = await goldenGguf("bert-reranker", "f32");
    await expect(verifyModel(file)).rejects.toMatchObject({
      code: "MODEL_NOT_FOUND",
      message: expect.stringContaining("bge-reranker-v2-m3"),
    });
  });

  it("finds that other weights are not the model they claim to be", async () => {
    const output = path.join(folder, "false.gguf");
    await convert(checkpointFolder("gemma2-lightweight-reranker"), { output, outtype: "f32", name: "bge-reranker-large" });
    const large = await verifyModel(output).catch((error: unknown) => error);
    expect(large).toMatchObject({ ok: false, model: "bge-reranker-large" });
  });
});

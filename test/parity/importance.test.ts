// measureImportance: the mean squares of the right inputs, and what quantising makes of them.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it, vi } from "vitest";
import { run as runProgram } from "../../src/cli/program.js";
import { inspectModel, type ModelFile, measureImportance, type Pair, quantize, Reranker } from "../../src/index.js";
import { checkpointFolder, goldenGguf } from "../golden.js";

const folder = mkdtempSync(join(tmpdir(), "bge-importance-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The exit code of the command; what it prints is not looked at. */
async function run(args: readonly string[]): Promise<number> {
  for (const stream of [process.stdout, process.stderr]) vi.spyOn(stream, "write").mockImplementation(() => true);
  return runProgram(["node", "bge-reranker", ...args]).finally(() => vi.restoreAllMocks());
}

const PAIRS: [string, string][] = [
  ["what is a panda?", "The giant panda is a bear that eats bamboo."],
  ["how hot is boiling water?", "Water boils at one hundred degrees Celsius at sea level."],
  ["what is a panda?", "hi"],
];

const architectures = [
  "xlmr-reranker",
  "gte-modernbert-reranker",
  "deberta-reranker",
  "gte-multilingual-reranker",
  "qwen3-reranker",
  "gemma2-lightweight-reranker",
  "minicpm-layerwise-reranker",
];

it.each(architectures)("knows every quantised weight matrix of %s, whatever the threads", async (name) => {
  const gguf = await goldenGguf(name, "f32");
  const one = await measureImportance(gguf, PAIRS, { threads: 1 });
  const two = await measureImportance(gguf, PAIRS, { threads: 2 });
  const quantised = join(folder, `${name}.gguf`);
  await quantize(gguf, quantised, "q4_0", { importance: one });
  const { tensors } = await inspectModel(quantised);
  const matrices = tensors.filter(({ type, name }) => type === "Q4_0" && name !== "token_embd.weight");
  expect(matrices.length).toBeGreaterThan(3);
  for (const { name: tensor, shape } of matrices) {
    const [a, b] = [one, two].map(({ inputs }) => inputs.get(tensor));
    expect(a?.length, tensor).toBe(shape[0]);
    a?.forEach((square, i) => {
      expect(Math.abs(square - (b?.[i] ?? Number.NaN)), tensor).toBeLessThanOrEqual(1e-4 * square + 1e-9);
    });
  }
});

it("has the mean squares of a BERT's embeddings at its first layer", async () => {
  const gguf = await goldenGguf("bert-reranker", "f32");
  const file = await inspectModel(gguf);
  const [pair] = PAIRS as [[string, string]];
  const { inputs } = await measureImportance(gguf, [pair]);
  const reranker = await Reranker.load(gguf, { devices: "cpu" });
  const { inputIds, tokenTypeIds } = reranker.encodePair(...pair);
  await reranker.dispose();

  const words = table(file, "token_embd.weight");
  const types = table(file, "token_types.weight");
  const positions = table(file, "position_embd.weight");
  const [weight, bias] = [table(file, "token_embd_norm.weight").row(0), table(file, "token_embd_norm.bias").row(0)];
  const eps = file.metadata["bert.attention.layer_norm_epsilon"]?.value as number;
  const squares = weight.map(() => 0);
  inputIds.forEach((id, at) => {
    const [type, position] = [types.row(tokenTypeIds[at] ?? 0), positions.row(at)];
    const sums = words.row(id).map((x, i) => x + (type[i] ?? Number.NaN) + (position[i] ?? Number.NaN));
    const mean = sums.reduce((sum, x) => sum + x, 0) / sums.length;
    const deviation = Math.sqrt(sums.reduce((sum, x) => sum + (x - mean) ** 2, 0) / sums.length + eps);
    for (const [i, x] of sums.entries()) {
      squares[i] = (squares[i] ?? 0) + (((x - mean) / deviation) * (weight[i] ?? 0) + (bias[i] ?? 0)) ** 2 / inputIds.length;
    }
  });
  for (const part of ["q", "k", "v"]) {
    const found = inputs.get(`blk.0.attn_${part}.weight`);
    expect(found?.length).toBe(squares.length);
    found?.forEach((square, i) => {
      expect(Math.abs(square - (squares[i] ?? Number.NaN))).toBeLessThan(1e-4 * (1 + square));
    });
  }
});

/** Rows of an F32 tensor. */
function table({ path, tensors }: ModelFile, name: string) {
  const tensor = tensors.find((each) => each.name === name);
  if (!tensor) throw new Error(`no ${name}`);
  const bytes = readFileSync(path).subarray(tensor.offset, tensor.offset + tensor.sizeBytes);
  const values = new Float32Array(Uint8Array.from(bytes).buffer);
  const columns = tensor.shape[0] ?? 1;
  return { row: (at: number) => Array.from(values.subarray(at * columns, (at + 1) * columns)) };
}

describe("quantize", () => {
  it("rounds best what matters, and says what it was made with", async () => {
    const gguf = await goldenGguf("gte-multilingual-reranker", "f32");
    const importance = await measureImportance(gguf, PAIRS, { dataset: "pandas" });
    const [plain, weighed, again] = ["plain", "weighed", "again"].map((name) => join(folder, `${name}.gguf`)) as [string, string, string];
    await quantize(gguf, plain, "q4_0");
    await quantize(gguf, weighed, "q4_0", { importance });
    await quantize(gguf, again, "q4_0", { importance });
    expect(readFileSync(weighed).equals(readFileSync(again))).toBe(true);
    const [a, b] = [await inspectModel(plain), await inspectModel(weighed)];
    expect(a.metadata["quantize.imatrix.dataset"]).toBeUndefined();
    expect(b.metadata["quantize.imatrix.dataset"]?.value).toBe("pandas");
    expect(b.metadata["quantize.imatrix.chunks_count"]?.value).toBe(PAIRS.length);
    expect(b.metadata["quantize.imatrix.entries_count"]?.value).toBe(importance.inputs.size);

    // Of each matrix: errors of the weights, each times what its input is worth.
    const exact = await inspectModel(gguf);
    const files = await Promise.all([a, b].map(widened));
    const gains: number[] = [];
    for (const { name, type } of b.tensors) {
      const worth = importance.inputs.get(name);
      if (type !== "Q4_0" || !worth) continue;
      const [before, after] = files.map((file) => weighedError(table(exact, name), table(file, name), worth, exact, name)) as [
        number,
        number,
      ];
      expect(after, name).toBeLessThan(before * 1.02);
      gains.push(Math.log(after / before));
    }
    expect(gains.length).toBeGreaterThan(3);
    expect(gains.reduce((sum, gain) => sum + gain, 0)).toBeLessThan(0);
  });

  it("rounds the embedded model's Q4_K weights to less error than without", async () => {
    const [f32, plain, weighed] = ["f32", "q4_k", "q4_k-weighed"].map((name) => join(folder, `default-${name}.gguf`)) as [
      string,
      string,
      string,
    ];
    await quantize(fileURLToPath(new URL("../../models/default.gguf", import.meta.url)), f32, "f32");
    const importance = await measureImportance(f32, PAIRS.slice(0, 2));
    await quantize(f32, plain, "q4_k");
    await quantize(f32, weighed, "q4_k", { importance });
    const exact = await inspectModel(f32);
    const files = await Promise.all(
      [plain, weighed].map(async (path) => {
        const { tensors } = await inspectModel(path);
        expect(tensors.find(({ name }) => name === "blk.3.ffn_down.weight")?.type).toBe("Q4_K");
        return widened({ path } as ModelFile);
      }),
    );
    for (const layer of [0, 3, 6]) {
      const name = `blk.${layer}.ffn_down.weight`;
      const worth = importance.inputs.get(name) as Float32Array;
      const [before, after] = files.map((file) => weighedError(table(exact, name), table(file, name), worth, exact, name)) as [
        number,
        number,
      ];
      expect(after, name).toBeLessThan(0.9 * before);
    }
  });

  it("refuses what is no importance of this model", async () => {
    const gguf = await goldenGguf("bert-reranker", "f32");
    const importance = { inputs: new Map([["blk.0.attn_q.weight", new Float32Array(7)]]), pairs: 1 };
    const output = join(folder, "refused.gguf");
    importance.inputs.get("blk.0.attn_q.weight")?.fill(1);
    await expect(quantize(gguf, output, "q4_0", { importance })).rejects.toMatchObject({ code: "CONVERT_FAILED" });
    await expect(quantize(gguf, output, "q4_0", { importance: { inputs: new Map(), pairs: 1 } })).rejects.toThrow(RangeError);
    const foreign = { inputs: new Map([["blk.9.other.weight", Float32Array.of(1)]]), pairs: 1 };
    await expect(quantize(gguf, output, "q4_0", { importance: foreign })).rejects.toThrow(/none of its weights/);
    const odd = { inputs: new Map([["blk.0.attn_q.weight", Float32Array.of(Number.NaN)]]), pairs: 1 };
    await expect(quantize(gguf, output, "q4_0", { importance: odd })).rejects.toThrow(TypeError);
    await expect(measureImportance(gguf, [])).rejects.toThrow(RangeError);
    await expect(measureImportance(gguf, ["no pair"] as unknown as Pair[])).rejects.toThrow(TypeError);
  });
});

describe("--calibrate", () => {
  const pairs = join(folder, "pairs.jsonl");
  writeFileSync(pairs, PAIRS.map(([query, passage]) => `${JSON.stringify({ query, passage })}\n`).join(""));

  it("gives convert the file that quantize makes of F32 weights", async () => {
    const gguf = await goldenGguf("gte-multilingual-reranker", "f32");
    const [quantised, converted] = [join(folder, "by-quantize.gguf"), join(folder, "by-convert.gguf")];
    expect(await run(["quantize", gguf, quantised, "q4_0", "--calibrate", pairs, "-q"])).toBe(0);
    expect(
      await run([
        "convert",
        checkpointFolder("gte-multilingual-reranker"),
        "-o",
        converted,
        "--outtype",
        "q4_0",
        "--calibrate",
        pairs,
        "-q",
      ]),
    ).toBe(0);
    const files = await Promise.all([quantised, converted].map(inspectModel));
    expect(files[1]?.tensors).toEqual(files[0]?.tensors);
    expect(readFileSync(converted).equals(readFileSync(quantised))).toBe(true);
    expect(files[1]?.metadata["quantize.imatrix.dataset"]?.value).toBe("pairs.jsonl");
    expect(readdirSync(folder).filter((name) => name.includes("tmp") || name.startsWith(".calibrate"))).toEqual([]);
  });

  it("refuses types that do not heed it, and lines that are no pairs", async () => {
    const gguf = await goldenGguf("gte-multilingual-reranker", "f32");
    const broken = join(folder, "broken.jsonl");
    writeFileSync(broken, '{"query": "a", "passage": "b"}\n{"query": "a"}\n');
    expect(await run(["quantize", gguf, join(folder, "none.gguf"), "q8_0", "--calibrate", pairs, "-q"])).toBe(2);
    expect(await run(["quantize", gguf, join(folder, "none.gguf"), "q4_0", "--calibrate", broken, "-q"])).toBe(1);
    expect(readdirSync(folder)).not.toContain("none.gguf");
  });

  it("never writes over the pairs, and never over a file that is named like its own", async () => {
    const gguf = await goldenGguf("bert-reranker", "f32");
    const own = join(folder, "own.jsonl");
    const text = readFileSync(pairs);
    writeFileSync(own, text);
    expect(await run(["quantize", gguf, own, "q4_0", "--calibrate", own, "-q", "--force"])).toBe(1);
    const options = ["--outtype", "q4_0", "--calibrate", own, "-q", "--force"];
    expect(await run(["convert", checkpointFolder("bert-reranker"), "-o", own, ...options])).toBe(1);
    expect(readFileSync(own).equals(text)).toBe(true);

    const neighbour = join(folder, "made.gguf.f32.tmp");
    writeFileSync(neighbour, "a user's");
    expect(await run(["convert", checkpointFolder("bert-reranker"), "-o", join(folder, "made.gguf"), ...options])).toBe(0);
    expect(readFileSync(neighbour, "utf8")).toBe("a user's");
    rmSync(neighbour);
  });
});

async function widened({ path }: ModelFile): Promise<ModelFile> {
  const output = `${path}.f32.gguf`;
  await quantize(path, output, "f32");
  return inspectModel(output);
}

type Table = ReturnType<typeof table>;

function weighedError(exact: Table, rounded: Table, worth: Float32Array, { tensors }: ModelFile, name: string): number {
  const rows = tensors.find((tensor) => tensor.name === name)?.shape[1] ?? 1;
  let sum = 0;
  for (let row = 0; row < rows; row++) {
    const values = rounded.row(row);
    for (const [i, x] of exact.row(row).entries()) sum += (worth[i] ?? 0) * (x - (values[i] ?? 0)) ** 2;
  }
  return sum;
}

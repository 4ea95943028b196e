// Linear layers of every tensor type that ggml reads: scores against stock ggml on the same weights, and memory against what
// `inspect` tells. Each level runs in a process of its own, over the built package.
import { open, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { type GgufTensor, loadNative, type NativeAddon } from "../../src/addon/native.js";
import { convert } from "../../src/convert/convert.js";
import { residentBytes } from "../../src/gguf/memory.js";
import { CPU_LEVELS, type LevelRun, runAtLevel } from "../cpu-levels.js";
import { temporaryFolder } from "../unit/convert-fixtures.js";
import { reshaped } from "./reshaped.js";

const SHAPE = { golden: "bert-reranker", hidden: 256, heads: 4, ff: 256 };

/**
 * Where the blocks of types with codebooks have their scale, and one that gives weights of about 0.09. Some need an importance
 * matrix to be made, and the search for the others takes its time.
 */
const SCALES: Readonly<Record<string, { readonly at: number; readonly value: number; readonly spread?: boolean }>> = {
  IQ1_S: { at: 0, value: 0.012 },
  IQ1_M: { at: 48, value: 0.012, spread: true },
  IQ2_XXS: { at: 0, value: 0.0018 },
  IQ2_XS: { at: 0, value: 0.0018 },
  IQ2_S: { at: 0, value: 0.0018 },
  IQ3_XXS: { at: 0, value: 0.0008 },
  IQ3_S: { at: 0, value: 0.0007 },
};

const f16 = (value: number) => {
  const exponent = Math.floor(Math.log2(value));
  return ((exponent + 15) << 10) | Math.round((value / 2 ** exponent - 1) * 1024);
};

/** Any bytes are weights of these types, but for the scale. */
function randomRows({ name, sizeBytes }: GgufTensor, type: string, blockBytes: number): Buffer {
  const { at, value, spread } = SCALES[type] as (typeof SCALES)[string];
  const bytes = Buffer.alloc(sizeBytes);
  let state = name.length * 7919 + sizeBytes;
  for (let i = 0; i < bytes.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[i] = state >>> 24;
  }
  for (let block = 0; block < bytes.length; block += blockBytes) {
    const half = f16(value * (1 + (block % 5) / 10));
    if (!spread) bytes.writeUInt16LE(half, block + at);
    // A quarter of the scale in each of four numbers.
    else
      for (let i = 0; i < 4; i++) {
        const place = block + at + 2 * i + 1;
        bytes[place] = ((bytes[place] as number) & 15) | (((half >> (4 * i)) & 15) << 4);
      }
  }
  return bytes;
}

const isLinear = ({ name, shape }: GgufTensor) => name.startsWith("blk.") && (shape[1] ?? 1) > 1;

/** The F32 file with its layers in another type, and what that made of the weights, in F32 again. */
async function retyped(addon: NativeAddon, input: string, type: string): Promise<{ readonly file: string; readonly exact: string }> {
  const source = addon.readGguf(input);
  const { blockBytes = 0 } = addon.tensorTypes().find(({ name }) => name === type) ?? {};
  const entries = Object.entries(source.metadata).map(([key, { type: valueType, value }]) => [key, valueType, value] as const);
  const bytes = await readFile(input);
  const [file, exact] = [`${input}-${type}`, `${input}-${type}-exact`];
  await writeFile(exact, bytes);
  const tensors = source.tensors.map((tensor) => ({ ...tensor, type: isLinear(tensor) ? type : tensor.type }));
  const header = addon.writeGgufHeader(file, entries, tensors);
  const outputs = { file: await open(file, "r+"), exact: await open(exact, "r+") };
  for (const [i, target] of header.tensors.entries()) {
    const { offset, sizeBytes, shape } = source.tensors[i] as GgufTensor;
    const own = bytes.subarray(offset, offset + sizeBytes);
    const columns = shape[0] as number;
    const make = async () => (SCALES[type] ? randomRows(target, type, blockBytes) : addon.convertRows(own, "F32", type, columns));
    const rows = isLinear(target) ? await make() : own;
    await outputs.file.write(rows, 0, rows.length, target.offset);
    if (isLinear(target)) await outputs.exact.write(await addon.convertRows(rows, type, "F32", columns), 0, sizeBytes, offset);
  }
  await outputs.file.truncate(header.fileSizeBytes);
  for (const output of Object.values(outputs)) await output.close();
  return { file, exact };
}

const PAIRS = [
  ["what is a panda?", "The giant panda is a bear that eats bamboo."],
  ["panda", "bamboo"],
  ...Array.from({ length: 4 }, (_, i) => ["a query", "word ".repeat(1 + i * 3)]),
];

const rms = (a: readonly number[], b: readonly number[]) =>
  Math.sqrt(a.reduce((sum, x, i) => sum + (x - (b[i] as number)) ** 2, 0) / a.length);

describe("every tensor type", async () => {
  const addon = await loadNative();
  // No rows of weights are read back from the others, and floats are none of ours here.
  const types = addon.tensorTypes().filter(({ name, quantized, writable }) => quantized && (writable || SCALES[name]));
  let files: string[] = [];
  let exact: LevelRun[] = [];
  let plain: LevelRun[] = [];
  beforeAll(async () => {
    const f32 = path.join(await temporaryFolder(), "f32.gguf");
    await convert(await reshaped(SHAPE), { output: f32, outtype: "f32" });
    const made = [];
    for (const { name } of types) made.push(await retyped(addon, f32, name));
    files = made.map(({ file }) => file);
    const runs = (await runAtLevel([...made.map((each) => each.exact), ...files], PAIRS, "plain")) as LevelRun[];
    exact = runs.slice(0, types.length);
    plain = runs.slice(types.length);
  });

  it("is told apart by its scores", () => {
    expect(types.length).toBeGreaterThanOrEqual(24);
    for (const [i, { scores }] of exact.entries()) expect(new Set(scores).size, types[i]?.name).toBeGreaterThan(PAIRS.length / 2);
  });

  it.each(CPU_LEVELS.slice(1))("%s", async (isa) => {
    const got = await runAtLevel(files, PAIRS, isa);
    if (!got) return; // not on this machine
    for (const [i, { name, blockBytes, blockSize }] of types.entries()) {
      const { scores } = exact[i] as LevelRun;
      const size = Math.max(1, ...scores.map(Math.abs));
      const error = rms((got[i] as LevelRun).scores, scores) / size;
      // ggml's own error differs by type; ours should not be far above it.
      const stock = rms((plain[i] as LevelRun).scores, scores) / size;
      expect(error, `${name}: ggml's own kernels are ${stock} off`).toBeLessThan(Math.max(0.03, 2 * stock));

      const header = addon.readGguf(files[i] as string);
      const { weights } = residentBytes(header, { kernels: true, weightMode: "native", maxLayer: 0 });
      const layers = header.tensors.filter(isLinear);
      // Panels of 8 rows and more begin at multiples of 64 bytes.
      const padding = layers.reduce((sum, { shape }) => sum + ((shape[1] as number) / 8) * 64, 0);
      expect((got[i] as LevelRun).weightsSizeBytes, name).toBeGreaterThanOrEqual(weights);
      expect((got[i] as LevelRun).weightsSizeBytes, name).toBeLessThanOrEqual(weights + padding);
      const linear = layers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      const rest = header.tensors.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) - linear;
      expect(
        ((got[i] as LevelRun).weightsSizeBytes - rest - padding) / linear,
        `${name}, ${(blockBytes * 8) / blockSize} bits`,
      ).toBeLessThan(1.15);
    }
  });
});

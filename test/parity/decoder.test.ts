// What only the decoders have: cascades, layers left unloaded, shared query prefixes, and files whose sizes do not fit.
import { closeSync, copyFileSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type GgufValue, loadNative } from "../../src/addon/native.js";
import { FlagAutoReranker, type Pair, type RerankResult } from "../../src/index.js";
import { tokenizerSpecOf } from "../../src/tokenizer/tokenizer-spec.js";
import { goldenGguf } from "../golden.js";

const device = process.env.BGE_TEST_DEVICE ?? "cpu";
const work = mkdtempSync(path.join(tmpdir(), "bge-decoder-"));
afterAll(() => rmSync(work, { recursive: true, force: true }));

const load = async (name: string, options = {}) =>
  FlagAutoReranker.fromFinetuned(await goldenGguf(name, "f32"), { devices: device, ...options });

// Texts of many lengths, none of them twice.
const sentence = (seed: number, words: number) =>
  Array.from(
    { length: words },
    (_, i) => ["panda", "bear", "forest", "river", "stone", "music", "paper", "light"][(seed * 5 + i * (seed % 7)) % 8],
  ).join(" ");
const documents = Array.from({ length: 24 }, (_, i) => `${i} ${sentence(i + 1, 1 + ((i * 13) % 60))}`);
const queries = { short: sentence(3, 6), long: sentence(4, 180) };

const maxDifference = (a: readonly number[], b: readonly number[]) => Math.max(0, ...a.map((x, i) => Math.abs(x - (b[i] as number))));

/** The documents a cascade should keep, from the scores of a run without one. */
function survivors(scores: readonly number[][], keeps: readonly number[]): number[] {
  let alive = documents.map((_, i) => i);
  for (const [stage, keep] of keeps.entries()) {
    const at = scores[stage] as number[];
    alive = [...alive].sort((a, b) => (at[b] as number) - (at[a] as number) || a - b).slice(0, keep);
  }
  return alive.sort((a, b) => a - b);
}

describe.each([
  { name: "minicpm-layerwise-reranker", options: {} },
  { name: "gemma2-lightweight-reranker", options: { headSelection: "layer" } },
  // Stages below, at and above a layer that merges tokens.
  { name: "gemma2-lightweight-reranker", options: { headSelection: "layer", compressRatio: 2, compressLayers: [3, 4] } },
  {
    name: "gemma2-lightweight-reranker",
    options: { headSelection: "layer", compressRatio: 8, compressLayers: [2, 5], attentionSoftcap: true },
  },
] as const)("cascade of $name, $options", ({ name, options }) => {
  const stages = [
    [{ layer: 2, keep: 9 }, { layer: 4, keep: 3 }],
    [{ layer: 4, keep: 1 }],
    [{ layer: 3, keep: 100 }],
  ]; // biome-ignore format: a table
  it.each(stages.flatMap((cascade) => [0, 150].map((maxBatchTokens) => ({ cascade, maxBatchTokens }))))(
    "$cascade, $maxBatchTokens tokens at once",
    async ({ cascade, maxBatchTokens }) => {
      await using reranker = await load(name);
      const cutoffLayers = [...cascade.map(({ layer }) => layer), 6];
      const pairs = documents.map((document): Pair => [queries.short, document]);
      const full = (await reranker.computeScore(pairs, { ...options, cutoffLayers })) as number[][];
      const more = maxBatchTokens ? { maxBatchTokens } : {};
      const ranked: RerankResult<string>[] = await reranker.rerank(queries.short, documents, {
        ...options,
        ...more,
        cutoffLayers: 6,
        cascade,
      });
      const kept = survivors(full, cascade.map(({ keep }) => keep)); // biome-ignore format: one thought
      expect(ranked.map(({ index }) => index).sort((a, b) => a - b)).toEqual(kept);
      const last = full[cascade.length] as number[];
      expect(maxDifference(ranked.map(({ logit }) => logit), ranked.map(({ index }) => last[index] as number))).toBeLessThan(1e-5); // biome-ignore format: one thought
    },
  );

  it("runs beside other calls", async () => {
    await using reranker = await load(name);
    const rank = () => reranker.rerank(queries.short, documents, { ...options, cutoffLayers: 6, cascade: [{ layer: 2, keep: 5 }] });
    const [alone] = [await rank()];
    const pairs = documents.map((document): Pair => [queries.short, document]);
    const [first, , second] = await Promise.all([rank(), reranker.computeScore(pairs), rank()]);
    for (const other of [first, second]) expect(other.map(({ index }) => index)).toEqual(alone.map(({ index }) => index));
  });

  it("can be cancelled between stages", async () => {
    await using reranker = await load(name);
    const controller = new AbortController();
    const onProgress = () => controller.abort(new Error("enough"));
    const ranking = reranker.rerank(queries.short, documents, {
      ...options,
      cutoffLayers: 6,
      cascade: [{ layer: 2, keep: 5 }],
      signal: controller.signal,
      onProgress,
    });
    await expect(ranking).rejects.toThrow("enough");
    expect(await reranker.rerank(queries.short, documents, { ...options, cutoffLayers: 6, topN: 2 })).toHaveLength(2);
  });
});

describe.each(["minicpm-layerwise-reranker", "gemma2-lightweight-reranker"])("layers of %s", (name) => {
  it("above the last one asked for are not in memory, and scores stay the same", async () => {
    await using whole = await load(name);
    await using lower = await load(name, { maxLayer: 2 });
    console.log(
      `${name}: ${lower.model.weightsSizeBytes} bytes with 2 of ${whole.model.layers} layers, ${whole.model.weightsSizeBytes} with all`,
    );
    expect(lower.model.weightsSizeBytes).toBeLessThan(0.7 * whole.model.weightsSizeBytes);
    const pairs = documents.map((document): Pair => [queries.short, document]);
    expect(await lower.computeScore(pairs)).toEqual(await whole.computeScore(pairs, { cutoffLayers: 2 }));
  });
});

describe.each([
  { name: "gemma-reranker", options: {} },
  { name: "minicpm-layerwise-reranker", options: { cutoffLayers: [2, 6] } },
  { name: "gemma2-lightweight-reranker", options: { cutoffLayers: [2, 8], compressRatio: 2, compressLayers: [3] } },
] as const)("the query prefix of $name", ({ name, options }) => {
  it.each(["short", "long"] as const)("is shared without a trace: %s query", async (length) => {
    await using reranker = await load(name);
    const pairs = documents.map((document): Pair => [queries[length], document]);
    const flat = async (list: readonly Pair[]) => ((await reranker.computeScore(list, options)) as (number | number[])[]).flat();
    const together = await flat(pairs);
    for (const [i, pair] of pairs.entries()) {
      const alone = await flat([pair]);
      expect(
        maxDifference(
          alone,
          alone.map((_, c) => together[c * pairs.length + i] as number),
        ),
      ).toBeLessThan(1e-5);
    }
  });
});

describe("a file whose numbers do not fit", () => {
  // Overwrites one number of the header in place; the library must throw, since ggml would end the process.
  async function damage(name: string, key: string, value: number): Promise<string> {
    const copy = path.join(work, `${name}-${key}-${value}.gguf`);
    copyFileSync(await goldenGguf(name, "f32"), copy);
    const entry = Buffer.alloc(8 + key.length);
    entry.writeBigUInt64LE(BigInt(key.length));
    entry.write(key, 8);
    const file = openSync(copy, "r+");
    const start = Buffer.alloc(4_000_000);
    const found = start.subarray(0, readSync(file, start, 0, start.length, 0)).indexOf(entry);
    expect(found, key).toBeGreaterThan(0);
    const at = found + entry.length;
    const bytes = Buffer.alloc(4);
    if (start.readUInt32LE(at) === 6)
      bytes.writeFloatLE(value); // GGUF_TYPE_FLOAT32
    else bytes.writeUInt32LE(value);
    writeSync(file, bytes, 0, 4, at + 4);
    closeSync(file);
    return copy;
  }

  async function loadNatively(file: string): Promise<void> {
    const addon = loadNative();
    const header = addon.readGguf(file);
    const bos = [Number(header.metadata["tokenizer.ggml.bos_token_id"]?.value as GgufValue)];
    const spec = {
      device: "cpu",
      threads: 1,
      tokenizer: tokenizerSpecOf(header),
      layout: { kind: "prompt", bos, frameOnTop: false },
      maxLayer: 0,
      tokenId: -1,
      labelWeights: Array.from((header.metadata["reranker.label_weights"]?.value ?? []) as ArrayLike<number>),
      weightMode: "native",
      maxGraphTokens: 0,
      maxStateBytes: 0,
      maxPrefixBytes: 0,
      keepAliveMs: -1,
    } as const;
    await (await addon.loadModel(file, spec)).close();
  }

  it.each([
    ["gemma-reranker", "gemma.attention.head_count", 0],
    ["gemma-reranker", "gemma.attention.head_count", 3],
    ["gemma-reranker", "gemma.attention.head_count_kv", 3],
    ["gemma-reranker", "gemma.attention.key_length", 7],
    ["gemma-reranker", "gemma.embedding_length", 4_294_967_295],
    ["gemma-reranker", "gemma.block_count", 4_294_967_295],
    ["gemma-reranker", "gemma.block_count", 4],
    ["gemma-reranker", "gemma.feed_forward_length", 1],
    ["gemma-reranker", "gemma.attention.layer_norm_rms_epsilon", Number.NaN],
    ["gemma-reranker", "gemma.rope.freq_base", -1],
    ["gemma-reranker", "reranker.token_id", 4_000_000],
    ["qwen3-reranker", "qwen3.attention.head_count", 3],
    ["qwen3-reranker", "qwen3.attention.head_count_kv", 3],
    ["qwen3-reranker", "qwen3.attention.key_length", 12],
    ["qwen3-reranker", "qwen3.block_count", 4],
    ["mxbai-v2-reranker", "qwen2.attention.head_count_kv", 1],
    ["mxbai-v2-reranker", "qwen2.embedding_length", 128],
    ["mxbai-v2-reranker", "qwen2.rope.freq_base", Number.NaN],
    ["minicpm-layerwise-reranker", "minicpm.rope.dimension_count", 8],
    ["minicpm-layerwise-reranker", "minicpm.residual_scale", Number.POSITIVE_INFINITY],
    ["minicpm-layerwise-reranker", "minicpm.embedding_scale", 0],
    ["gemma2-lightweight-reranker", "gemma2.attention.scale", Number.NaN],
    ["gemma2-lightweight-reranker", "gemma2.attention.sliding_window", 0],
    ["gemma2-lightweight-reranker", "gemma2.final_logit_softcapping", 0],
  ])("%s with %s = %s", async (name, key, value) => {
    await expect(loadNatively(await damage(name, key, value))).rejects.toMatchObject({
      code: expect.stringMatching(/^MODEL_(INVALID|UNSUPPORTED)$/),
    });
  });

  it("and the file itself loads", async () => {
    await loadNatively(await goldenGguf("gemma-reranker", "f32"));
  });
});

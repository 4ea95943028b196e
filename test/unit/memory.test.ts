import { describe, expect, it } from "vitest";
import { budgetWithin, parseBytes, residentBytes, workBytes } from "../../src/gguf/memory.js";
import { describeModel } from "../../src/gguf/model-facts.js";
import { openModel } from "../../src/reranker/load.js";
import { fakeNative, header, MODELS, withMetadata } from "./fake-native.js";

describe("parseBytes", () => {
  it.each([
    [1, 1],
    [2 ** 31, 2 ** 31],
    ["123", 123],
    ["2GB", 2e9],
    ["2g", 2e9],
    ["1.5 GiB", 1.5 * 2 ** 30],
    [" 512 mib ", 512 * 2 ** 20],
    ["1Ki", 1024],
    ["10B", 10],
  ])("reads %j as %d bytes", (value, bytes) => {
    expect(parseBytes("maxMemory", value)).toBe(bytes);
  });

  it.each(["", "GB", "2 XB", "-1GB", "1e9", "2iB", 0, -5, Number.NaN, Number.POSITIVE_INFINITY, "0GB", "9999999999TB"])(
    "refuses %j",
    (value) => {
      expect(() => parseBytes("maxMemory", value)).toThrow(RangeError);
    },
  );

  it.each([true, {}, [1]])("refuses %j as no number or text", (value) => {
    expect(() => parseBytes("maxMemory", value)).toThrow(TypeError);
  });
});

describe("residentBytes", () => {
  const tensor = (name: string, type: string, shape: readonly number[], sizeBytes: number) => ({ name, type, shape, offset: 0, sizeBytes });
  const file = {
    ...MODELS.encoder,
    tensors: [
      tensor("token_embd.weight", "Q8_0", [64, 100], 6800),
      tensor("blk.0.ffn_up.weight", "Q8_0", [64, 10], 680),
      tensor("blk.0.ffn_up.bias", "F32", [10], 40),
      tensor("blk.1.ffn_up.weight", "F16", [64, 10], 1280),
      tensor("output.weight", "F32", [64, 100], 25600),
    ],
  };
  const weights = (placement: Partial<Parameters<typeof residentBytes>[1]>) =>
    residentBytes(file, { kernels: true, weightMode: "native", maxLayer: 0, ...placement }).weights;

  it("counts tables as in the file and layers as packed, and what is not loaded not at all", () => {
    expect(weights({})).toBe(6800 + 10 * 2 * 36 + 40 + 1280);
    expect(weights({ weightMode: "row-int8" })).toBe(6800 + 10 * 68 + 40 + 10 * 68);
    expect(weights({ kernels: false })).toBe(6800 + 680 + 40 + 1280);
    expect(weights({ maxLayer: 1 })).toBe(6800 + 10 * 2 * 36 + 40);
  });

  it("counts weights of few bits at most 1.15 times as large as in the file", () => {
    const sizes = {
      Q4_0: 18,
      Q4_1: 20,
      Q5_0: 22,
      Q5_1: 24,
      Q4_K: 18,
      Q5_K: 22,
      Q6_K: 26.25,
      IQ4_NL: 18,
      IQ4_XS: 17,
      MXFP4: 17,
      Q8_0: 34,
      Q3_K: 13.75,
    };
    for (const [type, bytes] of Object.entries(sizes)) {
      const one = { ...file, tensors: [tensor("blk.0.ffn_up.weight", type, [256, 10], bytes * 80)] };
      const loaded = residentBytes(one, { kernels: true, weightMode: "native", maxLayer: 0 }).weights;
      expect(loaded / (bytes * 80), type).toBeLessThanOrEqual(1.15);
    }
  });

  it("counts a tokenizer by its pieces and merges", () => {
    const words = (n: number) => ["string[]", Array.from({ length: n }, String)] as const;
    const sized = (pieces: number, merges: number) =>
      residentBytes(withMetadata(file, { "tokenizer.ggml.tokens": words(pieces), "tokenizer.ggml.merges": words(merges) }), {
        kernels: true,
        weightMode: "native",
        maxLayer: 0,
      }).tokenizer;
    expect(sized(10, 0)).toBeGreaterThan(0);
    expect(sized(10, 10)).toBeGreaterThan(sized(10, 0));
  });
});

describe("budgetWithin", () => {
  const facts = {
    ...describeModel(MODELS.encoder, "m.gguf"),
    hiddenSize: 1024,
    feedForwardSize: 4096,
    headCount: 16,
    querySize: 1024,
    keySize: 1024,
  };
  const resident = { weights: 1e9, tokenizer: 5e7 };

  it.each([true, false])("gives the most tokens that fit, kernels %j", (kernels) => {
    const limit = 2e9;
    const { maxGraphTokens } = budgetWithin(limit, resident, 512, facts, kernels, 0);
    const need = (tokens: number) => 1.05e9 + workBytes(tokens, tokens, facts, kernels);
    expect(need(maxGraphTokens)).toBeLessThanOrEqual(limit);
    expect(need(maxGraphTokens + 1)).toBeGreaterThan(limit);
  });

  it("gives the prefix cache no more than a quarter of what a pair leaves", () => {
    const asked = (limit: number, prefixBytes: number) => budgetWithin(limit, resident, 512, facts, true, prefixBytes);
    const spare = (limit: number) => limit - 1.05e9 - workBytes(512, 512, facts, true);
    expect(asked(2e9, 64e6).maxPrefixBytes).toBe(64e6);
    expect(asked(2e9, 5e9).maxPrefixBytes).toBe(Math.floor(spare(2e9) / 4));
    expect(asked(1.1e9, 64e6).maxPrefixBytes).toBe(Math.floor(spare(1.1e9) / 4));
    const { maxGraphTokens, maxPrefixBytes } = asked(1.2e9, 64e6);
    expect(1.05e9 + maxPrefixBytes + workBytes(maxGraphTokens, maxGraphTokens, facts, true)).toBeLessThanOrEqual(1.2e9);
    expect(maxGraphTokens).toBeLessThan(asked(1.2e9, 0).maxGraphTokens);
  });

  it("counts queries that are wider than a token's state, and narrow keys", () => {
    const work = (querySize: number, keySize: number) => workBytes(1000, 1000, { ...facts, querySize, keySize }, true);
    expect(work(2048, 1024)).toBeGreaterThan(work(1024, 1024));
    expect(work(1024, 128)).toBeLessThan(work(1024, 1024));
  });

  it("keeps a part for the states of cascades", () => {
    const layerwise = { ...facts, cutoffLayers: [8, 9] };
    const all = budgetWithin(2e9, resident, 512, facts, true, 0);
    const some = budgetWithin(2e9, resident, 512, layerwise, true, 0);
    expect(all.maxStateBytes).toBe(0);
    expect(some.maxStateBytes).toBe(Math.floor(0.95e9 / 4));
    expect(some.maxGraphTokens).toBeLessThan(all.maxGraphTokens);
  });

  it("names need and limit when one pair does not fit, and that need is enough", () => {
    let message = "";
    expect(() => {
      try {
        budgetWithin(1e9, resident, 512, facts, true, 0);
      } catch (error) {
        message = (error as Error).message;
        throw error;
      }
    }).toThrow(expect.objectContaining({ code: "OUT_OF_MEMORY" }));
    expect(message).toMatch(
      /needs about 1\.\d+ GB: 1\.00 GB of weights, 50 MB of tokenizer .* pairs of 512 tokens; `maxMemory` is 1\.00 GB\./,
    );
    const need = Number(/about (\S+) GB/.exec(message)?.[1]) * 1e9;
    expect(budgetWithin(need, resident, 512, facts, true, 0).maxGraphTokens).toBeGreaterThanOrEqual(512);
  });
});

describe("maxMemory", () => {
  const large = header({ "tokenizer.ggml.tokens": ["string[]", ["a"]] }, {});
  const model = {
    ...MODELS.encoder,
    tensors: MODELS.encoder.tensors.map((t) => ({ ...t, sizeBytes: 1e9 })),
    metadata: { ...MODELS.encoder.metadata, ...large.metadata },
  };

  it("rejects before anything is loaded", async () => {
    const native = fakeNative({ header: model });
    await expect(openModel(import.meta.filename, { maxMemory: "1GB" }, undefined, native.environment)).rejects.toMatchObject({
      code: "OUT_OF_MEMORY",
      message: expect.stringContaining("`maxMemory` is 1.00 GB"),
    });
    expect(native.specs).toEqual([]);
  });

  it("tells the engine what is left, and no limit without it", async () => {
    const native = fakeNative();
    await openModel(import.meta.filename, { maxMemory: "100MB", keepAliveMs: 5 }, undefined, native.environment);
    await openModel(import.meta.filename, {}, undefined, native.environment);
    expect(native.specs[0]?.maxGraphTokens).toBeGreaterThan(512);
    expect(native.specs[0]?.keepAliveMs).toBe(5);
    expect(native.specs[1]).toMatchObject({ maxGraphTokens: 0, maxStateBytes: 0, keepAliveMs: -1 });
  });
});

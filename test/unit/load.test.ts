import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { describeModel } from "../../src/gguf/model-facts.js";
import { openModel } from "../../src/reranker/load.js";
import { type Converter, modelKey, resolveModelSource } from "../../src/sources/model-source.js";
import { fakeNative, header, MODELS, withMetadata } from "./fake-native.js";

const folder = mkdtempSync(join(tmpdir(), "bge-reranker-"));
const file = join(folder, "model.gguf");
writeFileSync(file, "");
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());

const open = (options = {}, fake = {}, wanted?: "encoder-only-base" | "decoder-only-base") => {
  const native = fakeNative(fake);
  return { ...native, loaded: openModel(file, options, wanted, native.environment) };
};

describe("openModel", () => {
  it.each([[undefined], [null], [""], [3], [{}]])("rejects the name %j", async (name) => {
    await expect(openModel(name as never)).rejects.toThrow(TypeError);
  });

  it("checks options before it looks for the model", async () => {
    await expect(openModel("/nowhere.gguf", { maxLength: -1 })).rejects.toThrow(RangeError);
  });

  it("rejects with the reason of a signal aborted before", async () => {
    await expect(openModel(file, { signal: AbortSignal.abort("why") })).rejects.toBe("why");
  });

  it("says which class a file is for", async () => {
    const { loaded } = open({}, {}, "decoder-only-base");
    await expect(loaded).rejects.toMatchObject({ code: "MODEL_UNSUPPORTED", message: expect.stringContaining("use FlagReranker.load()") });
  });

  it("hands the native side layout, threads and limits", async () => {
    const { loaded, specs } = open({ threads: 3 });
    await loaded;
    expect(specs[0]).toMatchObject({
      device: "cpu",
      threads: 3,
      layout: { kind: "pair", before: [1], between: [2, 2], after: [2], documentTokenType: 0 },
      maxLayer: 0,
      tokenId: -1,
      weightMode: "native",
    });
    const llm = open({ weightMode: "row-int8" }, { header: MODELS.llm });
    await llm.loaded;
    expect(llm.specs[0]).toMatchObject({ threads: 0, layout: { kind: "prompt", bos: [1] }, tokenId: 7, weightMode: "row-int8" });
  });

  it("closes what it loaded when the tokenizer gives other ids than the file says", async () => {
    const drifted = withMetadata(MODELS.llm, {
      "reranker.separator_ids": ["i32[]", Int32Array.of(10)],
      "reranker.prompt_ids": ["i32[]", [1, 2]],
    });
    const { loaded, closed } = open({}, { header: drifted });
    await expect(loaded).rejects.toMatchObject({ code: "MODEL_INVALID", message: expect.stringContaining("prompt") });
    expect(closed).toEqual(["cpu"]);
  });

  it("narrows the legal cutoffs to the layers it loads", async () => {
    const { loaded, specs } = open({ maxLayer: 4 }, { header: MODELS.layerwise });
    expect((await loaded).facts.cutoffLayers).toEqual([2, 3, 4]);
    expect(specs[0]?.maxLayer).toBe(4);
    await expect(open({ maxLayer: 4, cutoffLayers: [5] }, { header: MODELS.layerwise }).loaded).rejects.toThrow("integers from 2 to 4");
    await expect(open({ maxLayer: 1 }, { header: MODELS.layerwise }).loaded).rejects.toThrow("from 2 to 8");
    await expect(open({ maxLayer: 4 }).loaded).rejects.toThrow("`maxLayer` is an option of");
  });

  it("rejects options that the class lacks, and a device that is not there", async () => {
    await expect(open({ useBf16: true }).loaded).rejects.toThrow("`useBf16` is an option of");
    await open({ useBf16: false, useFp16: true }).loaded;
    await expect(open({ devices: "cuda:0" }).loaded).rejects.toMatchObject({ name: "RerankerError", code: "DEVICE_NOT_FOUND" });
    await expect(open({ outtype: "f16" }).loaded).rejects.toThrow("is a GGUF file already");
    await expect(open({ prompt: "x" }).loaded).rejects.toThrow("this model is a FlagReranker");
  });
});

describe("describeModel", () => {
  const refused = (file: Parameters<typeof describeModel>[0], code: string, message: string) => {
    expect(() => describeModel(file, "x.gguf")).toThrow(expect.objectContaining({ code, message: expect.stringContaining(message) }));
  };

  it("refuses what cannot be scored right", () => {
    refused(header({}, {}), "MODEL_UNSUPPORTED", "supported: bert, gemma, minicpm, gemma2");
    refused(withMetadata(MODELS.encoder, { "general.architecture": ["string", "falcon"] }), "MODEL_UNSUPPORTED", '"falcon"');
    refused(withMetadata(MODELS.llm, { "reranker.class": undefined }), "MODEL_UNSUPPORTED", "`reranker.class` is missing");
    refused(withMetadata(MODELS.llm, { "reranker.class": ["string", "encoder-only-base"] }), "MODEL_UNSUPPORTED", "decoder-only-base");
    refused({ ...MODELS.encoder, tensors: [] }, "MODEL_UNSUPPORTED", "`cls.output.weight`");
    refused({ ...MODELS.layerwise, tensors: [] }, "MODEL_UNSUPPORTED", "`reranker.head.weight`");
    const two = MODELS.encoder.tensors.map((tensor) => (tensor.name === "cls.output.weight" ? { ...tensor, shape: [16, 2] } : tensor));
    refused({ ...MODELS.encoder, tensors: two }, "MODEL_UNSUPPORTED", "2 outputs");
    refused(withMetadata(MODELS.encoder, { "tokenizer.ggml.model": ["string", "llama"] }), "TOKENIZER_UNSUPPORTED", "known: t5");
  });

  it("names the damaged key", () => {
    refused(withMetadata(MODELS.encoder, { "bert.block_count": undefined }), "MODEL_INVALID", "`bert.block_count`: it is missing");
    refused(withMetadata(MODELS.encoder, { "bert.block_count": ["u64", 10n ** 12n] }), "MODEL_INVALID", "from 0 to 1024");
    refused(withMetadata(MODELS.encoder, { "reranker.class": ["u32", 1] }), "MODEL_INVALID", "not a string");
    refused(withMetadata(MODELS.layerwise, { "reranker.head.layer_step": ["u32", 0] }), "MODEL_INVALID", "at least 1");
    refused(withMetadata(MODELS.layerwise, { "reranker.head.select": ["string", "x"] }), "MODEL_INVALID", "neither rank nor layer");
    refused(withMetadata(MODELS.layerwise, { "reranker.head.start_layer": ["u32", 1] }), "MODEL_INVALID", "7 heads for 8 cutoff layers");
  });

  it("takes files that llama.cpp made of an XLM-R reranker", () => {
    const llamaCpp = withMetadata(MODELS.encoder, {
      "reranker.class": undefined,
      "reranker.model": undefined,
      "general.name": ["string", "Bge Reranker v2 M3"],
      "tokenizer.ggml.cls_token_id": ["u32", 0],
      "tokenizer.ggml.seperator_token_id": ["u32", 2],
    });
    expect(describeModel(llamaCpp, "x.gguf")).toMatchObject({
      class: "encoder-only-base",
      name: "Bge Reranker v2 M3",
      layout: { before: [0] },
    });
  });

  it("leaves BOS out where the reference does", () => {
    const padded = withMetadata(MODELS.llm, { "tokenizer.ggml.padding_token_id": ["u32", 1] });
    expect(describeModel(padded, "x").layout).toEqual({ kind: "prompt", bos: [], frameOnTop: false });
    expect(describeModel(withMetadata(MODELS.llm, { "tokenizer.ggml.bos_token_id": undefined }), "x").layout).toEqual({
      kind: "prompt",
      bos: [],
      frameOnTop: false,
    });
    refused(withMetadata(MODELS.layerwise, { "tokenizer.ggml.bos_token_id": undefined }), "MODEL_INVALID", "bos_token_id");
  });
});

describe("resolveModelSource", () => {
  const none = { outtype: undefined, cacheDir: undefined, lora: undefined, signal: undefined, onProgress: undefined };
  const noConvert: Converter = async () => {
    throw new Error("must not convert");
  };
  const checkpoint = join(folder, "my-model");
  mkdirSync(checkpoint);
  writeFileSync(join(checkpoint, "config.json"), "{}");

  it("names what is missing and how to get it", async () => {
    vi.stubEnv("HF_HUB_CACHE", join(folder, "hub"));
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    const find = (name: string) => resolveModelSource(name, none, noConvert);
    await expect(find("/nowhere/model.gguf")).rejects.toMatchObject({
      code: "MODEL_NOT_FOUND",
      message: expect.stringContaining("no file or folder"),
    });
    await expect(find("../x")).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
    await expect(find("bge-reranker-v2-m3")).rejects.toMatchObject({
      message: expect.stringContaining("bge-reranker pull BAAI/bge-reranker-v2-m3"),
    });
    await expect(find("bge-reranker-v2-m4")).rejects.toMatchObject({ message: expect.stringContaining("Known: bge-reranker-base") });
    await expect(resolveModelSource(checkpoint, { ...none, revision: "main" }, noConvert)).rejects.toThrow(TypeError);
    await expect(find("a\0b")).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
    const empty = mkdtempSync(join(folder, "empty-"));
    await expect(find(empty)).rejects.toMatchObject({ message: expect.stringContaining("neither config.json nor") });
    writeFileSync(join(empty, "a.gguf"), "");
    expect(await find(empty)).toBe(join(empty, "a.gguf"));
    writeFileSync(join(empty, "b.gguf"), "");
    await expect(find(empty)).rejects.toMatchObject({ message: expect.stringContaining("several .gguf files") });
  });

  it("converts a folder once for each state of it", async () => {
    const cacheDir = join(folder, "cache");
    const convert = vi.fn<Converter>(async (_, { output }) => writeFileSync(output, "gguf"));
    const find = (options = {}) => resolveModelSource(checkpoint, { ...none, cacheDir, ...options }, convert);
    const first = await find();
    expect(basename(first)).toMatch(/^my-model-f32-[0-9a-f]{16}\.gguf$/);
    expect(await find()).toBe(first);
    expect(convert).toHaveBeenCalledTimes(1);
    expect(await find({ outtype: "q8_0" })).not.toBe(first);
    expect(await find({ lora: checkpoint })).not.toBe(first);
    utimesSync(join(checkpoint, "config.json"), 1, 1);
    expect(await find()).not.toBe(first);
    expect(convert).toHaveBeenCalledTimes(4);
  });

  it("finds a snapshot in the Hugging Face cache", async () => {
    const hub = join(folder, "hub2");
    const commit = "0123456789abcdef0123456789abcdef01234567";
    const repository = join(hub, "models--BAAI--bge-reranker-base");
    mkdirSync(join(repository, "snapshots", commit), { recursive: true });
    mkdirSync(join(repository, "refs"));
    writeFileSync(join(repository, "refs", "main"), commit);
    writeFileSync(join(repository, "snapshots", commit, "m.gguf"), "");
    vi.stubEnv("HF_HUB_CACHE", hub);
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    expect(await resolveModelSource("bge-reranker-base", none, noConvert)).toBe(join(repository, "snapshots", commit, "m.gguf"));
    writeFileSync(join(repository, "refs", "main"), "../../../etc");
    await expect(resolveModelSource("BAAI/bge-reranker-base", none, noConvert)).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
  });

  it("takes the model's name from its path as the reference does", () => {
    expect(modelKey("/a/bge-reranker-base/")).toBe("bge-reranker-base");
    expect(modelKey("/a/bge-reranker-base/checkpoint-100")).toBe("bge-reranker-base");
    expect(modelKey("x/m.gguf")).toBe("m");
  });
});

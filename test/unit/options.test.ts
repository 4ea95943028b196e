import { describe, expect, it } from "vitest";
import { describeModel } from "../../src/gguf/model-facts.js";
import { compileInstruction } from "../../src/reranker/instruction.js";
import { checkLoadOptions, RERANK_PROMPTS } from "../../src/reranker/options.js";
import { resolveEncodeOptions, resolveRerankOptions, resolveScoreOptions } from "../../src/reranker/settings.js";
import { MODELS } from "./fake-native.js";

const facts = {
  encoder: describeModel(MODELS.encoder, "encoder.gguf"),
  llm: describeModel(MODELS.llm, "llm.gguf"),
  layerwise: describeModel(MODELS.layerwise, "layerwise.gguf"),
  lightweight: describeModel(MODELS.lightweight, "lightweight.gguf"),
};

describe("load options", () => {
  it.each([
    [{ max_length: 5 }, "Did you mean `maxLength`?"],
    [{ maxLenght: 5 }, "Did you mean `maxLength`?"],
    [{ passageMaxLength: 5 }, "The reference accepts and ignores it"],
    [{ trustRemoteCode: true }, "no code of a model repository is ever run"],
    [{ topN: 3 }, "option of rerank()"],
    [{ quantum: 3 }, "Known options: attentionSoftcap"],
    [{ __proto__: null, toString: 1 }, "Unknown option `toString`"],
    [{ maxLength: "512" }, 'Expected `maxLength` to be an integer of at least 1, got `"512"`'],
    [{ normalize: 1 }, "Expected `normalize` to be true or false, got `1`"],
    [{ cutoffLayers: ["8"] }, "integer or an array of integers"],
    [{ devices: 0 }, "a string or an array of strings, got `0`"],
    [{ signal: {} }, "an AbortSignal"],
    [{ onProgress: 1 }, "a function"],
    [{ compressLayer: [2], compressLayers: [3] }, "give one of them"],
    [{ queryInstructionFormat: 3 }, "a string"],
    ["options", "to be an object"],
    [null, "to be an object"],
    [[], "to be an object"],
  ])("rejects %j with a TypeError", (options, message) => {
    expect(() => checkLoadOptions(options as never)).toThrow(TypeError);
    expect(() => checkLoadOptions(options as never)).toThrow(message);
  });

  it.each([
    [{ maxLength: 0 }, "at least 1, got `0`"],
    [{ maxLength: 1.5 }, "got `1.5`"],
    [{ maxLength: Number.NaN }, "got `NaN`"],
    [{ batchSize: Number.POSITIVE_INFINITY }, "got `Infinity`"],
    [{ queryMaxLength: -1 }, "at least 0"],
    [{ compressRatio: 0 }, "at least 1"],
    [{ threads: 5000 }, "from 1 to 1024"],
    [{ cutoffLayers: 2.5 }, "integer"],
    [{ headSelection: "layers" }, '"rank" or "layer"'],
    [{ weightMode: "int4" }, '"native" or "fast" or "row-int8"'],
    [{ devices: [] }, "one or more different strings"],
    [{ devices: ["cpu", "cpu"] }, "one or more different strings"],
    [{ queryInstructionFormat: "{}{}{}" }, "there are two slots"],
  ])("rejects %j with a RangeError", (options, message) => {
    expect(() => checkLoadOptions(options as never)).toThrow(RangeError);
    expect(() => checkLoadOptions(options as never)).toThrow(message);
  });

  it("takes undefined and null as not given", () => {
    checkLoadOptions({ maxLength: undefined, normalize: null, cutoffLayers: null, signal: undefined, queryInstructionForRerank: null });
  });
});

describe("which value wins", () => {
  it("is the call's, then load's, then the default", () => {
    expect(resolveScoreOptions(facts.encoder, {}, {})).toMatchObject({
      maxLength: 512,
      queryMaxLength: 384,
      batchSize: 128,
      normalize: false,
      cutoffs: [],
    });
    expect(resolveScoreOptions(facts.encoder, { normalize: true, batchSize: 3 }, {})).toMatchObject({ normalize: true, batchSize: 3 });
    expect(resolveScoreOptions(facts.encoder, { normalize: true, batchSize: 3 }, { normalize: false, batchSize: null })).toMatchObject({
      normalize: false,
      batchSize: 3,
    });
  });

  it("lets the query's budget follow the call's maxLength", () => {
    expect(resolveScoreOptions(facts.encoder, { maxLength: 100 }, { maxLength: 33 }).queryMaxLength).toBe(24);
    expect(resolveScoreOptions(facts.encoder, { queryMaxLength: 7 }, { maxLength: 33 }).queryMaxLength).toBe(7);
    expect(resolveEncodeOptions(facts.encoder, {}, { maxLength: 1 }).queryMaxLength).toBe(0);
  });

  it("takes an empty prompt for a prompt", () => {
    expect(resolveScoreOptions(facts.llm, {}, {}).prompt).toBe(RERANK_PROMPTS.yesNo);
    expect(resolveScoreOptions(facts.lightweight, {}, {}).prompt).toBe(RERANK_PROMPTS.answer);
    expect(resolveScoreOptions(facts.llm, { prompt: "a" }, { prompt: "" }).prompt).toBe("");
  });

  it("compresses nothing without a ratio, nor at layers that are not run", () => {
    expect(resolveScoreOptions(facts.lightweight, {}, { compressLayers: [2] }).compressLayers).toEqual([]);
    expect(resolveScoreOptions(facts.lightweight, { compressRatio: 2 }, {}).compressLayers).toEqual([]); // [8] of 8 layers
    const options = { compressRatio: 2, compressLayers: [6, 0, 2, 4, 2], cutoffLayers: [3, 6] };
    expect(resolveScoreOptions(facts.lightweight, {}, options).compressLayers).toEqual([2, 4]);
    expect(resolveScoreOptions(facts.lightweight, {}, { compressRatio: 2, compressLayer: 4 }).compressLayers).toEqual([4]);
    expect(() => resolveScoreOptions(facts.lightweight, {}, { compressRatio: 2, compressLayers: [9] })).toThrow("from 0 to 8, got `[9]`");
  });
});

describe("options of other classes", () => {
  it.each([
    ["encoder", { prompt: "x" }, "FlagLLMReranker, LayerWiseFlagLLMReranker and LightWeightFlagLLMReranker; this model is a FlagReranker"],
    ["encoder", { cutoffLayers: [2] }, "`cutoffLayers` is an option of LayerWiseFlagLLMReranker and LightWeightFlagLLMReranker"],
    ["llm", { cutoffLayers: 2 }, "this model is a FlagLLMReranker"],
    ["layerwise", { compressRatio: 1 }, "`compressRatio` is an option of LightWeightFlagLLMReranker"],
    ["layerwise", { compressLayer: [2] }, "`compressLayers` is an option of LightWeightFlagLLMReranker"],
    ["layerwise", { headSelection: "layer" }, "LightWeightFlagLLMReranker"],
    ["llm", { attentionSoftcap: false }, "LightWeightFlagLLMReranker"],
  ] as const)("are errors: %s with %j", (name, options, message) => {
    expect(() => resolveScoreOptions(facts[name], {}, options)).toThrow(TypeError);
    expect(() => resolveScoreOptions(facts[name], {}, options)).toThrow(message);
  });

  it("says where an option of another call belongs", () => {
    expect(() => resolveScoreOptions(facts.encoder, {}, { devices: "cpu" } as never)).toThrow("It is given at load.");
    expect(() => resolveScoreOptions(facts.encoder, {}, { topN: 1 } as never)).toThrow("option of rerank()");
    expect(() => resolveRerankOptions(facts.encoder, {}, { cascade: [{ layer: 2, keep: 1 }] })).toThrow("LayerWiseFlagLLMReranker");
  });
});

describe("rerank options", () => {
  it.each([
    [{ topN: 0 }, RangeError],
    [{ topN: "3" }, TypeError],
    [{ overflow: "cut" }, RangeError],
    [{ maxChunks: 0 }, RangeError],
    [{ chunkOverlap: 1 }, RangeError],
    [{ cascade: {} }, TypeError],
    [{ cascade: [3] }, TypeError],
    [{ cascade: [{ layer: 3 }] }, TypeError],
    [{ cascade: [{ layer: 3, keep: 5, top: 1 }] }, TypeError],
    [{ cascade: [{ layer: 3, keep: 5 }], topN: 6 }, RangeError],
    [{ cascade: [{ layer: 3, keep: 5 }], overflow: "chunk" }, RangeError],
  ])("rejects %j", (options, kind) => {
    expect(() => resolveRerankOptions(facts.layerwise, {}, options as never)).toThrow(kind);
  });
});

describe("compileInstruction", () => {
  it.each([
    ["{}{}", "IT"],
    ["{}: <<{}>>", "I: <<T>>"],
    ["Instruct: {}\\nQuery: {}", "Instruct: I\nQuery: T"],
    ["{1}|{0}|{1}", "T|I|T"],
    ["{{}}{}", "{}I"],
    ["{{{}}}", "{I}"],
    ["", ""],
  ])("formats %j as Python does", (format, expected) => {
    expect(compileInstruction("f", format, "I")("T")).toBe(expected);
  });

  it("does not look for slots in the texts", () => {
    expect(compileInstruction("f", "{}{}", "{}$&")("{0}")).toBe("{}$&{0}");
  });

  it.each(["{}{}{}", "{2}", "{a}", "{!r}", "{:>3}", "{", "}", "{}}", "{{}", "{0}{}", "{ }"])("rejects %j", (format) => {
    expect(() => compileInstruction("queryInstructionFormat", format, "I")).toThrow(RangeError);
  });
});

import { describe, expect, it } from "vitest";
import { compileTokenizerSpec, defaultTokenizerSpec, tokenizerSpecOf } from "../../src/tokenizer/tokenizer-spec.js";

const unigram = { type: "Unigram", unk_id: 3 };
const normalizer = (value: unknown) => compileTokenizerSpec({ model: unigram, normalizer: value }).normalizer;
const preTokenizer = (value: unknown) => compileTokenizerSpec({ model: unigram, pre_tokenizer: value }).preTokenizer;
const metaspace = (fields: object) => preTokenizer({ type: "Metaspace", replacement: "▁", ...fields });

describe("compileTokenizerSpec", () => {
  it("compiles bge-reranker-v2-m3", () => {
    const spec = compileTokenizerSpec({
      added_tokens: [{ id: 250001, content: "<mask>", single_word: false, lstrip: true, rstrip: false, normalized: false, special: true }],
      normalizer: {
        type: "Sequence",
        normalizers: [
          { type: "Precompiled" },
          { type: "Strip", strip_left: false, strip_right: true },
          { type: "Replace", pattern: { Regex: " {2,}" }, content: "▁" },
        ],
      },
      pre_tokenizer: { type: "Metaspace", replacement: "▁", add_prefix_space: true, prepend_scheme: "always" },
      model: unigram,
    });
    expect(spec).toEqual({
      model: "unigram",
      options: [["unk_id", "3"]],
      normalizer: [["precompiled"], ["strip", "false", "true"], ["replace", "regex", " {2,}", "▁"]],
      preTokenizer: [["metaspace", "▁", "always", "true"]],
      addedTokens: [{ id: 250001, content: "<mask>", special: true, normalized: false, lstrip: true, rstrip: false, singleWord: false }],
    });
  });

  it("reads the old and the new fields of Metaspace", () => {
    expect(metaspace({})).toEqual([["metaspace", "▁", "always", "true"]]);
    expect(metaspace({ str_rep: "▁", add_prefix_space: true })).toEqual([["metaspace", "▁", "always", "true"]]);
    expect(metaspace({ add_prefix_space: false })).toEqual([["metaspace", "▁", "never", "true"]]);
    expect(metaspace({ prepend_scheme: "first", split: false })).toEqual([["metaspace", "▁", "first", "false"]]);
    expect(() => metaspace({ prepend_scheme: "first", add_prefix_space: false })).toThrow("add_prefix_space");
    expect(() => metaspace({ replacement: "ab" })).toThrow("one character");
  });

  it("lets strip_accents follow lowercase when it is null", () => {
    const bert = { type: "BertNormalizer", clean_text: true, handle_chinese_chars: true };
    expect(normalizer({ ...bert, strip_accents: null, lowercase: true })).toEqual([["bert", "true", "true", "true", "true"]]);
    expect(normalizer({ ...bert, strip_accents: false, lowercase: true })).toEqual([["bert", "true", "true", "false", "true"]]);
    expect(normalizer({ ...bert, strip_accents: null, lowercase: false })).toEqual([["bert", "true", "true", "false", "false"]]);
  });

  it.each([
    [{ type: "Nmt" }, "Nmt"],
    [{ type: "Sequence", normalizers: [{ type: "Precompiled" }, { type: "ByteLevel" }] }, "ByteLevel"],
  ])("refuses the normalizer %j", (value, name) => {
    expect(() => normalizer(value)).toThrow(
      expect.objectContaining({ code: "TOKENIZER_UNSUPPORTED", message: expect.stringContaining(name) }),
    );
  });

  it("takes byte-level BPE with its pattern", () => {
    const split = { type: "Split", pattern: { Regex: "\\s+(?!\\S)|\\p{L}+" }, behavior: "Isolated", invert: false };
    const spec = compileTokenizerSpec({
      pre_tokenizer: { type: "Sequence", pretokenizers: [split, { type: "ByteLevel", use_regex: false }] },
      model: { type: "BPE", ignore_merges: true },
    });
    expect(spec.preTokenizer).toEqual([
      ["split", "regex", "\\s+(?!\\S)|\\p{L}+", "isolated", "false"],
      ["byte_level", "true", "false"],
    ]);
    expect(spec.options).toEqual([["ignore_merges", "true"]]);
  });

  it.each(["qwen2", "roberta-bpe", "modern-bert", "llama-bpe"])("knows the rules that llama.cpp calls %s, and no others", (pre) => {
    const rulesOf = (name: string) =>
      defaultTokenizerSpec({
        "tokenizer.ggml.model": { type: "string", value: "gpt2" },
        "tokenizer.ggml.pre": { type: "string", value: name },
      });
    expect(rulesOf(pre).preTokenizer.at(-1)?.[0]).toBe("byte_level");
    expect(() => rulesOf("falcon")).toThrow(
      expect.objectContaining({ code: "TOKENIZER_UNSUPPORTED", message: expect.stringContaining("falcon") }),
    );
  });

  it.each(["FixedLength", "Digits", "UnicodeScripts"])("refuses the pre-tokenizer %s", (type) => {
    expect(() => preTokenizer({ type })).toThrow(
      expect.objectContaining({ code: "TOKENIZER_UNSUPPORTED", message: expect.stringContaining(type) }),
    );
  });

  it.each([
    [{ type: "WordLevel" }, "WordLevel"],
    [{ type: "BPE", dropout: 0.1 }, "model.dropout"],
    [{ type: "BPE", end_of_word_suffix: "</w>" }, "end_of_word_suffix"],
  ])("refuses the model %j", (model, name) => {
    expect(() => compileTokenizerSpec({ model })).toThrow(
      expect.objectContaining({ code: "TOKENIZER_UNSUPPORTED", message: expect.stringContaining(name) }),
    );
  });

  it.each([
    [null, "the file"],
    [{}, "model"],
    [{ model: unigram, normalizer: [] }, "normalizer"],
    [{ model: unigram, normalizer: { type: "Sequence", normalizers: {} } }, "normalizers"],
    [{ model: unigram, normalizer: { type: "Replace", pattern: {}, content: "" } }, "pattern"],
    [{ model: unigram, normalizer: { type: "Prepend", prepend: "x".repeat(1000) } }, "prepend"],
    [{ model: unigram, pre_tokenizer: { type: "Split", pattern: { String: " " }, behavior: "constructor", invert: false } }, "behavior"],
    [{ model: unigram, added_tokens: [{ id: -1, content: "a" }] }, "added_tokens[0].id"],
    [{ model: unigram, added_tokens: [{ id: 1, content: 7 }] }, "added_tokens[0].content"],
    [{ model: { type: "Unigram", unk_id: 1.5 } }, "unk_id"],
    [{ model: unigram, normalizer: { type: "Sequence", normalizers: Array(100).fill({ type: "NFC" }) } }, "at most 64 steps"],
  ])("names the field that is wrong in %j", (json, field) => {
    expect(() => compileTokenizerSpec(json)).toThrow(
      expect.objectContaining({ code: "MODEL_INVALID", message: expect.stringContaining(field) }),
    );
  });
});

describe("the spec of a GGUF", () => {
  const entry = (value: string | boolean | number | string[] | Int32Array) => ({ type: "string", value }) as never;

  it("comes from tokenizer.huggingface.json when that is there", () => {
    const json = JSON.stringify({ model: unigram, normalizer: { type: "NFC" } });
    const metadata = { "tokenizer.huggingface.json": entry(json), "tokenizer.ggml.model": entry("bert") };
    expect(tokenizerSpecOf({ metadata }).normalizer).toEqual([["nfc"]]);
    expect(() => tokenizerSpecOf({ metadata: { "tokenizer.huggingface.json": entry("{") } })).toThrow("not valid JSON");
  });

  it("else follows llama.cpp's keys", () => {
    const t5 = defaultTokenizerSpec({
      "tokenizer.ggml.model": entry("t5"),
      "tokenizer.ggml.remove_extra_whitespaces": entry(false),
      "tokenizer.ggml.tokens": entry(["<s>", "<unk>", "a", "<x>", "[PAD4]"]),
      "tokenizer.ggml.token_type": entry(Int32Array.from([3, 2, 1, 4, 5])),
    });
    expect(t5).toMatchObject({ model: "unigram", normalizer: [], preTokenizer: [["metaspace", "▁", "always", "true"]] });
    expect(t5.addedTokens.map(({ id, special }) => [id, special])).toEqual([
      [0, true],
      [1, true],
      [3, false],
    ]);
    const gemma = defaultTokenizerSpec({ "tokenizer.ggml.model": entry("llama"), "tokenizer.ggml.add_space_prefix": entry(false) });
    expect(gemma.normalizer).toEqual([["replace", "string", " ", "▁"]]);
    expect(defaultTokenizerSpec({ "tokenizer.ggml.model": entry("llama") }).normalizer[0]).toEqual(["prepend", "▁"]);
    expect(() => defaultTokenizerSpec({ "tokenizer.ggml.model": entry("gpt2") })).toThrow(
      expect.objectContaining({ code: "TOKENIZER_UNSUPPORTED" }),
    );
  });
});

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readVocabulary } from "../../src/tokenizer/vocabulary.js";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bge-reranker-vocabulary-"));
  write("config.json", { tokenizer_class: "PreTrainedTokenizerFast" });
});
afterEach(() => rmSync(folder, { recursive: true }));

const write = (name: string, content: object | string) =>
  writeFileSync(join(folder, name), typeof content === "string" ? content : JSON.stringify(content));

async function keys(): Promise<Record<string, unknown>> {
  const { metadata } = await readVocabulary(folder);
  return Object.fromEntries(metadata.map(([key, , value]) => [key.replace("tokenizer.ggml.", ""), value]));
}

const token = (id: number, content: string, special = true) => ({
  id,
  content,
  special,
  normalized: false,
  lstrip: false,
  rstrip: false,
  single_word: false,
});
const unigram = {
  added_tokens: [token(0, "<s>"), token(2, "</s>"), token(3, "<unk>")],
  normalizer: { type: "Precompiled", precompiled_charsmap: "AQID" },
  pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always", split: true },
  model: {
    type: "Unigram",
    unk_id: 3,
    vocab: [
      ["<s>", 0],
      ["<pad>", 0],
      ["</s>", 0],
      ["<unk>", 0],
      ["▁a", -1.25],
    ],
  },
};
const bpe = (merges: unknown[]) => ({
  added_tokens: [token(0, "<unk>"), token(1, "<s>")],
  normalizer: { type: "Replace", pattern: { String: " " }, content: "▁" },
  model: {
    type: "BPE",
    unk_token: "<unk>",
    fuse_unk: true,
    byte_fallback: true,
    vocab: { "<unk>": 0, "<s>": 1, "<0x61>": 2, a: 3, b: 4, ab: 5, aab: 6, aa: 7 },
    merges,
  },
});

describe("readVocabulary", () => {
  it("writes llama.cpp's keys for a unigram vocabulary", async () => {
    write("tokenizer.json", unigram);
    write("special_tokens_map.json", { cls_token: "<s>", sep_token: { content: "</s>" }, pad_token: "<pad>" });
    expect(await keys()).toMatchObject({
      model: "t5",
      tokens: ["<s>", "<pad>", "</s>", "<unk>", "▁a"],
      scores: Float32Array.of(0, 0, 0, 0, -1.25),
      token_type: Int32Array.of(3, 3, 3, 2, 1),
      precompiled_charsmap: Uint8Array.of(1, 2, 3),
      add_space_prefix: true,
      remove_extra_whitespaces: false,
      cls_token_id: 0,
      seperator_token_id: 2,
      padding_token_id: 1,
      unknown_token_id: 3,
      add_bos_token: true,
      add_eos_token: true,
    });
    const json = JSON.parse((await keys())["tokenizer.huggingface.json"] as string) as typeof unigram;
    expect(json.model).toEqual({ type: "Unigram", unk_id: 3 });
    expect(json.normalizer).toEqual({ type: "Precompiled" });
  });

  it("lets tokenizer_config.json change and extend the added tokens, as PreTrainedTokenizerFast does", async () => {
    write("tokenizer.json", unigram);
    write("tokenizer_config.json", {
      added_tokens_decoder: { 0: { content: "<s>", lstrip: true, special: true }, 5: { content: "<new>", special: false } },
      mask_token: "<mask>",
    });
    const { spec, size, idOf } = await readVocabulary(folder);
    expect(spec.addedTokens.map(({ id, content, lstrip, special }) => [id, content, lstrip, special])).toEqual([
      [0, "<s>", true, true],
      [2, "</s>", false, true],
      [3, "<unk>", false, true],
      [5, "<new>", false, false],
      [6, "<mask>", false, true],
    ]);
    expect(size).toBe(7);
    expect(idOf("<mask>")).toBe(6);
    expect(spec.options).toContainEqual(["vocab_size", "5"]);
    expect((await keys())["token_type"]).toEqual(Int32Array.of(3, 1, 3, 2, 1, 4, 3));
  });

  it("leaves out merges that follow from scores, in either spelling", async () => {
    // By score, then the longer left and right piece: what transformers 4.57 makes.
    for (const merges of [
      ["a b", "aa b", "a ab", "a a"],
      [
        ["a", "b"],
        ["aa", "b"],
        ["a", "ab"],
        ["a", "a"],
      ],
    ]) {
      write("tokenizer.json", bpe(merges));
      const given = await keys();
      expect(given["merges"]).toBeUndefined();
      expect(given["scores"]).toEqual(Float32Array.of(-3, -3, -3, -3, -3, 0, -1, -2));
      expect(given["token_type"]).toEqual(Int32Array.of(2, 3, 6, 1, 1, 1, 1, 1));
    }
  });

  it("writes merges that do not", async () => {
    for (const merges of [
      ["a b", "a ab", "aa b", "a a"],
      ["a b", "a ab", "a a"],
    ]) {
      write("tokenizer.json", bpe(merges));
      expect((await keys())["merges"]).toEqual(merges);
    }
    write("tokenizer.json", bpe([["a b", "c"]]));
    await expect(keys()).rejects.toMatchObject({ code: "TOKENIZER_UNSUPPORTED" });
  });

  it("reads vocab.txt, and spells pieces as llama.cpp does", async () => {
    write("vocab.txt", "[PAD]\r\n[UNK]\r\n[CLS]\r\n[SEP]\r\n[MASK]\r\nab\r\n##c\r\n");
    write("tokenizer_config.json", { do_lower_case: false, tokenizer_class: "BertTokenizer" });
    const given = await keys();
    expect(given["tokens"]).toEqual(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁ab", "c"]);
    expect(given).toMatchObject({
      model: "bert",
      cls_token_id: 2,
      seperator_token_id: 3,
      mask_token_id: 4,
      unknown_token_id: 1,
      padding_token_id: 0,
      "normalizer.lowercase": false,
    });
    expect((await readVocabulary(folder)).spec.normalizer).toEqual([["bert", "true", "true", "false", "false"]]);
  });

  it("takes the casing of BertTokenizerFast over that of tokenizer.json", async () => {
    const json = {
      added_tokens: [],
      normalizer: { type: "BertNormalizer", clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: false },
      pre_tokenizer: { type: "BertPreTokenizer" },
      model: { type: "WordPiece", unk_token: "[UNK]", vocab: { "[UNK]": 0, a: 1 } },
    };
    write("tokenizer.json", json);
    write("tokenizer_config.json", { tokenizer_class: "BertTokenizerFast", do_lower_case: true });
    expect((await readVocabulary(folder)).spec.normalizer[0]?.[4]).toBe("true");
    write("tokenizer_config.json", { tokenizer_class: "PreTrainedTokenizerFast", do_lower_case: true });
    expect((await readVocabulary(folder)).spec.normalizer[0]?.[4]).toBe("false");
  });

  it.each([
    [{ ...unigram, model: { type: "Unigram", vocab: [["a"]] } }, "model.vocab[0]"],
    [{ ...unigram, model: { type: "Unigram" } }, "model.vocab"],
    [{ ...unigram, model: undefined }, "model"],
    [{ ...unigram, added_tokens: [{ id: 1e9, content: "x" }] }, "added_tokens[0]"],
    [{ ...unigram, normalizer: { type: "Precompiled" } }, "precompiled_charsmap"],
    [{ ...bpe([]), model: { ...bpe([]).model, vocab: { a: 0, b: 0 } } }, "twice"],
    [{ ...bpe([]), model: { ...bpe([]).model, vocab: { a: -1 } } }, "id -1"],
    [bpe(["a"]), "merges[0]"],
  ])("names what is damaged (%#)", async (json, what) => {
    write("tokenizer.json", json);
    await expect(readVocabulary(folder)).rejects.toMatchObject({ code: "MODEL_INVALID", message: expect.stringContaining(what) });
  });

  it("says what a folder without a tokenizer lacks", async () => {
    await expect(readVocabulary(folder)).rejects.toMatchObject({
      code: "MODEL_NOT_FOUND",
      message: expect.stringContaining("tokenizer.json"),
    });
    write("tokenizer.json", "{");
    await expect(readVocabulary(folder)).rejects.toThrow("not valid JSON");
  });
});

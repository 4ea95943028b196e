// Ids against Hugging Face tokenizers 0.22.2, through the very path a model takes: folder -> GGUF keys -> native tokenizer.
// The golden checkpoints and a sample travel with the repository; the real vocabularies and their corpus are used when
// they lie in ../shared.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadNative, type NativeTokenizer, type TokenizerSpec } from "../../src/addon/native.js";
import type { MetadataEntry } from "../../src/gguf/metadata-entry.js";
import { compileTokenizerSpec, tokenizerSpecOf } from "../../src/tokenizer/tokenizer-spec.js";
import { readVocabulary } from "../../src/tokenizer/vocabulary.js";
import { checkpoints } from "../golden.js";

const here = dirname(fileURLToPath(import.meta.url));
const golden = join(here, "..", "golden");
const shared = join(here, "..", "..", "..", "shared", "tokenizers");
const scratch = mkdtempSync(join(tmpdir(), "bge-reranker-tokenizer-"));
afterAll(() => rmSync(scratch, { recursive: true }));

const CHECKPOINTS = checkpoints.map(({ name }) => name);

interface Sample {
  readonly texts: readonly string[];
  readonly checkpoints: Readonly<Record<string, readonly (readonly number[])[]>>;
  /** Other rules over the vocabulary of a checkpoint, for every third text. */
  readonly variants: readonly {
    readonly name: string;
    readonly checkpoint: string;
    readonly rules: object;
    readonly ids: readonly (readonly number[])[];
  }[];
}
const sample = JSON.parse(readFileSync(join(here, "tokenizer-sample.json"), "utf8")) as Sample;

/** A tokenizer loaded from a GGUF that holds nothing else. */
function load(metadata: readonly MetadataEntry[], spec: TokenizerSpec): NativeTokenizer {
  const path = join(scratch, `${Math.random()}.gguf`);
  const addon = loadNative();
  addon.writeGgufHeader(path, [["general.architecture", "string", "bert"], ...metadata], []);
  return addon.loadTokenizer(path, spec);
}

async function loadFolder(folder: string): Promise<NativeTokenizer> {
  const { metadata, spec } = await readVocabulary(folder);
  return load(metadata, spec);
}

/** Every text whose ids differ, shortened; an empty list is what each test wants. */
function differences(tokenizer: NativeTokenizer, texts: readonly string[], ids: readonly (readonly number[])[]): string[] {
  return texts
    .filter((text, i) => tokenizer.encode(text, true).join() !== ids[i]?.join())
    .map((text) => JSON.stringify(text.slice(0, 100)));
}

describe.each(CHECKPOINTS)("%s", (name) => {
  const folder = join(golden, name);
  let tokenizer: NativeTokenizer;
  beforeAll(async () => {
    tokenizer = await loadFolder(folder);
  });

  it("gives the golden ids", () => {
    const { strings } = JSON.parse(readFileSync(join(folder, "tokenization.json"), "utf8")) as {
      strings: { text: string; ids: number[] }[];
    };
    expect(strings.length).toBeGreaterThan(280);
    expect(
      differences(
        tokenizer,
        strings.map(({ text }) => text),
        strings.map(({ ids }) => ids),
      ),
    ).toEqual([]);
  });

  it("gives the ids of the sample", () => {
    expect(differences(tokenizer, sample.texts, sample.checkpoints[name] ?? [])).toEqual([]);
  });

  it("takes lone surrogates as U+FFFD and NUL as a character", () => {
    expect(tokenizer.encode("a\ud800b", true)).toEqual(tokenizer.encode("a\ufffdb", true));
    expect(tokenizer.encode("a b\0c", true).length).toBeGreaterThan(tokenizer.encode("a b", true).length - 1);
    expect([...tokenizer.encode("", true)]).toEqual([]);
  });

  it("never gives special ids for text with parseSpecial false", async () => {
    const { spec } = await readVocabulary(folder);
    const special = spec.addedTokens.filter((token) => token.special);
    const ids = new Set(special.map(({ id }) => id));
    for (const id of tokenizer.encode(special.map(({ content }) => `a ${content}b`).join(""), true)) ids.delete(id);
    expect([...ids]).toEqual([]);

    const unknown = new Set(special.filter(({ content }) => /unk/i.test(content)).map(({ id }) => id));
    const all = new Set(special.map(({ id }) => id));
    for (const { content } of special) {
      const given = [...tokenizer.encode(`${content} a${content}`, false)].filter((id) => all.has(id) && !unknown.has(id));
      expect(given).toEqual([]);
    }
  });
});

describe("rules beyond those of the checkpoints", () => {
  it.each(sample.variants)("$name", async ({ checkpoint, rules, ids }) => {
    const folder = join(scratch, `variant-${Math.random()}`);
    mkdirSync(folder);
    const json = JSON.parse(readFileSync(join(golden, checkpoint, "tokenizer.json"), "utf8")) as Record<string, unknown>;
    const charsmap = /"precompiled_charsmap":\s*"([^"]+)"/.exec(JSON.stringify(json))?.[1] ?? "";
    const changed = JSON.stringify(rules).replace('"precompiled_charsmap":""', `"precompiled_charsmap":"${charsmap}"`);
    writeFileSync(join(folder, "tokenizer.json"), JSON.stringify({ ...json, ...(JSON.parse(changed) as object) }));
    // Without this BertTokenizerFast would set its own normalizer.
    writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify({ tokenizer_class: "PreTrainedTokenizerFast" }));
    const texts = sample.texts.filter((_, i) => i % 3 === 0);
    expect(differences(await loadFolder(folder), texts, ids)).toEqual([]);
  });
});

describe("a checkpoint without tokenizer.json", () => {
  it.each([
    ["bert-reranker", "vocab.txt"],
    ["gemma-reranker", "tokenizer.model"],
    ["minicpm-layerwise-reranker", "tokenizer.model"],
    ["gemma2-lightweight-reranker", "tokenizer.model"],
  ])("%s from %s", async (name, file) => {
    const folder = join(scratch, `slow-${name}`);
    mkdirSync(folder);
    for (const item of [file, "tokenizer_config.json", "special_tokens_map.json"]) cpSync(join(golden, name, item), join(folder, item));
    expect(differences(await loadFolder(folder), sample.texts, sample.checkpoints[name] ?? [])).toEqual([]);
  });

  // What transformers 4.57 makes of sentencepiece.bpe.model has the space rules of bge-reranker-v2-m3.
  it("xlmr-m3-reranker from sentencepiece.bpe.model", async () => {
    const folder = join(scratch, "slow-xlmr");
    mkdirSync(folder);
    for (const item of ["sentencepiece.bpe.model", "config.json"]) cpSync(join(golden, "xlmr-m3-reranker", item), join(folder, item));
    const plain = sample.texts
      .map((text, i) => ({ text, ids: sample.checkpoints["xlmr-m3-reranker"]?.[i] ?? [] }))
      .filter(({ text }) => !/\s{2}|\s$/u.test(text));
    expect(plain.length).toBeGreaterThan(50);
    const different = differences(
      await loadFolder(folder),
      plain.map(({ text }) => text),
      plain.map(({ ids }) => ids),
    );
    expect(different.length).toBeLessThan(plain.length / 20); // blanks that only the charsmap makes
  });
});

describe("a GGUF as llama.cpp's converter writes it", () => {
  it.each(["bert-reranker", "minicpm-layerwise-reranker"])("%s", async (name) => {
    const { metadata } = await readVocabulary(join(golden, name));
    const keys = metadata.filter(([key]) => key !== "tokenizer.huggingface.json");
    const header = { metadata: Object.fromEntries(keys.map(([key, type, value]) => [key, { type, value }])) };
    expect(differences(load(keys, tokenizerSpecOf(header)), sample.texts, sample.checkpoints[name] ?? [])).toEqual([]);
  });
});

// --- the real vocabularies

const REAL = [
  { ids: "bge-reranker-base", json: "xlm-roberta/tokenizer.bge-reranker-base.json.gz" },
  { ids: "bge-reranker-v2-m3", json: "xlm-roberta/tokenizer.bge-reranker-v2-m3.json.gz" },
  { ids: "xlm-roberta-base", json: "xlm-roberta/tokenizer.bge-reranker-v2-m3.json.gz", rules: "xlm-roberta/header.xlm-roberta-base.json" },
  { ids: "gemma1", json: "gemma/tokenizer.gemma1.json.gz" },
  { ids: "gemma2", json: "gemma/tokenizer.gemma2.json.gz" },
  { ids: "minicpm-2b", json: "minicpm/tokenizer.json.gz" },
  { ids: "qwen2.5", json: "qwen2.5/tokenizer.json.gz" },
  { ids: "qwen3", json: "qwen3/tokenizer.json.gz" },
  { ids: "roberta", json: "roberta/tokenizer.json.gz" },
  { ids: "modernbert", json: "modernbert/tokenizer.json.gz" },
];
const CLASSES: Readonly<Record<string, string>> = {
  "xlm-roberta": "XLMRobertaTokenizer",
  gemma: "GemmaTokenizer",
  minicpm: "LlamaTokenizer",
  roberta: "RobertaTokenizer",
  "qwen2.5": "Qwen2Tokenizer",
  qwen3: "Qwen2Tokenizer",
  modernbert: "PreTrainedTokenizerFast",
};
const hasReal = existsSync(join(shared, "parity", "corpus.jsonl.gz"));
if (!hasReal) console.warn("tokenizer parity: the real vocabularies are not at ../shared/tokenizers; their corpus is skipped");

describe.skipIf(!hasReal)("the corpus of 8,180 texts", () => {
  const lines = (name: string): unknown[] =>
    gunzipSync(readFileSync(join(shared, "parity", name)))
      .toString("utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as unknown);

  it.each(REAL)("$ids", { timeout: 600_000 }, async ({ ids, json, rules }) => {
    const folder = join(scratch, ids);
    mkdirSync(folder);
    writeFileSync(join(folder, "tokenizer.json"), gunzipSync(readFileSync(join(shared, json))));
    writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify({ tokenizer_class: CLASSES[json.split("/")[0] ?? ""] }));
    const { metadata, spec } = await readVocabulary(folder);
    const tokenizer = load(metadata, rules ? compileTokenizerSpec(JSON.parse(readFileSync(join(shared, rules), "utf8"))) : spec);
    const texts = (lines("corpus.jsonl.gz") as { t: string }[]).map(({ t }) => t);
    expect(texts.length).toBe(8180);
    expect(differences(tokenizer, texts, lines(`ids.${ids}.jsonl.gz`) as number[][])).toEqual([]);
  });
});

// Property tests of the parsers that read files from strangers: golden files, changed by chance from a fixed seed, give a typed
// error that names the place or a value that obeys its rules. `npm run fuzz` goes further, see test/fuzz/.
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { readSafetensorsFolder } from "../../src/convert/safetensors.js";
import { readSentencePieceModel } from "../../src/tokenizer/sentencepiece.js";
import { tokenizerSpecOf } from "../../src/tokenizer/tokenizer-spec.js";
import { readVocabulary } from "../../src/tokenizer/vocabulary.js";
import { installMemoryFiles } from "../fuzz/memory-files.mjs";
import { randomFrom } from "../fuzz/mutate.mjs";
import { safetensors, sentencepiece, tokenizerJson } from "../fuzz/targets.mjs";

const corpus = join(dirname(fileURLToPath(import.meta.url)), "..", "fuzz", "corpus");
const fill = installMemoryFiles();

const ROUNDS = 300;
const parsers = { readSafetensorsFolder, readSentencePieceModel, tokenizerSpecOf, readVocabulary };
const targets = { safetensors: safetensors(parsers), "tokenizer-json": tokenizerJson(parsers), sentencepiece: sentencepiece(parsers) };

describe.each(Object.entries(targets))("%s", (name, target) => {
  it("takes the golden files", async () => {
    for (const bytes of target.seeds()) await target.run(bytes, fill);
  });

  it(`answers ${ROUNDS} changed ones with a typed error or a sound value`, async () => {
    const seeds = target.seeds();
    for (let seed = 1; seed <= ROUNDS; seed++) {
      const random = randomFrom(seed);
      let bytes = seeds[seed % seeds.length] as Buffer;
      for (let i = random(4); i >= 0; i--) bytes = target.mutate(bytes, random);
      await target.run(bytes, fill).catch((cause: Error) => expect.fail(`seed ${seed}: ${cause.stack}`));
    }
  });

  it.each(readdirSync(join(corpus, name)))("keeps right what fuzzing found wrong: %s", async (file) => {
    await target.run(readFileSync(join(corpus, name, file)), fill);
  });
});

describe("what a small file may not ask for", () => {
  const withVocabulary = (vocab: object) =>
    fill({ "config.json": '{"model_type":"bert"}', "tokenizer.json": JSON.stringify({ model: { type: "WordPiece", vocab } }) });

  it("millions of tokens between two ids", async () => {
    await expect(readVocabulary(withVocabulary({ "[UNK]": 0, a: 4_000_000 }))).rejects.toMatchObject({
      code: "MODEL_INVALID",
      message: expect.stringContaining("model.vocab of tokenizer.json has the id 4000000"),
    });
  });

  it("a piece so long that looking for its parts takes minutes", async () => {
    await expect(readVocabulary(withVocabulary({ "[UNK]": 0, ["a".repeat(2000)]: 1 }))).rejects.toMatchObject({
      code: "MODEL_INVALID",
      message: expect.stringContaining("the piece 1 in model.vocab of tokenizer.json has 2000 bytes"),
    });
  });

  it("a normalizer nested deeper than the stack", () => {
    const depth = 50_000;
    const value = `{"normalizer":${'{"type":"Sequence","normalizers":['.repeat(depth)}${"]}".repeat(depth)}}`;
    expect(() => tokenizerSpecOf({ metadata: { "tokenizer.huggingface.json": { type: "string", value } } })).toThrow(
      expect.objectContaining({ code: "MODEL_INVALID", message: expect.stringContaining("nested up to 64 levels deep") }),
    );
  });
});

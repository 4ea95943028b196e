// Checkpoints as savers and trainers leave them, with the scores FlagEmbedding 1.4.0 gives (transformers 4.57.6, peft 0.21),
// and those whose reading is not known, which are refused by name.
import { mkdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { convert } from "../../src/convert/convert.js";
import { FlagAutoReranker } from "../../src/index.js";
import {
  copyGolden,
  editConfig,
  editJson,
  editTensors,
  floatTensor,
  safetensorsBytes,
  type TestTensor,
  temporaryFolder,
} from "../unit/convert-fixtures.js";

const PAIRS = [
  ["what is a panda?", "The giant panda is a bear."],
  ["query", "hi"],
] as const;
const GOLDEN_BERT = [6.873408, 2.934464];
const GOLDEN_GEMMA = [1.712921, 1.878974];

const LORA = { peft_type: "LORA", r: 4, lora_alpha: 8, bias: "none", target_modules: ["q_proj"] };

async function scores(source: string, options: { lora?: string } = {}, pairs: readonly (readonly [string, string])[] = PAIRS) {
  const output = join(await temporaryFolder(), "model.gguf");
  await convert(source, { output, outtype: "f32", ...options });
  await using reranker = await FlagAutoReranker.fromFinetuned(output, { devices: "cpu" });
  return reranker.computeScore(pairs);
}

async function expectScores(
  source: string,
  wanted: readonly number[],
  options: { lora?: string } = {},
  pairs?: readonly (readonly [string, string])[],
) {
  const found = await scores(source, options, pairs);
  expect(found).toHaveLength(wanted.length);
  for (const [i, score] of found.entries()) expect(score).toBeCloseTo(wanted[i] ?? 0, 4);
}

async function expectRefused(source: string, code: string, message: RegExp, options: { lora?: string } = {}) {
  await expect(scores(source, options)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
}

const floats = ({ bytes }: TestTensor): Float32Array => new Float32Array(bytes.slice().buffer);
const scaled = (tensor: TestTensor, by: number): TestTensor => ({
  ...tensor,
  bytes: new Uint8Array(floats(tensor).map((value) => value * by).buffer),
});

describe("the tokenizer's class", () => {
  it.each(["BertJapaneseTokenizer", "PhobertTokenizer", "BertweetTokenizer", "KoBertTokenizer", "MPNetTokenizerFast", "AlbertTokenizer"])(
    "%s is refused, with tokenizer.json and without",
    async (name) => {
      const folder = await copyGolden("bert-reranker");
      await editJson(folder, "tokenizer_config.json", { tokenizer_class: name });
      await expectRefused(folder, "TOKENIZER_UNSUPPORTED", new RegExp(`"${name}"`));
      await rm(join(folder, "tokenizer.json"));
      await expectRefused(folder, "TOKENIZER_UNSUPPORTED", new RegExp(`"${name}"`));
    },
  );

  it("stands in config.json, or follows from model_type, where tokenizer_config.json does not say it", async () => {
    const folder = await copyGolden("bert-reranker");
    await rm(join(folder, "tokenizer_config.json"));
    await expectScores(folder, GOLDEN_BERT);
    await editConfig(folder, { tokenizer_class: "PhobertTokenizer" });
    await expectRefused(folder, "TOKENIZER_UNSUPPORTED", /in config.json is "PhobertTokenizer"/);
  });

  it("is refused where it is the repository's code, or knows no special tokens of its own", async () => {
    const folder = await copyGolden("bert-reranker");
    await editJson(folder, "tokenizer_config.json", { auto_map: { AutoTokenizer: ["tokenization_x.XTokenizer", null] } });
    await expectRefused(folder, "TOKENIZER_UNSUPPORTED", /Python code of the repository \(`auto_map`/);
    await editJson(folder, "tokenizer_config.json", { auto_map: undefined, tokenizer_class: "PreTrainedTokenizerFast" });
    await expectRefused(folder, "TOKENIZER_UNSUPPORTED", /FlagEmbedding then feeds.*without special tokens/);
  });

  it("decides the casing, whatever tokenizer.json says", async () => {
    const folder = await copyGolden("bert-reranker");
    await editJson(folder, "tokenizer_config.json", { do_lower_case: false });
    await expectScores(folder, [-9.668921], {}, [["What Is a Panda?", "The Giant Panda Is a Bear."]]);
  });
});

describe("settings of the tokenizer", () => {
  it("model_input_names without token_type_ids: the document has type 0", async () => {
    const folder = await copyGolden("bert-reranker");
    await editJson(folder, "tokenizer_config.json", { model_input_names: ["input_ids", "attention_mask"] });
    await expectScores(folder, [2.532403, -1.673334]);
  });

  it("split_special_tokens: special tokens spelled in a text are text", async () => {
    const plain = await copyGolden("bert-reranker");
    await editJson(plain, "tokenizer_config.json", { split_special_tokens: true });
    const output = join(await temporaryFolder(), "model.gguf");
    await convert(plain, { output, outtype: "f32" });
    await using reranker = await FlagAutoReranker.fromFinetuned(output, { devices: "cpu" });
    expect([...reranker.tokenize("[CLS]")]).toEqual([136, 2951, 1200, 138]); // [ cl ##s ]
  });

  it.each([
    ["truncation_side", { truncation_side: "Left" }, /`truncation_side` is "Left"/],
    ["fix_mistral_regex", { fix_mistral_regex: true }, /`fix_mistral_regex`/],
    ["model_input_names", { model_input_names: ["pixel_values"] }, /`model_input_names`/],
  ])("%s is refused by name", async (_, change, message) => {
    const folder = await copyGolden("bert-reranker");
    await editJson(folder, "tokenizer_config.json", change);
    await expectRefused(folder, "TOKENIZER_UNSUPPORTED", message);
  });

  it("truncation_side left where a chat template stands around the texts is refused", async () => {
    const folder = await copyGolden("qwen3-reranker");
    await editJson(folder, "tokenizer_config.json", { truncation_side: "left" });
    await expectRefused(folder, "TOKENIZER_UNSUPPORTED", /loses its template/);
  });

  it("pairs joined otherwise than the class joins them are refused", async () => {
    const folder = await copyGolden("bert-reranker");
    await editJson(folder, "tokenizer.json", { post_processor: { type: "RobertaProcessing", sep: ["[SEP]", 102], cls: ["[CLS]", 101] } });
    await expectRefused(folder, "TOKENIZER_UNSUPPORTED", /`post_processor` of tokenizer.json asks for a pair as .*101.*102 102/);
  });

  it("other padding than the model's is refused: positions are counted by it", async () => {
    const folder = await copyGolden("xlmr-reranker");
    await editConfig(folder, { pad_token_id: 0 });
    await expectRefused(folder, "CONVERT_FAILED", /`pad_token_id` in config.json is 0, and the tokenizer's padding has the id 1/);
  });
});

describe("config.json of another release", () => {
  const moved = (parameters: object) => ({ rope_theta: undefined, rope_parameters: parameters });

  it.each([
    ["flat", { rope_theta: 100000, rope_type: "default" }],
    ["without a type", { rope_theta: 100000 }],
    ["by type of layer", { full_attention: { rope_theta: 100000, rope_type: "default" } }],
  ])("rope_parameters, %s", async (_, parameters) => {
    const folder = await copyGolden("gemma-reranker");
    await editConfig(folder, moved(parameters));
    await expectScores(folder, [0.742351, 1.576757]);
  });

  it.each([
    ["scaled", moved({ rope_theta: 10000, rope_type: "linear", factor: 2 }), /Scaled rotary positions/],
    [
      "scaled in one type of layer",
      moved({ full_attention: { rope_theta: 1e4 }, sliding_attention: { rope_theta: 1e4, rope_type: "yarn" } }),
      /Scaled/,
    ],
    ["scaled under the old name", { rope_scaling: { rope_type: "llama3", factor: 8 } }, /`rope_scaling`.*Scaled/],
    [
      "two bases",
      { rope_theta: 10000, rope_parameters: { rope_theta: 20000 } },
      /`rope_theta` is 10000 and `rope_parameters.rope_theta` is 20000/,
    ],
    [
      "two bases by type of layer",
      moved({ a: { rope_theta: 1e4 }, b: { rope_theta: 2e4 } }),
      /rope_parameters.a.rope_theta.*rope_parameters.b/,
    ],
    ["part of a head", { partial_rotary_factor: 0.5 }, /`partial_rotary_factor`/],
    ["no base", { rope_theta: null }, /`rope_theta` is null/],
    ["null where transformers has no null", { num_key_value_heads: null }, /`num_key_value_heads` in config.json is null/],
    ["attention to both sides", { use_bidirectional_attention: true }, /`use_bidirectional_attention`/],
    ["another class", { model_type: "gemma2" }, /`model_type` in config.json is "gemma2"/],
    ["pruned heads", { pruned_heads: { 0: [1] } }, /`pruned_heads`/],
  ])("is refused: %s", async (_, change, message) => {
    const folder = await copyGolden("gemma-reranker");
    await editConfig(folder, change);
    await expectRefused(folder, "CONVERT_FAILED", message);
  });

  it("an absent field has transformers' default for the class", async () => {
    const folder = await copyGolden("gemma-reranker");
    await editConfig(folder, { rope_theta: undefined, rms_norm_eps: undefined, hidden_act: undefined });
    await expectScores(folder, GOLDEN_GEMMA);
    await editConfig(folder, { num_attention_heads: undefined });
    await expectRefused(folder, "CONVERT_FAILED", /config.json says \[512, 96\]/); // 16 heads
  });
});

describe("weights", () => {
  it("come from the single file, whatever index is beside it, and the result says so", async () => {
    const folder = await copyGolden("bert-reranker");
    await writeFile(
      join(folder, "model.safetensors.index.json"),
      JSON.stringify({ weight_map: { x: "model-00001-of-00002.safetensors" } }),
    );
    await expectScores(folder, GOLDEN_BERT);
    const output = join(await temporaryFolder(), "model.gguf");
    expect(await convert(folder, { output })).toMatchObject({
      files: ["model.safetensors"],
      ignoredFiles: ["model.safetensors.index.json"],
    });
    await rename(join(folder, "model.safetensors"), join(folder, "model-00001-of-00002.safetensors"));
    await expectScores(folder, GOLDEN_BERT); // the index alone
  });

  it("of two outputs: the logit of their softmax", async () => {
    for (const [labels, sign] of [
      [undefined, 1],
      [{ 0: "irrelevant", 1: "relevant" }, 1],
      [{ 0: "YES", 1: "NO" }, -1],
    ] as const) {
      const folder = await copyGolden("bert-reranker");
      await editConfig(folder, { id2label: labels, num_labels: undefined });
      await editTensors(folder, (tensors) => {
        const row = floats(tensors["classifier.weight"] as TestTensor);
        const bias = floats(tensors["classifier.bias"] as TestTensor)[0] ?? 0;
        const two = Float32Array.of(...row.map((value) => -2 * value), ...row); // scores -2 x and x
        tensors["classifier.weight"] = floatTensor([2, 80], (i) => two[i] ?? 0);
        tensors["classifier.bias"] = floatTensor([2], (i) => (i === 0 ? -2 * bias : bias));
      });
      await expectScores(
        folder,
        GOLDEN_BERT.map((score) => sign * 3 * score),
      );
    }
  });

  it("of a head beside the embedding table score when config.json says so", async () => {
    const folder = await copyGolden("gemma-reranker");
    const addHead = (tensors: Record<string, TestTensor>) => {
      tensors["lm_head.weight"] = scaled(tensors["model.embed_tokens.weight"] as TestTensor, 2);
    };
    await editTensors(folder, addHead);
    await expectRefused(folder, "CONVERT_FAILED", /transformers 4 scores with the table, 5 with the head/);
    await editConfig(folder, { tie_word_embeddings: false });
    await expectScores(
      folder,
      GOLDEN_GEMMA.map((score) => 2 * score),
    );
  });
});

describe("adapters of a model whose head is its table", () => {
  async function adapter(extra: (table: TestTensor) => Record<string, TestTensor>): Promise<string> {
    const folder = await temporaryFolder();
    let table: TestTensor | undefined;
    await editTensors(await copyGolden("gemma-reranker"), (tensors) => {
      table = tensors["model.embed_tokens.weight"];
    });
    const tensors: Record<string, TestTensor> = extra(table as TestTensor);
    for (const layer of [0, 1, 2]) {
      const name = `base_model.model.model.layers.${layer}.self_attn.q_proj`;
      tensors[`${name}.lora_A.weight`] = floatTensor([4, 96], (i) => (((Math.floor(i / 96) * 7 + (i % 96) * 3) % 11) - 5) / 20);
      tensors[`${name}.lora_B.weight`] = floatTensor([128, 4], (i) => (((Math.floor(i / 4) * 5 + (i % 4) * 2) % 7) - 3) / 10);
    }
    await writeFile(join(folder, "adapter_config.json"), JSON.stringify(LORA));
    await writeFile(join(folder, "adapter_model.safetensors"), safetensorsBytes(tensors));
    return folder;
  }

  it("that save the table leave the head as it was", async () => {
    const lora = await adapter((table) => ({ "base_model.model.model.embed_tokens.weight": scaled(table, 1.5) }));
    await expectScores(await copyGolden("gemma-reranker"), [1.502878, 0.728287], { lora });
  });

  it("that save the head leave the table as it was", async () => {
    const lora = await adapter((table) => ({ "base_model.model.lm_head.weight": scaled(table, 1.5) }));
    await expectScores(await copyGolden("gemma-reranker"), [2.890586, 3.896934], { lora });
  });

  it("with a low rank on the table change both", async () => {
    const lora = await adapter(() => ({
      "base_model.model.model.embed_tokens.lora_embedding_A": floatTensor(
        [4, 3000],
        (i) => (((Math.floor(i / 3000) * 3 + (i % 3000)) % 5) - 2) / 10,
      ),
      "base_model.model.model.embed_tokens.lora_embedding_B": floatTensor(
        [96, 4],
        (i) => (((Math.floor(i / 4) + (i % 4) * 2) % 3) - 1) / 10,
      ),
    }));
    await expectScores(await copyGolden("gemma-reranker"), [2.020237, 3.406087], { lora });
  });
});

describe("what people give for a model", () => {
  const load = (path: string) => FlagAutoReranker.fromFinetuned(path, { devices: "cpu" });

  it("an adapter's folder names the call with its base", async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, "adapter_config.json"), JSON.stringify({ ...LORA, base_model_name_or_path: "org/base" }));
    await expect(load(folder)).rejects.toThrow(/holds a LoRA adapter.*"org\/base" with `peftPath`/);
    await writeFile(join(folder, "adapter_model.bin"), "");
    await expectRefused(await copyGolden("gemma-reranker"), "CONVERT_FAILED", /PeftModel.*save_pretrained\(".*-safetensors"\)/, {
      lora: folder,
    });
  });

  it("an adapter inside a model's folder is not passed over", async () => {
    const folder = await copyGolden("gemma-reranker");
    await writeFile(join(folder, "adapter_config.json"), "{}");
    await expectRefused(folder, "CONVERT_FAILED", /LoRA adapter .* beside a model/);
  });

  it("a folder of the Hugging Face cache names the repository", async () => {
    const cache = await temporaryFolder();
    const repository = join(cache, "models--BAAI--bge-reranker-base");
    await mkdir(join(repository, "snapshots", "abc"), { recursive: true });
    await expect(load(repository)).rejects.toThrow(/name it "BAAI\/bge-reranker-base", or ".*sn/);
    await expect(load(cache)).rejects.toThrow(/a Hugging Face cache; name one of its models: BAAI\/bge-reranker-base/);
  });

  it("one file of a checkpoint names its folder", async () => {
    const folder = await copyGolden("bert-reranker");
    await expect(load(join(folder, "model.safetensors"))).rejects.toThrow(/one file of a checkpoint; give its folder/);
  });

  it("code of a repository is not run", async () => {
    const folder = await copyGolden("bert-reranker");
    await editConfig(folder, { architectures: ["XForSequenceClassification"], auto_map: { AutoConfig: "x.XConfig" } });
    await expectRefused(folder, "CONVERT_FAILED", /"XForSequenceClassification" is not supported\. Its code is part of the repository/);
  });

  it.skipIf(process.platform === "win32")("pipes, devices and folders in place of files are told apart at once", async () => {
    const { execFileSync } = await import("node:child_process");
    for (const name of ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]) {
      const folder = await copyGolden("bert-reranker");
      await rm(join(folder, name));
      execFileSync("mkfifo", [join(folder, name)]);
      await expectRefused(folder, "IO", /is a pipe, no regular file/);
      await rm(join(folder, name));
      await symlink("/dev/zero", join(folder, name));
      await expectRefused(folder, "IO", /is a device, no regular file/);
      await rm(join(folder, name));
      await mkdir(join(folder, name));
      await expectRefused(folder, "IO", /is a folder, no regular file/);
    }
    const fifo = join(await temporaryFolder(), "model.gguf");
    execFileSync("mkfifo", [fifo]);
    await expect(load(fifo)).rejects.toMatchObject({ code: "IO", message: expect.stringContaining("is a pipe") });
  });
});

// Classifiers of one label on Gemma, Gemma 2 and Llama, with the ids and scores of AutoModelForSequenceClassification (transformers 4.57.6;
// 5.24.0 gives the same of Gemma and Llama): golden checkpoints with a head in place of the language model's.
import { readFileSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { convert } from "../../src/convert/convert.js";
import { FlagLLMReranker, type Pair, Reranker } from "../../src/index.js";
import { copyGolden, editConfig, editJson, editTensors, floatTensor, temporaryFolder } from "../unit/convert-fixtures.js";

interface Run {
  readonly maxLength: number | null;
  readonly ids: readonly (readonly number[])[];
  readonly scores: readonly number[];
}
const { pairs, checkpoints }: { pairs: Pair[]; checkpoints: Record<string, Run[]> } = JSON.parse(
  readFileSync(new URL("pair-classifier-cases.json", import.meta.url), "utf8"),
);
const TOLERANCE = 2e-4;

const score = (hidden: number, labels = 1) => floatTensor([labels, hidden], (i) => (((i * 37) % 23) - 11) / 16);

async function gemma(config: Record<string, unknown> = {}): Promise<string> {
  const folder = await copyGolden("gemma-reranker");
  await editConfig(folder, { architectures: ["GemmaForSequenceClassification"], id2label: { 0: "LABEL_0" }, ...config });
  await editTensors(folder, (tensors) => {
    tensors["score.weight"] = score(96);
  });
  return folder;
}

async function gemma2(config: Record<string, unknown> = {}): Promise<string> {
  const folder = await copyGolden("gemma2-lightweight-reranker");
  await editConfig(folder, {
    architectures: ["Gemma2ForSequenceClassification"],
    model_type: "gemma2",
    id2label: { 0: "LABEL_0" },
    layer_wise: undefined,
    start_layer: undefined,
    layer_sep: undefined,
    ...config,
  });
  await editTensors(folder, (tensors) => {
    for (const name of Object.keys(tensors)) if (name.startsWith("lm_head.")) delete tensors[name];
    tensors["score.weight"] = score(96);
  });
  return folder;
}

/** With a tokenizer as Llama 3's: bytes, and a post-processor that no class has. */
async function llama(config: Record<string, unknown> = {}): Promise<string> {
  const folder = await copyGolden("llama-flag-reranker");
  await editConfig(folder, {
    architectures: ["LlamaForSequenceClassification"],
    id2label: { 0: "LABEL_0" },
    pad_token_id: 1500,
    ...config,
  });
  await editTensors(folder, (tensors) => {
    tensors["score.weight"] = score(48);
  });
  const bos = "<|im_start|>";
  await editJson(folder, "tokenizer_config.json", {
    tokenizer_class: "PreTrainedTokenizerFast",
    bos_token: bos,
    eos_token: "<|im_end|>",
    pad_token: "<|endoftext|>",
    add_bos_token: undefined,
    add_prefix_space: undefined,
  });
  const { post_processor: bytes } = JSON.parse(await readFile(join(folder, "tokenizer.json"), "utf8"));
  const special = (type: number) => ({ SpecialToken: { id: bos, type_id: type } });
  const text = (id: string, type: number) => ({ Sequence: { id, type_id: type } });
  const template = {
    type: "TemplateProcessing",
    single: [special(0), text("A", 0)],
    pair: [special(0), text("A", 0), special(1), text("B", 1)],
    special_tokens: { [bos]: { id: bos, ids: [1501], tokens: [bos] } },
  };
  await editJson(folder, "tokenizer.json", { post_processor: { type: "Sequence", processors: [bytes, template] } });
  return folder;
}

async function load(folder: string, outtype = "f32"): Promise<Reranker> {
  const output = join(await temporaryFolder(), "model.gguf");
  await convert(folder, { output, outtype });
  return Reranker.load(output, { devices: "cpu" });
}

const furthest = (found: readonly number[], wanted: readonly number[]) =>
  Math.max(...found.map((x, i) => Math.abs(x - (wanted[i] ?? NaN))));

describe.each([
  ["gemma-reranker", gemma, 0, 1],
  ["gemma2-lightweight-reranker", gemma2, 0, 2.5],
  ["llama-flag-reranker", llama, 1500, 1],
] as const)("%s as a classifier", (name, make, padding, rounding) => {
  it("reads the ids of transformers and gives its scores, alone and in a batch", async () => {
    await using reranker = await load(await make());
    expect(reranker.model).toMatchObject({ class: "cross-encoder", form: "pair-classifier", truncation: "longest_first" });
    for (const { maxLength, ids, scores } of checkpoints[name] ?? []) {
      const options = maxLength === null ? {} : { maxLength };
      for (const [i, [query, document]] of pairs.entries()) {
        // The score is read before padding, so that padding spelled at the end of a text is not read.
        const wanted = [...(ids[i] ?? [])];
        while (wanted.at(-1) === padding) wanted.pop();
        expect([...reranker.encodePair(query, document, options).inputIds], `${i}, ${maxLength}`).toEqual(wanted);
      }
      const batch = await reranker.computeScore(pairs, options);
      expect(furthest(batch, scores)).toBeLessThan(TOLERANCE);
      const alone: number[] = [];
      for (const pair of pairs) alone.push(...(await reranker.computeScore([pair], options)));
      expect(alone).toEqual(batch);
    }
  });

  it("keeps its head whatever type the weights have", async () => {
    await using reranker = await load(await make(), "q8_0");
    const found = await reranker.computeScore(pairs);
    expect(furthest(found, checkpoints[name]?.[0]?.scores ?? [])).toBeLessThan(rounding); // they spread by 4
  });
});

it("Gemma 2 as transformers writes it down: every second layer has a window", async () => {
  const types = ["sliding_attention", "full_attention"];
  const layers = (at: (i: number) => number) => Array.from({ length: 8 }, (_, i) => types[at(i)]);
  await using reranker = await load(await gemma2({ layer_types: layers((i) => i % 2) }));
  expect(reranker.model).toMatchObject({ cutoffLayers: [], compress: null });
  const found = await reranker.computeScore(pairs);
  expect(furthest(found, checkpoints["gemma2-lightweight-reranker"]?.[0]?.scores ?? [])).toBeLessThan(TOLERANCE);
  const output = join(await temporaryFolder(), "model.gguf");
  for (const wrong of [layers((i) => (i >> 1) % 2), layers((i) => i % 2).slice(1), layers((i) => i % 2).slice(0, 6)]) {
    await expect(convert(await gemma2({ layer_types: wrong }), { output })).rejects.toThrow(/windows in every second layer/);
  }
  for (const num_hidden_layers of ["8", null]) {
    const folder = await gemma2({ layer_types: layers((i) => i % 2), num_hidden_layers });
    await expect(convert(folder, { output })).rejects.toThrow(/^`num_hidden_layers` in config.json/);
  }
});

describe("a classifier whose input is open is refused", () => {
  const refused = async (folder: string, message: RegExp) =>
    expect(convert(folder, { output: join(await temporaryFolder(), "model.gguf") })).rejects.toThrow(message);

  it.each([null, 1])("pad_token_id %j", async (id) => refused(await gemma({ pad_token_id: id }), /last token that is not padding/));
  it("no pad_token_id where the class has none of its own", async () =>
    refused(await llama({ pad_token_id: undefined }), /`pad_token_id` in config.json is null/));

  it.each([null, { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true }])(
    "post_processor %j",
    async (processor) => {
      const folder = await gemma();
      await editJson(folder, "tokenizer.json", { post_processor: processor });
      await refused(folder, /no `post_processor` that joins two texts/);
    },
  );
  it("a vocabulary file without tokenizer.json", async () => {
    const folder = await gemma();
    await rm(join(folder, "tokenizer.json"));
    await refused(folder, /no `post_processor` that joins two texts/);
  });
  it("another way of joining than with the first token before both", async () => {
    const folder = await gemma();
    const { post_processor: template } = JSON.parse(await readFile(join(folder, "tokenizer.json"), "utf8"));
    const pair = template.pair.filter((_: unknown, i: number) => i !== 2);
    await editJson(folder, "tokenizer.json", { post_processor: { ...template, pair } });
    await refused(folder, /asks for a pair as \[2\] query \[\] document/);
  });
  it.each([
    { add_bos_token: false },
    { add_eos_token: true },
    { add_bos_token: undefined }, // transformers 5 then takes false, because add_eos_token is there
  ])("%j", async (change) => {
    const folder = await gemma();
    await editJson(folder, "tokenizer_config.json", change);
    await refused(folder, /`add_bos_token` is .* and `add_eos_token`/);
  });
  it("two labels", async () => {
    const folder = await gemma({ id2label: { 0: "no", 1: "yes" } });
    await editTensors(folder, (tensors) => {
      tensors["score.weight"] = score(96, 2);
    });
    await refused(folder, /two labels is not supported/);
  });
  it("a chat template with query and document", async () => {
    const folder = await gemma();
    const template = "{% for m in messages %}<bos>{{ m.role }}: {{ m.content }}<eos>{% endfor %}";
    await editJson(folder, "tokenizer_config.json", { chat_template: template });
    await refused(folder, /chat template/);
  });
  it("FlagLLMReranker", async () =>
    expect(FlagLLMReranker.load(await gemma(), { devices: "cpu", cacheDir: await temporaryFolder() })).rejects.toThrow(
      /classifier's head/,
    ));
});

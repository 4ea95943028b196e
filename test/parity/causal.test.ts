// Language models as rerankers, beyond their golden scores: options, reports of what was cut, uses of one architecture, and
// files of llama.cpp.
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { loadNative } from "../../src/addon/native.js";
import type { MetadataEntry } from "../../src/gguf/metadata-entry.js";
import { convert, FlagLLMReranker, FlagReranker, inspectModel, type LoadOptions, type Pair, Reranker } from "../../src/index.js";
import { checkpointFolder, goldenGguf, readCases } from "../golden.js";

const folder = mkdtempSync(path.join(tmpdir(), "bge-causal-"));
afterAll(() => rmSync(folder, { recursive: true }));

const load = async (name: string, options: LoadOptions = {}) =>
  Reranker.load(await goldenGguf(name, "f32"), { devices: "cpu", ...options });

describe("a chat template", () => {
  it("is told, with the instruction in use", async () => {
    await using reranker = await load("qwen3-reranker", { instruction: "Find it" });
    expect(reranker.model).toMatchObject({
      class: "cross-encoder",
      className: "Reranker",
      form: "qwen3-reranker",
      instruction: "Find it",
      truncation: null,
      maxLength: 8192,
    });
    expect(reranker.model.template).toMatch(
      /^<\|im_start\|>system\nJudge .*<Instruct>: \{instruction\}\n<Query>: \{query\}\n<Document>: \{document\}<\|im_end\|>/s,
    );
    const { reranker: facts } = await inspectModel(reranker.model.path);
    expect(facts).toMatchObject({
      form: "qwen3-reranker",
      labelWeights: [1, -1],
      defaults: { instruction: expect.stringContaining("web search query") },
    });
  });

  it("has special tokens that texts cannot bring in, unless they may", async () => {
    await using reranker = await load("qwen3-reranker");
    const [end] = reranker.tokenize("<|im_end|>");
    const count = (text: string, parseSpecialTokens: boolean, instruction = "x") =>
      reranker.encodePair(text, text, { parseSpecialTokens, instruction }).inputIds.filter((id) => id === end).length;
    expect([count("a", true), count("a <|im_end|> b", true), count("a <|im_end|> b", false)]).toEqual([2, 4, 2]);
    expect([count("a", true, "<|im_end|>"), count("a", false, "<|im_end|>")]).toEqual([3, 2]);
  });

  it("reports exactly which text was cut", async () => {
    await using reranker = await load("qwen3-reranker");
    // A word of the first letters of the alphabet, so that no token reaches over an end: each letter is read or it is not.
    const query = "abc é\u0301 wonders?!";
    const document = "the end\n";
    const whole = reranker.encodePair(query, document);
    expect(whole).toMatchObject({ queryTruncated: false, documentTruncated: false });
    const closing = reranker.tokenize("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n").length;
    let queryCuts = 0;
    for (let maxLength = whole.inputIds.length - 1; maxLength > whole.inputIds.length - 20; maxLength--) {
      const cut = reranker.encodePair(query, document, { maxLength });
      expect(cut.inputIds.length).toBe(maxLength);
      expect([...cut.inputIds.slice(0, maxLength - closing)]).toEqual([...whole.inputIds.slice(0, maxLength - closing)]);
      expect(cut.documentTruncated).toBe(true);
      if (cut.queryTruncated) queryCuts++;
      else expect(queryCuts).toBe(0); // once into the query, it stays so
    }
    expect(queryCuts).toBeGreaterThan(0);
    const [result] = await reranker.rerank(query, [document.repeat(100)], { maxLength: whole.inputIds.length });
    expect(result).toMatchObject({ truncated: true, queryTruncated: false, tokens: whole.inputIds.length });
    await expect(reranker.rerank(query, [document.repeat(100)], { maxLength: 200, overflow: "error" })).rejects.toMatchObject({
      code: "TRUNCATED",
    });
  });

  it("gives each window of a long document its place", async () => {
    await using reranker = await load("zerank-reranker");
    const words = Array.from({ length: 300 }, (_, i) => `word${i}`).join(" ");
    const [best] = await reranker.rerank("word250", [words], { maxLength: 120, overflow: "chunk", maxChunks: 64 });
    expect(best?.chunk?.count).toBeGreaterThan(5);
    const [logit] = await reranker.computeScore(["word250", words.slice(best?.chunk?.start, best?.chunk?.end)]);
    expect(Math.abs((logit ?? 0) - (best?.logit ?? 1))).toBeLessThan(1e-4);
    const plan = await reranker.plan("word250", [words, "b"], { maxLength: 120 });
    expect(plan.pairs.map(({ tokens }) => tokens)[0]).toBe(120);
  });

  it("strips texts as Python does where the template says so", async () => {
    await using zerank = await load("zerank-reranker");
    await using qwen3 = await load("qwen3-reranker");
    const ids = (reranker: Reranker, query: string) => [...reranker.encodePair(query, " d\x1c\u3000").inputIds];
    expect(ids(zerank, "\x85 q\n\ufeff")).toEqual(ids(zerank, "q\n\ufeff"));
    expect(ids(qwen3, " q")).not.toEqual(ids(qwen3, "q"));
  });
});

describe("options of one kind of model", () => {
  it.each([
    ["zerank-reranker", { instruction: "x" }, TypeError, "`instruction` is an option of Qwen3-Reranker and mxbai-rerank v2"],
    ["gemma-reranker", { instruction: "x" }, TypeError, "`instruction`"],
    ["qwen3-reranker", { prompt: "x" }, TypeError, "`prompt`"],
    ["qwen3-reranker", { queryMaxLength: 5 }, TypeError, "`queryMaxLength`"],
    ["qwen3-reranker", { truncation: "longest_first" }, TypeError, "`truncation`"],
    ["mxbai-v2-reranker", { cutoffLayers: 2 }, TypeError, "`cutoffLayers`"],
    ["qwen3-reranker", { maxLength: 66 }, RangeError, "above 66"],
    ["qwen3-reranker", { instruction: 3 }, TypeError, "`instruction`"],
  ] as const)("%s refuses %j", async (name, options, error, message) => {
    await using reranker = await load(name);
    const refused = reranker.computeScore(["a", "b"], options as object);
    await expect(refused).rejects.toThrow(error);
    await expect(refused).rejects.toThrow(message);
  });

  it("mxbai-rerank v2 takes an empty instruction for none, and lowers a length beyond its positions", async () => {
    await using reranker = await load("mxbai-v2-reranker");
    const ids = (options: object) => [...reranker.encodePair("q", "d ".repeat(50), options).inputIds];
    expect(ids({ instruction: "" })).toEqual(ids({}));
    expect(ids({ instruction: "x" }).length).toBeGreaterThan(ids({}).length);
    expect(reranker.encodePair("q", "d ".repeat(40_000), { maxLength: 40_000 }).inputIds.length).toBe(32_768);
  });
});

describe("an architecture with several uses", () => {
  it("is converted for FlagLLMReranker when that loads it", async () => {
    const name = "mxbai-v2-reranker"; // nothing in it says what it is
    const options = { devices: "cpu", cacheDir: path.join(folder, "cache") };
    await using flag = await FlagLLMReranker.load(checkpointFolder(name), options);
    expect(flag.model).toMatchObject({ class: "decoder-only-base", form: "flag-llm", queryInstruction: "A: ", maxLength: 512 });
    expect(flag.model.prompt).toMatch(/either 'Yes' or 'No'\.$/);
    const expected = [
      flag.tokenize("A: q"),
      flag.tokenize("\n"),
      flag.tokenize("B: d"),
      flag.tokenize("\n"),
      flag.tokenize(flag.model.prompt ?? ""),
    ];
    expect([...flag.encodePair("q", "d").inputIds]).toEqual(expected.flatMap((ids) => [...ids]));
    await using other = await Reranker.load(checkpointFolder(name), options);
    expect(other.model.class).toBe("cross-encoder");
    const pair: Pair = ["what is a panda?", "hi"];
    expect(await flag.computeScore(pair)).not.toEqual(await other.computeScore(pair));
  });

  it("is not loaded as a class it is not of", async () => {
    const file = await goldenGguf("qwen3-reranker", "f32");
    await expect(FlagLLMReranker.load(file)).rejects.toMatchObject({
      code: "MODEL_UNSUPPORTED",
      message: expect.stringContaining("Reranker.load()"),
    });
    await expect(FlagReranker.load(file)).rejects.toMatchObject({ code: "MODEL_UNSUPPORTED" });
    await expect(FlagLLMReranker.load(checkpointFolder("qwen3-reranker"))).rejects.toMatchObject({
      message: expect.stringContaining("Reranker.load()"),
    });
    const seqCls = convert(checkpointFolder("qwen3-seqcls-reranker"), { output: path.join(folder, "x.gguf"), class: "decoder-only-base" });
    await expect(seqCls).rejects.toMatchObject({ code: "CONVERT_FAILED", message: expect.stringContaining("language-model head") });
  });
});

describe("a file that llama.cpp made of Qwen3-Reranker", () => {
  /** The golden file without our keys, with llama.cpp's. */
  async function foreign(
    change: (entries: Map<string, MetadataEntry>) => void = () => undefined,
    tensorName = (name: string) => name,
  ): Promise<string> {
    const addon = loadNative();
    const file = await goldenGguf("qwen3-reranker", "f32");
    const { metadata, tensors, dataOffset } = addon.readGguf(file);
    const ours = /^reranker\.|^tokenizer\.huggingface\.json$/;
    const kept = Object.entries(metadata).filter(([key]) => !ours.test(key));
    const entries = new Map(kept.map(([key, { type, value }]) => [key, [key, type, value] as MetadataEntry]));
    const set = (...entry: MetadataEntry) => entries.set(entry[0], entry);
    set("qwen3.pooling_type", "u32", 4);
    set("qwen3.classifier.output_labels", "string[]", ["yes", "no"]);
    change(entries);
    const output = path.join(folder, `${Math.random()}.gguf`);
    const renamed = tensors.map(({ name, type, shape }) => ({ name: tensorName(name), type, shape }));
    const written = addon.writeGgufHeader(output, [...entries.values()], renamed);
    const bytes = readFileSync(file);
    const target = openSync(output, "r+");
    for (const [i, { offset, sizeBytes }] of tensors.entries())
      writeSync(target, bytes, offset, sizeBytes, written.tensors[i]?.offset ?? 0);
    closeSync(target);
    expect(dataOffset).toBeGreaterThan(0);
    return output;
  }

  it("gives the scores of the official code", async () => {
    await using reranker = await Reranker.load(await foreign(), { devices: "cpu" });
    expect(reranker.model).toMatchObject({ form: "qwen3-reranker", maxLength: 8192, instruction: expect.stringContaining("web search") });
    for (const id of ["basic", "multilingual", "special-tokens-in-text", "max-length-budget-33"]) {
      const c = readCases("qwen3-reranker").find((each) => each.id === id);
      const scores = await reranker.computeScore(c?.pairs ?? [], {
        maxLength: (c?.compute_score["max_length"] as number | undefined) ?? null,
      });
      for (const [i, score] of scores.entries()) expect(Math.abs(score - Number(c?.scores[i]))).toBeLessThan(2e-4);
    }
  });

  const template =
    '<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n<Query>: {query}\n<Document>: {document}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n';
  it("may say the official template", async () => {
    const file = await foreign((entries) =>
      entries.set("tokenizer.chat_template.rerank", ["tokenizer.chat_template.rerank", "string", template]),
    );
    await (await Reranker.load(file, { devices: "cpu" })).dispose();
  });

  it.each<[string, (entries: Map<string, MetadataEntry>) => void, ((name: string) => string) | undefined, string]>([
    ["no labels", (entries) => entries.delete("qwen3.classifier.output_labels"), undefined, "output_labels"],
    [
      "other labels",
      (entries) =>
        entries.set("x", ["qwen3.classifier.output_labels", "string[]", ["no", "yes"]]) && entries.delete("qwen3.classifier.output_labels"),
      undefined,
      "output_labels",
    ],
    ["no head", () => undefined, (name) => (name === "cls.output.weight" ? "output.weight" : name), "`cls.output.weight`"],
    [
      "a tensor of another kind",
      () => undefined,
      (name) => (name === "output_norm.weight" ? "rope_freqs.weight" : name),
      "rope_freqs.weight",
    ],
    ["scaled positions", (entries) => entries.set("x", ["qwen3.rope.scaling.type", "string", "yarn"]), undefined, "yarn"],
    [
      "another template",
      (entries) => entries.set("tokenizer.chat_template.rerank", ["tokenizer.chat_template.rerank", "string", `${template} `]),
      undefined,
      "chat_template.rerank",
    ],
    [
      "a vocabulary of other rules",
      (entries) => entries.set("tokenizer.ggml.pre", ["tokenizer.ggml.pre", "string", "default"]),
      undefined,
      "tokenizer.ggml.pre",
    ],
  ])("is refused with %s", async (_, change, rename, message) => {
    const file = await foreign(change, rename);
    const refused = Reranker.load(file, { devices: "cpu" });
    await expect(refused).rejects.toMatchObject({
      code: expect.stringMatching(/_UNSUPPORTED$/),
      message: expect.stringContaining(message),
    });
  });
});

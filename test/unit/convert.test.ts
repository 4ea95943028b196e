// Whole conversions of the golden checkpoints, and what is in the files.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { describe, expect, it } from "vitest";
import { type GgufHeader, loadNative } from "../../src/addon/native.js";
import { convert } from "../../src/convert/convert.js";
import type { ConvertProgress } from "../../src/convert/options.js";
import { quantize } from "../../src/convert/quantize.js";
import {
  copyGolden,
  editConfig,
  editTensors,
  floatTensor,
  GOLDEN,
  GOLDEN_NAMES,
  readTestTensors,
  safetensorsBytes,
  temporaryFolder,
} from "./convert-fixtures.js";

const addon = loadNative();

async function convertGolden(name: string, outtype: string, source = join(GOLDEN, name)) {
  const output = join(await temporaryFolder(), "model.gguf");
  const result = await convert(source, { output, outtype });
  return { result, ...(await open(output)) };
}

async function open(path: string) {
  const header = addon.readGguf(path);
  const bytes = await readFile(path);
  const value = (key: string) => header.metadata[key]?.value;
  return { header, bytes, value, tensor: (name: string) => tensorFloats(header, bytes, name) };
}

/** A tensor's values, whatever type it is stored in. */
async function tensorFloats(header: GgufHeader, bytes: Buffer, name: string): Promise<Float32Array> {
  const tensor = header.tensors.find((each) => each.name === name);
  if (!tensor) throw new Error(`no tensor ${name}`);
  const data = Uint8Array.from(bytes.subarray(tensor.offset, tensor.offset + tensor.sizeBytes));
  return new Float32Array((await addon.convertRows(data, tensor.type, "F32", tensor.shape[0] ?? 1)).slice().buffer);
}

async function sourceFloats(name: string, tensor: string): Promise<Float32Array> {
  const tensors = await readTestTensors(join(GOLDEN, name, "model.safetensors"));
  return new Float32Array((tensors[tensor]?.bytes ?? new Uint8Array()).slice().buffer);
}

describe("the output", () => {
  it("is never a file that is read to make it", async () => {
    const source = await copyGolden("bert-reranker");
    const before = await readFile(join(source, "model.safetensors"));
    const link = join(await temporaryFolder(), "link.gguf");
    await symlink(join(source, "model.safetensors"), link);
    for (const output of [join(source, "model.safetensors"), join(source, "config.json"), link])
      await expect(convert(source, { output, overwrite: true })).rejects.toMatchObject({
        code: "IO",
        message: expect.stringContaining("is read to make it"),
      });
    expect(await readFile(join(source, "model.safetensors"))).toEqual(before);
    const file = join(await temporaryFolder(), "model.gguf");
    await convert(source, { output: file, outtype: "f32" });
    await expect(quantize(file, file, "q8_0", { overwrite: true })).rejects.toMatchObject({ code: "IO" });
  });

  it("sweeps what a killed process left, and nothing of one that lives", async () => {
    const source = await copyGolden("bert-reranker");
    const folder = await temporaryFolder();
    const killed = spawnSync(process.execPath, ["-e", ""]).pid;
    let tag = "";
    await convert(source, { output: join(folder, "a.gguf"), onProgress: () => { tag ||= readdirSync(folder).find((name) => name.endsWith(".tmp")) ?? ""; } }); // biome-ignore format: one line
    expect(tag).toMatch(/^\.a\.gguf\.\d+-[0-9a-f]{8}\.[0-9a-f]{12}\.tmp$/);
    const mine = tag.replace(/^\.a/, ".b");
    const theirs = tag.replace(/^\.a/, ".c").replace(/\.\d+-/, `.${killed}-`);
    const elsewhere = theirs.replace(/-[0-9a-f]{8}\./, "-00000000.");
    for (const name of [mine, theirs, elsewhere]) await writeFile(join(folder, name), "");
    await convert(source, { output: join(folder, "d.gguf") });
    expect((await readdir(folder)).sort()).toEqual([mine, elsewhere, "a.gguf", "d.gguf"].sort());
  });
});

describe("convert", () => {
  it.each(GOLDEN_NAMES)("%s to F32 says what it is", async (name) => {
    const { result, header, value } = await convertGolden(name, "f32");
    expect(value("reranker.class")).toBe(result.class);
    expect(value("reranker.model")).toBe(name);
    const found = await readdir(join(GOLDEN, name), { recursive: true });
    const isModule = (file: string) => Number(file.includes("/"));
    const files = found.filter((file) => file.endsWith(".safetensors") && !file.endsWith("activations.safetensors"));
    const hash = createHash("sha256");
    for (const file of files.sort((a, b) => isModule(a) - isModule(b) || (a < b ? -1 : 1)))
      hash.update(await readFile(join(GOLDEN, name, file)));
    expect(value("reranker.source.sha256")).toBe(hash.digest("hex"));
    expect(result.sourceSha256).toBe(value("reranker.source.sha256"));
    expect(new Set(header.tensors.map(({ type }) => type))).toEqual(new Set(["F32"]));
    expect(result.sizeBytes).toBe(header.fileSizeBytes);
    expect((await stat(result.path)).size).toBe(header.fileSizeBytes);
  });

  it("drops the rows before XLM-R's first position and keeps the padding token's", async () => {
    const { tensor, value } = await convertGolden("xlmr-reranker", "f32");
    const table = await sourceFloats("xlmr-reranker", "roberta.embeddings.position_embeddings.weight");
    expect(await tensor("position_embd.weight")).toEqual(table.slice(2 * 96));
    expect(Float32Array.from(value("reranker.position.pad_row") as number[])).toEqual(table.slice(96, 2 * 96));
  });

  it("adds one to Gemma's norms, not to MiniCPM's", async () => {
    const gemma = await convertGolden("gemma-reranker", "f32");
    const norm = await sourceFloats("gemma-reranker", "model.norm.weight");
    expect(await gemma.tensor("output_norm.weight")).toEqual(norm.map((w) => 1 + w));
    const minicpm = await convertGolden("minicpm-layerwise-reranker", "f32");
    expect(await minicpm.tensor("output_norm.weight")).toEqual(await sourceFloats("minicpm-layerwise-reranker", "model.norm.weight"));
  });

  it("interleaves the halves of MiniCPM's query heads", async () => {
    const { tensor } = await convertGolden("minicpm-layerwise-reranker", "f32");
    const source = await sourceFloats("minicpm-layerwise-reranker", "model.layers.1.self_attn.q_proj.weight");
    const row = (values: Float32Array, i: number) => values.slice(i * 96, (i + 1) * 96);
    const target = await tensor("blk.1.attn_q.weight");
    // Heads of 16 rows: 0, 8, 1, 9, ...
    for (const [to, from] of [
      [0, 0],
      [1, 8],
      [2, 1],
      [15, 15],
      [16, 16],
      [17, 24],
    ] as const) {
      expect(row(target, to)).toEqual(row(source, from));
    }
  });

  it("stacks the score heads and folds BERT's pooler into the classifier", async () => {
    const gemma2 = await convertGolden("gemma2-lightweight-reranker", "q8_0");
    expect((await gemma2.tensor("reranker.head.weight")).slice(3 * 96, 4 * 96)).toEqual(
      await sourceFloats("gemma2-lightweight-reranker", "lm_head.3.linear_head.weight"),
    );
    const bert = await convertGolden("bert-reranker", "f16");
    expect(await bert.tensor("cls.weight")).toEqual(await sourceFloats("bert-reranker", "bert.pooler.dense.weight"));
    expect(await bert.tensor("cls.output.weight")).toEqual(await sourceFloats("bert-reranker", "classifier.weight"));
  });

  it("stores the ids of separator, prompt and the scored word", async () => {
    const { value } = await convertGolden("gemma-reranker", "f32");
    const { tokens, model_inputs } = JSON.parse(await readFile(join(GOLDEN, "gemma-reranker", "tokenization.json"), "utf8"));
    const prompt = [...(value("reranker.prompt_ids") as number[])];
    expect([...(value("reranker.separator_ids") as number[])]).toEqual([tokens.newline].flat());
    expect(value("reranker.token_id")).toBe([tokens.yes].flat()[0]);
    expect(model_inputs[0].input_ids.slice(-prompt.length)).toEqual(prompt);
  });

  it("falls back where rows do not divide into blocks, and says so", async () => {
    const { result, header } = await convertGolden("minicpm-layerwise-reranker", "q4_k");
    const typeOf = (name: string) => header.tensors.find((tensor) => tensor.name === name)?.type;
    expect(typeOf("blk.0.attn_q.weight")).toBe("Q5_0"); // rows of 96
    expect(typeOf("blk.0.ffn_down.weight")).toBe("F16"); // rows of 240
    expect(typeOf("token_embd.weight")).toBe("Q8_0");
    expect(typeOf("reranker.head.weight")).toBe("F32");
    expect(result.fallbacks).toContainEqual({
      tensor: "blk.0.ffn_down.weight",
      type: "F16",
      reason: expect.stringMatching(/rows of 240.*blocks of 256/),
    });
  });

  it.each(
    addon
      .tensorTypes()
      .filter((type) => type.writable)
      .map((type) => [type.name]),
  )("makes %s", async (type) => {
    const { result, tensor } = await convertGolden("xlmr-reranker", type);
    expect(result.outtype).toBe(type);
    expect((await tensor("blk.0.ffn_down.weight")).every(Number.isFinite)).toBe(true); // rows of 256
  });

  it("gives the weights that `tensorTypes` names another type", async () => {
    const output = join(await temporaryFolder(), "model.gguf");
    await convert(join(GOLDEN, "xlmr-reranker"), {
      output,
      outtype: "q8_0",
      tensorTypes: { "blk\\.1\\.attn_[qkv]\\.": "f16", attn_: "bf16" },
    });
    const { header } = await open(output);
    const types = Object.fromEntries(header.tensors.map(({ name, type }) => [name, type]));
    expect(types).toMatchObject({
      "blk.1.attn_q.weight": "F16",
      "blk.0.attn_q.weight": "BF16",
      "blk.1.attn_output.weight": "BF16",
      "blk.1.attn_output_norm.weight": "F32",
      "blk.1.ffn_up.weight": "Q8_0",
    });
  });

  it("reads half precision and shards like one F32 file", async () => {
    const folder = await copyGolden("xlmr-reranker");
    const tensors = await readTestTensors(join(folder, "model.safetensors"));
    const half = async (name: string, type: "F16" | "BF16") => {
      const tensor = tensors[name];
      if (!tensor) throw new Error(name);
      tensors[name] = { ...tensor, dtype: type, bytes: await addon.convertRows(tensor.bytes, "F32", type, tensor.shape.at(-1) ?? 1) };
    };
    await half("roberta.encoder.layer.0.intermediate.dense.weight", "F16");
    await half("roberta.embeddings.LayerNorm.weight", "BF16");
    const names = Object.keys(tensors);
    const weight_map = Object.fromEntries(names.map((name, i) => [name, `part-${i % 3}.safetensors`]));
    for (const part of [0, 1, 2]) {
      const own = Object.fromEntries(Object.entries(tensors).filter((_, i) => i % 3 === part));
      await writeFile(join(folder, `part-${part}.safetensors`), safetensorsBytes(own));
    }
    await writeFile(join(folder, "model.safetensors.index.json"), JSON.stringify({ weight_map }));
    const sharded = await convertGolden("xlmr-reranker", "f32", folder);
    const single = await convertGolden("xlmr-reranker", "f32");
    for (const { name } of single.header.tensors) {
      const exact = name !== "blk.0.ffn_up.weight" && name !== "token_embd_norm.weight";
      const [a, b] = await Promise.all([sharded.tensor(name), single.tensor(name)]);
      if (exact) expect(a, name).toEqual(b);
      else expect(Math.max(...a.map((x, i) => Math.abs(x - (b[i] ?? 0)))), name).toBeLessThan(0.02);
    }
  });

  it("merges a LoRA adapter before it moves rows", async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, "adapter_config.json"), JSON.stringify({ peft_type: "LORA", r: 1, lora_alpha: 2 }));
    const module = "base_model.model.model.layers.0.self_attn.q_proj";
    const adapter = { [`${module}.lora_A.weight`]: floatTensor([1, 96], () => 1), [`${module}.lora_B.weight`]: floatTensor([96, 1]) };
    await writeFile(join(folder, "adapter_model.safetensors"), safetensorsBytes(adapter));
    const output = join(await temporaryFolder(), "tuned.gguf");
    const result = await convert(join(GOLDEN, "minicpm-layerwise-reranker"), { output, outtype: "f32", lora: folder });
    expect(result.adapted).toEqual(["model.layers.0.self_attn.q_proj.weight"]);
    const source = await sourceFloats("minicpm-layerwise-reranker", "model.layers.0.self_attn.q_proj.weight");
    const target = await (await open(output)).tensor("blk.0.attn_q.weight");
    expect(target[96]).toBeCloseTo((source[8 * 96] ?? 0) + 2 * 8, 4); // row 1 comes from row 8
  });

  it("names the rows that no token has", async () => {
    const folder = await copyGolden("xlmr-m3-reranker");
    await editConfig(folder, { vocab_size: 3005 });
    await editTensors(folder, (tensors) => {
      tensors["roberta.embeddings.word_embeddings.weight"] = floatTensor([3005, 64]);
    });
    const { value } = await convertGolden("xlmr-m3-reranker", "f32", folder);
    expect((value("tokenizer.ggml.tokens") as string[]).slice(3001)).toEqual([expect.any(String), "[PAD3002]", "[PAD3003]", "[PAD3004]"]);
    await editConfig(folder, { vocab_size: 3000 });
    await editTensors(folder, (tensors) => {
      tensors["roberta.embeddings.word_embeddings.weight"] = floatTensor([3000, 64]);
    });
    await expect(convertGolden("xlmr-m3-reranker", "f32", folder)).rejects.toThrow(/tokenizer has 3002 tokens.*only 3000 rows/);
  });

  it("writes whole files only", async () => {
    const folder = await temporaryFolder();
    const output = join(folder, "model.gguf");
    const source = join(GOLDEN, "gemma-reranker");
    const stop = new AbortController();
    const stopped = convert(source, { output, signal: stop.signal, onProgress: () => stop.abort(new Error("enough")) });
    await expect(stopped).rejects.toThrow("enough");
    await expect(convert(source, { output, outtype: "q9_9" })).rejects.toThrow(RangeError);
    await expect(convert(source, { output, outtype: "iq2_xxs" })).rejects.toThrow(/needs an importance matrix/);
    await expect(convert(source, { output, tensorTypes: { attn_q: "q9_9" } })).rejects.toThrow(/`tensorTypes` to be one of/);
    await expect(convert(source, { output, tensorTypes: { "(": "f16" } })).rejects.toThrow(/regular expressions/);
    await expect(convert(source, { output, tensorTypes: { "blk.99.attn_q": "f16" } })).rejects.toThrow(/matches none/);
    await expect(convert(source, { output, tensorTypes: { attn_output_norm: "f16" } })).rejects.toThrow(/matches none/);
    expect(await readdir(folder)).toEqual([]);

    await writeFile(output, "mine");
    await expect(convert(source, { output })).rejects.toMatchObject({
      code: "IO",
      message: expect.stringMatching(/exists; pass `overwrite: true`/),
    });
    expect(await readFile(output, "utf8")).toBe("mine");
    await convert(source, { output, overwrite: true });
    expect(await readdir(folder)).toEqual([basename(output)]);
    await expect(convert(source, { output: join(folder, "none", "model.gguf") })).rejects.toThrow(/does not exist; create it first/);
  });

  it("reports progress that ends at the total", async () => {
    const seen: ConvertProgress[] = [];
    const output = join(await temporaryFolder(), "model.gguf");
    await convert(join(GOLDEN, "bert-reranker"), { output, onProgress: (progress) => seen.push(progress) });
    expect(seen.map(({ done }) => done)).toEqual(seen.map(({ done }) => done).sort((a, b) => a - b));
    expect(seen.at(-1)?.done).toBe(seen.at(-1)?.total);
  });

  it("refuses weights that do not fit the type", async () => {
    const folder = await copyGolden("bert-reranker");
    await editTensors(folder, (tensors) => {
      tensors["bert.encoder.layer.0.output.dense.weight"] = floatTensor([80, 200], () => 1e6);
    });
    await expect(convertGolden("bert-reranker", "f16", folder)).rejects.toMatchObject({
      code: "CONVERT_FAILED",
      message: expect.stringMatching(/`blk.0.ffn_down.weight`: a weight is too large for F16/),
    });
    expect((await convertGolden("bert-reranker", "bf16", folder)).result.outtype).toBe("BF16");
  });
});

describe("quantize", () => {
  it("gives the tensors that convert would", async () => {
    const folder = await temporaryFolder();
    const [f32, direct, twice] = ["f32", "q8_0", "twice"].map((name) => join(folder, `${name}.gguf`)) as [string, string, string];
    await convert(join(GOLDEN, "gemma2-lightweight-reranker"), { output: f32, outtype: "f32" });
    await convert(join(GOLDEN, "gemma2-lightweight-reranker"), { output: direct, outtype: "q8_0" });
    await quantize(f32, twice, "Q8_0");
    const [a, b] = [await open(direct), await open(twice)];
    expect(b.header.tensors.map(({ name, type, shape }) => [name, type, shape])).toEqual(
      a.header.tensors.map(({ name, type, shape }) => [name, type, shape]),
    );
    expect(Buffer.compare(a.bytes.subarray(a.header.dataOffset), b.bytes.subarray(b.header.dataOffset))).toBe(0);
    expect(new Set(Object.keys(b.header.metadata))).toEqual(new Set(Object.keys(a.header.metadata)));
    expect(b.value("general.file_type")).toBe(a.value("general.file_type"));
    expect(b.value("gemma2.attention.scale")).toBe(a.value("gemma2.attention.scale"));
    await expect(quantize(twice, join(folder, "thrice.gguf"), "q4_0")).rejects.toMatchObject({ code: "MODEL_UNSUPPORTED" });
    await expect(quantize(f32, twice, "q4_0")).rejects.toThrow(/exists/);
    expect((await readdir(folder)).sort()).toEqual(["f32.gguf", "q8_0.gguf", "twice.gguf"]);
  });
});

// What the converter makes of a checkpoint before it reads a weight: config.json, the plan of tensors, refusals.
import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readCheckpoint, throwIfHeadDiffers } from "../../src/convert/checkpoint.js";
import { readConfig } from "../../src/convert/config.js";
import { describeCheckpoint } from "../../src/convert/description.js";
import {
  copyGolden,
  editConfig,
  editTensors,
  floatTensor,
  GOLDEN,
  GOLDEN_NAMES,
  type TestTensor,
  temporaryFolder,
} from "./convert-fixtures.js";

const refused = (message: RegExp) => ({ code: "CONVERT_FAILED", message: expect.stringMatching(message) });

async function config(name: string, change: Record<string, unknown> = {}) {
  return readConfig({ ...JSON.parse(await readFile(join(GOLDEN, name, "config.json"), "utf8")), ...change });
}

describe("every golden checkpoint", () => {
  it.each(GOLDEN_NAMES)("%s has a place for each of its tensors", async (name) => {
    const { plan, weights } = await readCheckpoint(join(GOLDEN, name));
    const used = plan.tensors.flatMap((tensor) => tensor.parts.map((part) => part.source.name));
    expect([...used, ...plan.dropped.map(({ tensor }) => tensor)].sort()).toEqual([...weights.tensors.keys()].sort());
  });

  it("is described without reading its weights", async () => {
    expect(await describeCheckpoint(join(GOLDEN, "minicpm-layerwise-reranker"))).toMatchObject({
      checkpoint: "LayerWiseMiniCPMForCausalLM",
      architecture: "minicpm",
      class: "decoder-only-layerwise",
      layerCount: 6,
      cutoffLayers: [2, 3, 4, 5, 6],
      tensorTypes: { F32: 61 },
    });
  });

  it("drops int64 position ids by name", async () => {
    const { plan } = await readCheckpoint(join(GOLDEN, "xlmr-reranker"));
    expect(plan.dropped).toEqual([{ tensor: "roberta.embeddings.position_ids", reason: expect.stringContaining("not a weight") }]);
  });
});

describe("config.json", () => {
  it("may say how many tokens a pair is cut to", async () => {
    expect((await config("bert-reranker")).maxLength).toBeUndefined();
    expect((await config("bert-reranker", { reranker_max_length: 256 })).maxLength).toBe(256);
    await expect(config("bert-reranker", { reranker_max_length: 0 })).rejects.toMatchObject(refused(/`reranker_max_length`/));
  });

  it("gives scales and shapes", async () => {
    const gemma2 = (await config("gemma2-lightweight-reranker")).quantities;
    expect(gemma2.get("attention_scale")).toBeCloseTo(24 ** -0.5, 12);
    expect(gemma2.get("n_embd_q")).toBe(128);
    expect(gemma2.get("n_score_head")).toBe(7);
    const minicpm = (await config("minicpm-layerwise-reranker")).quantities;
    expect(minicpm.get("residual_scale")).toBeCloseTo(1.4 / Math.sqrt(6), 12);
    expect((await config("xlmr-reranker")).quantities.get("n_ctx_train")).toBe(512);
    expect((await config("bert-reranker")).quantities.get("n_ctx_train")).toBe(512);
  });

  it("decides the activation as transformers 4.57 does", async () => {
    expect((await config("gemma-reranker", { hidden_act: "gelu", hidden_activation: null })).activation).toBe("gelu_erf");
    expect((await config("gemma-reranker", { hidden_act: "gelu", hidden_activation: "gelu_pytorch_tanh" })).activation).toBe("gelu_erf");
    expect((await config("gemma-reranker", { hidden_act: undefined })).activation).toBe("gelu_tanh");
    expect((await config("gemma2-lightweight-reranker", { hidden_act: "gelu" })).activation).toBe("gelu_tanh");
  });

  it.each<[string, string, Record<string, unknown>, RegExp]>([
    ["several labels", "xlmr-reranker", { id2label: { 0: "A", 1: "B", 2: "C" } }, /3 labels.*one output.*`num_labels=1`/],
    ["num_labels against id2label", "xlmr-reranker", { num_labels: 2 }, /`num_labels` in config.json is 2 and `id2label` names 1 labels/],
    [
      "two labels that say nothing",
      "bert-reranker",
      { id2label: { 0: "A", 1: "B" } },
      /two labels, "A" and "B".*which of them means relevant/,
    ],
    ["an embedding model", "xlmr-reranker", { architectures: ["XLMRobertaModel"] }, /"XLMRobertaModel" is a model without a score head/],
    [
      "an architecture of others",
      "xlmr-reranker",
      { architectures: ["FalconForCausalLM"] },
      /"FalconForCausalLM" is not supported. Supported: XLMRoberta/,
    ],
    ["no architecture", "xlmr-reranker", { architectures: undefined }, /`architectures` in config.json is missing/],
    ["relative positions", "bert-reranker", { position_embedding_type: "relative_key" }, /`position_embedding_type`.*"relative_key"/],
    ["an unknown activation", "bert-reranker", { hidden_act: "mish" }, /`hidden_act` in config.json is "mish"; supported: gelu/],
    ["heads of type raw", "minicpm-layerwise-reranker", { head_type: "raw" }, /`head_type` in config.json is "raw".*`head_type: simple`/],
    ["heads of type complex", "minicpm-layerwise-reranker", { head_type: "complex" }, /"complex"/],
    ["rope scaling", "gemma-reranker", { rope_scaling: { type: "linear", factor: 2 } }, /`rope_scaling`.*without `rope_scaling`/],
    ["a start layer beyond the last", "minicpm-layerwise-reranker", { start_layer: 7 }, /`start_layer` is 7, but the model has 6 layers/],
    ["a start layer of zero", "gemma2-lightweight-reranker", { start_layer: 0 }, /`start_layer`.*from 1/],
    [
      "no query_pre_attn_scalar",
      "gemma2-lightweight-reranker",
      { query_pre_attn_scalar: undefined },
      /`query_pre_attn_scalar`.*got nothing/,
    ],
    ["no score heads", "gemma2-lightweight-reranker", { layer_wise: false }, /`layer_wise`/],
    ["heads that do not divide", "gemma-reranker", { num_key_value_heads: 3 }, /no multiple of `num_key_value_heads`/],
    ["a layer count beyond reason", "gemma-reranker", { num_hidden_layers: 1e9 }, /`num_hidden_layers`.*from 1 to 1024, got 1000000000/],
    ["a layer count that is text", "gemma-reranker", { num_hidden_layers: "3" }, /got "3"/],
    ["quantised weights", "gemma-reranker", { quantization_config: { quant_method: "gptq" } }, /quantised already/],
  ])("is refused with %s", async (_, name, change, message) => {
    await expect(config(name, change)).rejects.toMatchObject(refused(message));
  });
});

describe("the plan of tensors", () => {
  async function changed(name: string, change: (tensors: Record<string, TestTensor>) => void, settings: Record<string, unknown> = {}) {
    const folder = await copyGolden(name);
    await editConfig(folder, settings);
    await editTensors(folder, change);
    return readCheckpoint(folder);
  }

  it("refuses a tensor that it has no place for", async () => {
    const extra = changed("gemma-reranker", (tensors) => {
      tensors["model.layers.0.self_attn.q_proj.bias"] = floatTensor([128]);
    });
    await expect(extra).rejects.toMatchObject(refused(/`model.layers.0.self_attn.q_proj.bias` has no place in GemmaForCausalLM/));
  });

  it.each(["constructor", "toString"])("refuses a tensor called %s", async (name) => {
    const extra = changed("bert-reranker", (tensors) => {
      tensors[name] = floatTensor([1]);
    });
    await expect(extra).rejects.toMatchObject(refused(/has no place/));
  });

  it("refuses a layer more than config.json says", async () => {
    await expect(changed("gemma-reranker", () => {}, { num_hidden_layers: 2 })).rejects.toMatchObject(
      refused(/`model.layers.2..*` has no place/),
    );
    await expect(changed("gemma-reranker", () => {}, { num_hidden_layers: 4 })).rejects.toMatchObject(
      refused(/`model.layers.3..*` is missing/),
    );
  });

  it("refuses a missing head, saying so", async () => {
    const headless = changed("xlmr-reranker", (tensors) => {
      delete tensors["classifier.out_proj.weight"];
    });
    await expect(headless).rejects.toMatchObject(refused(/`classifier.out_proj.weight` of the score head is missing/));
    const without3 = changed("minicpm-layerwise-reranker", (tensors) => {
      delete tensors["lm_head.3.linear_head.weight"];
    });
    await expect(without3).rejects.toMatchObject(refused(/`lm_head.3.linear_head.weight` of the score head is missing/));
  });

  it("refuses shapes that config.json does not say", async () => {
    await expect(changed("bert-reranker", () => {}, { vocab_size: 3599 })).rejects.toMatchObject(
      refused(/word_embeddings.weight` has shape \[3600, 80\], but config.json says \[3599, 80\] \(n_vocab x n_embd\)/),
    );
  });

  it("refuses weights that are no floats", async () => {
    const integers = changed("bert-reranker", (tensors) => {
      tensors["classifier.weight"] = { dtype: "I32", shape: [1, 80], bytes: new Uint8Array(320) };
    });
    await expect(integers).rejects.toMatchObject(refused(/`classifier.weight` has type I32/));
  });

  it("takes one head for all layers, and ignores the stray lm_head", async () => {
    const { plan } = await changed(
      "minicpm-layerwise-reranker",
      (tensors) => {
        for (let i = 0; i < 5; i++) delete tensors[`lm_head.${i}.linear_head.weight`];
        tensors["lm_head.linear_head.weight"] = floatTensor([1, 96]);
        tensors["lm_head.weight"] = floatTensor([2600, 96]);
      },
      { head_multi: false },
    );
    expect(plan.tensors.find(({ name }) => name === "reranker.head.weight")?.shape).toEqual([96, 1]);
    expect(plan.dropped.map(({ tensor }) => tensor)).toEqual(["lm_head.weight"]);
  });

  it("stacks one head for each cutoff layer", async () => {
    const { plan } = await readCheckpoint(join(GOLDEN, "gemma2-lightweight-reranker"));
    const head = plan.tensors.find(({ name }) => name === "reranker.head.weight");
    expect(head?.shape).toEqual([96, 7]);
    expect(head?.parts.map((part) => [part.source.name, part.targetRow])[6]).toEqual(["lm_head.6.linear_head.weight", 6]);
  });

  it("knows the layer norms of old BERT checkpoints", async () => {
    const { plan } = await changed("bert-reranker", (tensors) => {
      const { "bert.embeddings.LayerNorm.weight": weight, "bert.embeddings.LayerNorm.bias": bias } = tensors;
      delete tensors["bert.embeddings.LayerNorm.weight"];
      delete tensors["bert.embeddings.LayerNorm.bias"];
      tensors["bert.embeddings.LayerNorm.gamma"] = weight as TestTensor;
      tensors["bert.embeddings.LayerNorm.beta"] = bias as TestTensor;
    });
    expect(plan.tensors.find(({ name }) => name === "token_embd_norm.bias")?.parts[0]?.source.name).toBe("bert.embeddings.LayerNorm.beta");
  });

  it("counts two labels when config.json does not say how many", async () => {
    await expect(changed("bert-reranker", () => {}, { id2label: undefined })).rejects.toMatchObject(
      refused(/`classifier.weight` has shape \[1, 80\], but config.json says \[2, 80\]/),
    );
  });

  it("takes a head of its own when config.json says so, and refuses one that it ties to another table", async () => {
    const untied = { tie_word_embeddings: false };
    const copyTable = (tensors: Record<string, TestTensor>) => {
      tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] as TestTensor;
    };
    const otherHead = (tensors: Record<string, TestTensor>) => {
      tensors["lm_head.weight"] = floatTensor([3000, 96]);
    };
    const equal = await changed("gemma-reranker", copyTable);
    expect(equal.ownHead).toBeUndefined();
    expect(equal.plan.dropped).toHaveLength(1);
    await throwIfHeadDiffers(equal);
    expect((await changed("gemma-reranker", otherHead, untied)).ownHead?.source.name).toBe("lm_head.weight");
    const ambiguous = await changed("gemma-reranker", otherHead);
    await expect(throwIfHeadDiffers(ambiguous)).rejects.toMatchObject(
      refused(/transformers 4 scores with the table, 5 with the head.*"tie_word_embeddings": false.*save the weights without/),
    );
    await expect(changed("gemma-reranker", () => {}, untied)).rejects.toMatchObject(
      refused(/`lm_head.weight`, the head that then scores, is missing beside/),
    );
  });
});

describe("the folder", () => {
  it("must exist and have a config.json", async () => {
    await expect(readCheckpoint(join(GOLDEN, "no-such-model"))).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
    const folder = await copyGolden("bert-reranker");
    await rm(join(folder, "config.json"));
    await expect(readCheckpoint(folder)).rejects.toThrow(/has no config.json/);
    await writeFile(join(folder, "config.json"), "{");
    await expect(readCheckpoint(folder)).rejects.toMatchObject(refused(/`config.json` is not valid JSON/));
  });

  it("gives the model its name, the repository's in the Hugging Face cache", async () => {
    expect((await readCheckpoint(join(GOLDEN, "bert-reranker"))).name).toBe("bert-reranker");
    expect((await readCheckpoint(join(GOLDEN, "bert-reranker"), { name: "mine" })).name).toBe("mine");
    const snapshot = join(await temporaryFolder(), "models--BAAI--bge-reranker-base", "snapshots", "0123abc");
    await cp(join(GOLDEN, "bert-reranker"), snapshot, { recursive: true });
    expect((await readCheckpoint(snapshot)).name).toBe("bge-reranker-base");
  });
});

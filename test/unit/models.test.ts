import { readFile } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { findCheckpoint, findProfile, profiles, type RerankerForm } from "../../src/models/index.js";

describe("profiles", () => {
  it("are the same architectures as the table of graphs", async () => {
    const table = await readFile(new URL("../../native/arch/arch.cpp", import.meta.url), "utf8");
    const graphs = [...table.matchAll(/\{"([\w-]+)", load_\w+\}/g)].map(([, name]) => name);
    expect(graphs.sort()).toEqual(profiles.map((profile) => profile.architecture).sort());
  });

  it("are found by GGUF architecture and by the name in config.json", () => {
    expect(findProfile("gemma2")?.class).toBe("decoder-only-lightweight");
    expect(findProfile("falcon")).toBeUndefined();
    expect(findCheckpoint("XLMRobertaForSequenceClassification")?.profile.architecture).toBe("bert");
    expect(findCheckpoint("FalconForCausalLM")).toBeUndefined();
  });

  it("name each checkpoint architecture once", () => {
    const names = profiles.flatMap((profile) => profile.checkpoints.flatMap((checkpoint) => checkpoint.names));
    expect(new Set(names).size).toBe(names.length);
  });

  it.each(profiles.map((profile) => [profile.architecture, profile] as const))("%s: tables fit together", (architecture, profile) => {
    for (const { tensors, metadata, dropped } of profile.checkpoints) {
      const targets = Object.values(tensors).filter((rule) => !rule.when);
      expect(new Set(targets.map((rule) => rule.name)).size).toBe(targets.length);
      for (const [source, rule] of Object.entries(tensors)) {
        expect(rule.name.includes("{i}"), source).toBe(source.includes("{i}"));
        expect(rule.stacked === true, source).toBe(source.includes("{h}"));
        expect(Object.hasOwn(dropped, source), source).toBe(false);
      }
      const own = metadata.filter(([key]) => !/^(reranker|tokenizer)\./.test(key));
      for (const [key] of own) expect(key.startsWith(`${architecture}.`), key).toBe(true);
    }
  });

  it("have the reference's defaults", () => {
    const defaultsOf = ({ class: name, defaults }: RerankerForm) => [
      name,
      defaults.queryInstruction,
      defaults.documentInstruction,
      defaults.maxLength,
    ];
    const encoder = ["encoder-only-base", null, null, 512];
    const decoder = (name: string) => [name, "A: ", "B: ", 512];
    expect(["bert", "gemma", "minicpm", "gemma2"].map((name) => defaultsOf(findProfile(name) as RerankerForm))).toEqual([
      encoder,
      decoder("decoder-only-base"),
      decoder("decoder-only-layerwise"),
      decoder("decoder-only-lightweight"),
    ]);
    const forms = profiles.flatMap((profile) => profile.forms ?? []).map((form) => [form.form, ...defaultsOf(form)]);
    const inTheirOrder = [...new Map(forms.map((form) => [JSON.stringify(form), form])).values()];
    expect(inTheirOrder).toEqual([
      [undefined, ...decoder("decoder-only-base")],
      ["pair-classifier", "cross-encoder", null, null, 8192],
      [undefined, ...decoder("decoder-only-lightweight")],
      ["mxbai-v2", "cross-encoder", "query: ", "document: ", 8192],
      ["flag-llm", ...decoder("decoder-only-base")],
      ["qwen3-reranker", "cross-encoder", null, null, 8192],
      ["zerank", "cross-encoder", null, null, 40960],
    ]);
    expect(findProfile("gemma2")?.defaults.prompt).toBe("Predict whether passage B contains an answer to query A.");
    expect(findProfile("gemma")?.defaults.prompt).toMatch(/^Given a query A and a passage B, .* either 'Yes' or 'No'\.$/);
    expect(findProfile("bert")?.defaults.prompt).toBeNull();
  });
});

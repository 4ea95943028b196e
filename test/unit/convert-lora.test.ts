import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { NativeAddon } from "../../src/addon/native.js";
import { readCheckpoint } from "../../src/convert/checkpoint.js";
import { readLora } from "../../src/convert/lora.js";
import { floatTensor, GOLDEN, safetensorsBytes, type TestTensor, temporaryFolder } from "./convert-fixtures.js";

// Adapters here are F32, so rows need no converting.
const addon = { convertRows: async (source: Uint8Array) => source } as unknown as NativeAddon;

const Q_PROJ = "model.layers.0.self_attn.q_proj.weight"; // [128, 96] in the golden gemma
const A = `base_model.model.${Q_PROJ.replace(".weight", ".lora_A.weight")}`;
const B = `base_model.model.${Q_PROJ.replace(".weight", ".lora_B.weight")}`;
const CONFIG = { peft_type: "LORA", r: 4, lora_alpha: 8, bias: "none", fan_in_fan_out: false, target_modules: ["q_proj"] };

async function adapter(config: Record<string, unknown>, tensors?: Record<string, TestTensor>): Promise<string> {
  const folder = await temporaryFolder();
  await writeFile(join(folder, "adapter_config.json"), JSON.stringify({ ...CONFIG, ...config }));
  const pair = { [A]: floatTensor([4, 96], (i) => Math.sin(i)), [B]: floatTensor([128, 4], (i) => Math.cos(i)) };
  await writeFile(join(folder, "adapter_model.safetensors"), safetensorsBytes(tensors ?? pair));
  return folder;
}

/** The change at one place: scale * sum over r of B[row, r] A[r, column]. */
const delta = (row: number, column: number, scale: number) =>
  scale * [0, 1, 2, 3].reduce((sum, r) => sum + Math.fround(Math.cos(row * 4 + r)) * Math.fround(Math.sin(r * 96 + column)), 0);

describe("readLora", () => {
  it.each([
    ["alpha / r", {}, 2],
    ["alpha / sqrt(r) with rslora", { use_rslora: true }, 4],
  ])("adds B A times %s", async (_, config, scale) => {
    const lora = await readLora(await adapter(config));
    const edit = await lora.editOf(Q_PROJ, addon);
    const rows = new Float32Array(3 * 96).fill(1);
    edit?.(rows, 5, 96);
    for (const [row, column] of [
      [0, 0],
      [1, 17],
      [2, 95],
    ] as const) {
      expect(rows[row * 96 + column]).toBeCloseTo(1 + delta(5 + row, column, scale), 5);
    }
    expect(lora.targets).toEqual([Q_PROJ]);
    expect(await lora.editOf("model.norm.weight", addon)).toBeUndefined();
  });

  it("puts a tensor that was saved whole in the place of the model's own", async () => {
    const tensors = { "base_model.model.lm_head.0.linear_head.weight": floatTensor([1, 96]) };
    const lora = await readLora(await adapter({ modules_to_save: ["linear_head"] }, tensors));
    const row = new Float32Array(96);
    (await lora.editOf("lm_head.0.linear_head.weight", addon))?.(row, 0, 96);
    expect(row[95]).toBe(95);
  });

  it.each<[string, Record<string, unknown>, Record<string, TestTensor> | undefined, RegExp]>([
    ["another method", { peft_type: "IA3" }, undefined, /`peft_type` is "IA3"/],
    ["DoRA", { use_dora: true }, undefined, /`use_dora` is true/],
    ["scales by layer", { alpha_pattern: { "layers.0": 3 } }, undefined, /`alpha_pattern`/],
    ["trained biases", { bias: "lora_only" }, undefined, /`bias` is "lora_only"/],
    ["transposed weights", { fan_in_fan_out: true }, undefined, /`fan_in_fan_out` is true/],
    ["a changed base model", { init_lora_weights: "pissa_niter_4" }, undefined, /changed the base model too/],
    ["no rank", { r: undefined }, undefined, /`r` in adapter_config.json must be a positive number/],
    ["another rank than it says", { r: 8 }, undefined, /rank 4, adapter_config.json says 8/],
    ["half a pair", {}, { [A]: floatTensor([4, 96]) }, /only one of lora_A and lora_B/],
    ["a pair that does not fit together", {}, { [A]: floatTensor([4, 96]), [B]: floatTensor([128, 3]) }, /do not fit together/],
    ["magnitudes", {}, { "base_model.model.model.layers.0.mlp.up_proj.lora_magnitude_vector": floatTensor([9]) }, /is not understood/],
    ["half a table", {}, { "base_model.model.model.embed_tokens.lora_embedding_A": floatTensor([4, 9]) }, /only one of lora_A and lora_B/],
    ["no tensors", {}, {}, /holds no tensors/],
  ])("refuses %s", async (_, config, tensors, message) => {
    await expect(readLora(await adapter(config, tensors))).rejects.toMatchObject({
      code: "CONVERT_FAILED",
      message: expect.stringMatching(message),
    });
  });

  it("refuses a folder that holds no adapter", async () => {
    await expect(readLora(await temporaryFolder())).rejects.toThrow(/has no adapter_config.json/);
  });
});

describe("a checkpoint with an adapter", () => {
  const model = join(GOLDEN, "gemma-reranker");

  it("takes one that fits", async () => {
    expect((await readCheckpoint(model, { lora: await adapter({}) })).lora?.targets).toEqual([Q_PROJ]);
  });

  it("refuses one that changes what the model does not have", async () => {
    await expect(readCheckpoint(join(GOLDEN, "bert-reranker"), { lora: await adapter({}) })).rejects.toThrow(
      /changes `model.layers.0.*does not have/,
    );
    const wide = { [A]: floatTensor([4, 100]), [B]: floatTensor([128, 4]) };
    await expect(readCheckpoint(model, { lora: await adapter({}, wide) })).rejects.toThrow(
      /is \[128, 100\], the model's tensor \[128, 96\]/,
    );
  });
});

// Weights that are NaN or infinite are refused when they are loaded, whatever tensor and type they stand in; numbers that
// overflow while computing end in an error. Never in a score.
import { execFile } from "node:child_process";
import { closeSync, copyFileSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import type { GgufTensor } from "../../src/addon/native.js";
import { inspectModel } from "../../src/gguf/inspect.js";
import { Reranker } from "../../src/reranker/reranker.js";
import { CPU_LEVELS } from "../cpu-levels.js";
import { checkpoints, goldenGguf } from "../golden.js";

const library = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../lib/index.js");
const embeddedModel = path.resolve(path.dirname(library), "../models/default.gguf");
const folder = mkdtempSync(path.join(tmpdir(), "bge-not-finite-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Bytes that stand for NaN or infinity, and the distance of places where they may stand. */
const BAD: Record<string, readonly { readonly bytes: Buffer; readonly step: number }[]> = {
  F32: [bytes(0x7fc00000, 4), bytes(0x7f800000, 4), bytes(0xff800000, 4), bytes(0x7f800001, 4)].map((b) => ({ bytes: b, step: 4 })),
  F16: [bytes(0x7e00, 2), bytes(0x7c00, 2), bytes(0xfc00, 2)].map((b) => ({ bytes: b, step: 2 })),
  BF16: [bytes(0x7fc0, 2), bytes(0x7f80, 2), bytes(0xff80, 2)].map((b) => ({ bytes: b, step: 2 })),
  Q8_0: [bytes(0x7e00, 2), bytes(0x7c00, 2)].map((b) => ({ bytes: b, step: 34 })), // the scale of a block
  Q4_0: [bytes(0x7e00, 2), bytes(0x7c00, 2)].map((b) => ({ bytes: b, step: 18 })),
};

function bytes(value: number, size: number): Buffer {
  const out = Buffer.alloc(size);
  out.writeUIntLE(value, 0, size);
  return out;
}

/** Copies a file and lets `change` edit the bytes of a tensor. */
function edited(file: string, tensor: GgufTensor, change: (data: Buffer) => void): string {
  const copy = path.join(folder, `edited-${path.basename(file)}`);
  copyFileSync(file, copy);
  const handle = openSync(copy, "r+");
  const data = Buffer.alloc(tensor.sizeBytes);
  readSync(handle, data, 0, data.length, tensor.offset);
  change(data);
  writeSync(handle, data, 0, data.length, tensor.offset);
  closeSync(handle);
  return copy;
}

async function tensorsOf(file: string): Promise<readonly GgufTensor[]> {
  return (await inspectModel(file)).tensors;
}

const files = [
  ...checkpoints.map(({ name }) => ({ name, outtype: "f32" })),
  ...["f16", "bf16", "q8_0", "q4_0"].flatMap((outtype) =>
    ["bert-reranker", "gemma2-lightweight-reranker"].map((name) => ({ name, outtype })),
  ),
  { name: "default", outtype: "" },
];

it.each(files)("$name $outtype", async ({ name, outtype }) => {
  const file = name === "default" ? embeddedModel : await goldenGguf(name, outtype);
  const kinds = new Map((await tensorsOf(file)).map((tensor) => [`${tensor.name.replace(/\d+/, "N")} ${tensor.type}`, tensor]));
  for (const tensor of kinds.values()) {
    const choices = BAD[tensor.type] ?? [];
    expect(choices.length, tensor.type).toBeGreaterThan(0);
    for (const [i, { bytes, step }] of choices.entries()) {
      const places = tensor.sizeBytes / step;
      const place = i % 2 === 0 ? places - 1 : Math.floor(places / 2);
      const copy = edited(file, tensor, (data) => bytes.copy(data, place * step));
      const loading = Reranker.load(copy, { devices: "cpu", threads: 1 }).then((reranker) => reranker.dispose());
      await expect(loading, `${tensor.name} ${tensor.type} ${bytes.toString("hex")}`).rejects.toMatchObject({
        code: "MODEL_INVALID",
        message: expect.stringContaining(tensor.name),
      });
    }
  }
});

it("refuses them on stock ggml, too", async () => {
  const file = await goldenGguf("xlmr-reranker", "f32");
  const tensors = (await tensorsOf(file)).filter(({ name }) => /token_embd|attn_output|ffn_up|cls/.test(name));
  for (const tensor of tensors) {
    const copy = edited(file, tensor, (data) => data.writeFloatLE(Number.NaN, data.length - 4));
    expect((await scoresOf(copy, "plain")).error, tensor.name).toBe("MODEL_INVALID");
  }
}, 60_000);

/** What a process of its own, at a level of kernels, makes of a file. */
async function scoresOf(model: string, isa: string): Promise<{ readonly scores?: number[]; readonly error?: string }> {
  const source = `
    import { Reranker } from ${JSON.stringify(library)};
    let reranker;
    try {
      reranker = await Reranker.load(${JSON.stringify(model)}, { devices: "cpu", threads: 1 });
      console.log(JSON.stringify({ scores: await reranker.computeScore([["panda", "a bear"], ["panda", "${"bamboo ".repeat(40)}"]]) }));
    } catch (error) {
      console.log(JSON.stringify({ error: error.code ?? String(error) }));
    }
    await reranker?.dispose();`;
  const env = { ...process.env, BGE_CPU_ISA: isa };
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", source], { env });
  return JSON.parse(stdout);
}

describe.each(CPU_LEVELS)("BGE_CPU_ISA=%s", (isa) => {
  it("numbers that overflow on the way end in COMPUTE_FAILED", async () => {
    for (const [name, tensor] of [
      ["xlmr-reranker", "blk.0.ffn_down.weight"],
      ["xlmr-reranker", "cls.weight"],
      ["bert-reranker", "blk.1.attn_v.weight"],
      ["gemma-reranker", "blk.0.ffn_gate.weight"],
      ["minicpm-layerwise-reranker", "blk.1.attn_v.weight"],
    ] as const) {
      const file = await goldenGguf(name, "f32");
      const found = (await tensorsOf(file)).find((each) => each.name === tensor) as GgufTensor;
      const copy = edited(file, found, (data) => {
        for (let i = 0; i < data.length; i += 4) data.writeFloatLE(i % 8 ? 3e38 : 2.9e38, i);
      });
      const { scores, error } = await scoresOf(copy, isa);
      if (error?.includes("BGE_CPU_ISA")) continue; // not on this machine
      expect({ name, tensor, scores, error }).toMatchObject({ error: "COMPUTE_FAILED" });
    }
  });
});

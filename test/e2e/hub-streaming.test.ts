// Weights from a stand-in hub are converted while they arrive: the same file as after the download, from parts and after damage.
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import * as fs from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { convert, type Progress } from "../../src/index.js";
import { type PullOptions, pullModel } from "../../src/sources/pull.js";
import { checkpoints } from "../golden.js";
import { type Hit, hashOf, isForFront, repositoryOf, SHARDS } from "../hub-server.js";
import { commit, stageHub } from "../hub-stage.js";
import { copyGolden, editConfig, editTensors, floatTensor, safetensorsBytes } from "../unit/convert-fixtures.js";

// The free room on the disk, when a test says so.
let freeBytes: number | undefined;
vi.mock("node:fs/promises", async (original) => {
  const real = await original<typeof fs>();
  const statfs = async (folder: string) =>
    freeBytes === undefined ? real.statfs(folder) : { ...(await real.statfs(folder)), bavail: freeBytes, bsize: 1 };
  return { ...real, statfs };
});

const cli = path.join(path.dirname(fileURLToPath(import.meta.url)), "../../lib/cli.js");
const stage = stageHub("minicpm-layerwise-reranker");

beforeEach(() => {
  freeBytes = undefined;
});

const contentOf = (id: string, file: string): Buffer => stage.hub.repositories.get(id)?.files[file]?.content ?? Buffer.alloc(0);
/** Requests for the weights themselves, not for the table at their front. */
const isForRest = (hit: Hit, content: Buffer) => hit.host === "storage" && hit.path.includes(hashOf(content)) && !isForFront(hit);
const pull = (id: string, options: PullOptions = {}) => pullModel(id, { outtype: "f16", ...options });
const blobs = (id: string) => path.join(stage.environment.HF_HUB_CACHE ?? "", `models--${id.replace("/", "--")}`, "blobs");
const left = () => (existsSync(stage.environment.BGE_RERANKER_CACHE ?? "") ? readdirSync(stage.environment.BGE_RERANKER_CACHE ?? "") : []);

/** What the same files give when they are converted after the download. */
async function convertedLater(id: string, options: { readonly outtype?: string; readonly lora?: string } = {}): Promise<Buffer> {
  const snapshot = path.join(path.dirname(blobs(id)), "snapshots", commit);
  const output = path.join(mkdtempSync(path.join(stage.root, "later-")), "model.gguf");
  await convert(snapshot, { output, outtype: "f16", ...options });
  return readFileSync(output);
}

describe("a conversion while weights arrive", () => {
  it.each(checkpoints)("of $name gives the file that one after the download gives", async ({ name }) => {
    for (const outtype of ["f32", "q8_0"]) {
      rmSync(path.dirname(blobs(`golden/${name}`)), { recursive: true, force: true });
      const streamed = readFileSync(await pull(`golden/${name}`, { outtype }));
      expect(hashOf(streamed)).toBe(hashOf(await convertedLater(`golden/${name}`, { outtype })));
    }
    expect(readdirSync(blobs(`golden/${name}`)).filter((file) => file.endsWith(".incomplete"))).toEqual([]);
  });

  it("does the first shard before the second has come", async () => {
    const [first, second] = SHARDS.map((shard) => contentOf("golden/sharded", shard)) as [Buffer, Buffer];
    const firstBytes = first.length - 8 - Number(first.readBigUInt64LE());
    let release = () => {};
    const hold = new Promise<void>((resolve) => (release = resolve));
    stage.hub.fault = (hit) => (isForRest(hit, second) ? { hold } : undefined);
    let early = 0;
    const timer = setTimeout(release, 25_000); // so that a failure is told as one
    const file = await pull("golden/sharded", {
      onProgress: ({ stage, done }: Progress) => {
        if (stage !== "convert" || done < firstBytes) return;
        if (early === 0) early = done;
        release();
      },
    });
    clearTimeout(timer);
    expect(early).toBe(firstBytes);
    const lastHits = stage.hub.hits.filter((hit) => hit.host === "storage").slice(-2);
    expect(lastHits.map((hit) => [hit.path.includes(hashOf(first)), hit.path.includes(hashOf(second))])).toEqual([
      [true, false],
      [false, true],
    ]);
    expect(hashOf(readFileSync(file))).toBe(hashOf(await convertedLater("golden/sharded")));
  });

  it("merges a LoRA adapter", async () => {
    const lora = mkdtempSync(path.join(stage.root, "lora-"));
    await fs.writeFile(path.join(lora, "adapter_config.json"), JSON.stringify({ peft_type: "LORA", r: 1, lora_alpha: 2 }));
    const module = "base_model.model.model.layers.0.self_attn.q_proj";
    const adapter = { [`${module}.lora_A.weight`]: floatTensor([1, 96], () => 1), [`${module}.lora_B.weight`]: floatTensor([96, 1]) };
    await fs.writeFile(path.join(lora, "adapter_model.safetensors"), safetensorsBytes(adapter));
    const { resolveModelSource } = await import("../../src/sources/model-source.js");
    const { convertForCache } = await import("../../src/sources/convert-for-cache.js");
    const options = { outtype: "f16", cacheDir: undefined, lora, signal: undefined, onProgress: undefined };
    const file = await resolveModelSource("golden/sharded", options, convertForCache);
    const later = hashOf(await convertedLater("golden/sharded", { lora }));
    expect(hashOf(readFileSync(file))).toBe(later);
    expect(later).not.toBe(hashOf(await convertedLater("golden/sharded")));
  });

  it.each([
    { tied: true, equal: true, converted: true },
    { tied: true, equal: false, converted: false },
    { tied: false, equal: false, converted: true },
  ])("takes a head that may come late, or refuses it: %o", async ({ tied, equal, converted }) => {
    const folder = await copyGolden("gemma-reranker");
    await editConfig(folder, { tie_word_embeddings: tied });
    await editTensors(folder, (tensors) => {
      const table = tensors["model.embed_tokens.weight"];
      if (!table) throw new Error("no table");
      tensors["lm_head.weight"] = equal ? table : { ...table, bytes: table.bytes.map((byte, i) => (i === 0 ? byte ^ 1 : byte)) };
    });
    stage.hub.repositories.set("golden/untied", repositoryOf(folder, commit));
    rmSync(stage.environment.BGE_RERANKER_CACHE ?? "", { recursive: true, force: true });
    rmSync(path.dirname(blobs("golden/untied")), { recursive: true, force: true });
    if (converted) expect(hashOf(readFileSync(await pull("golden/untied")))).toBe(hashOf(await convertedLater("golden/untied")));
    else await expect(pull("golden/untied")).rejects.toMatchObject({ code: "CONVERT_FAILED", message: expect.stringContaining("differ") });
    expect(left()).toHaveLength(converted ? 1 : 0);
  });
});

describe("damage on the way", () => {
  const id = "golden/sharded";
  const damaged = (content: Buffer) => Buffer.from(content.map((byte, i) => (i === content.length - 1000 ? byte ^ 0xff : byte)));

  it.each([0, 1])("of shard %d is found, and what was made of it is made again", async (n) => {
    const content = contentOf(id, SHARDS[n] ?? "");
    let served = 0;
    stage.hub.fault = (hit) => (isForRest(hit, content) && served++ === 0 ? { content: damaged(content) } : undefined);
    const file = await pull(id);
    expect(served).toBe(2);
    expect(hashOf(readFileSync(file))).toBe(hashOf(await convertedLater(id)));
    expect(left()).toHaveLength(1);
  });

  it("of the table in what an earlier run left is found before it is used", async () => {
    const content = contentOf(id, SHARDS[0]);
    await fs.mkdir(blobs(id), { recursive: true });
    await fs.writeFile(path.join(blobs(id), `${hashOf(content)}.incomplete`), Buffer.alloc(content.length / 2));
    const file = await pull(id);
    expect(hashOf(readFileSync(file))).toBe(hashOf(await convertedLater(id)));
  });

  it("of the weights in what an earlier run left is found in the end", async () => {
    const content = contentOf(id, SHARDS[0]);
    await fs.mkdir(blobs(id), { recursive: true });
    // Bytes that a crash of the machine kept from the disk: zeros after a sound front, and NaN, which no Q8_0 can hold.
    const lost = Buffer.concat([content.subarray(0, 200_000), Buffer.alloc(100_000), Buffer.alloc(100_000, 0xff)]);
    await fs.writeFile(path.join(blobs(id), `${hashOf(content)}.incomplete`), lost);
    const file = await pull(id, { outtype: "q8_0" });
    expect(hashOf(readFileSync(file))).toBe(hashOf(await convertedLater(id, { outtype: "q8_0" })));
    expect(stage.hub.hits.filter((hit) => isForRest(hit, content)).map((hit) => hit.range)).toEqual([`bytes=${lost.length}-`, undefined]);
  });

  it("twice leaves no file", async () => {
    const content = contentOf(id, SHARDS[1]);
    stage.hub.fault = (hit) => (isForRest(hit, content) ? { content: damaged(content) } : undefined);
    await expect(pull(id)).rejects.toMatchObject({ code: "DOWNLOAD_FAILED", message: expect.stringContaining("twice") });
    expect(left()).toEqual([]);
  });

  it("does not come of a server without ranges", async () => {
    stage.hub.fault = (hit) => (hit.host === "storage" ? { ignoreRange: true } : undefined);
    const file = await pull(id);
    expect(hashOf(readFileSync(file))).toBe(hashOf(await convertedLater(id)));
  });
});

describe("what cannot be converted", () => {
  it("is told before weights are downloaded", async () => {
    const folder = await copyGolden("bert-reranker");
    await editTensors(folder, (tensors) => delete tensors["classifier.weight"]);
    stage.hub.repositories.set("golden/headless", repositoryOf(folder, commit));
    await expect(pull("golden/headless")).rejects.toMatchObject({ code: "CONVERT_FAILED", message: expect.stringContaining("score head") });
    const content = contentOf("golden/headless", "model.safetensors");
    expect(stage.hub.hits.filter((hit) => isForRest(hit, content))).toEqual([]);
    expect(left()).toEqual([]);
  });

  it("is a model for whose two files the disk has no room", async () => {
    const id = "golden/bert-reranker";
    const content = contentOf(id, "model.safetensors");
    const rest = () => stage.hub.hits.filter((hit) => isForRest(hit, content));
    freeBytes = Math.round(content.length * 1.5); // either would fit
    const failed = pull(id, { outtype: "f32" });
    await expect(failed).rejects.toMatchObject({ code: "IO", message: expect.stringMatching(/of it for `.*BGE_RERANKER_CACHE/) });
    expect(rest()).toEqual([]);
    expect(left()).toEqual([]);
    freeBytes = Math.round(content.length * 2.2);
    expect(readFileSync(await pull(id, { outtype: "f32" })).length).toBeGreaterThan(content.length * 0.9);
    expect(rest()).toHaveLength(1);
  });
});

describe("memory", () => {
  const MiB = 1024 * 1024;
  /** Peak resident set of a pull by the command line, in MiB. */
  async function peakOf(id: string): Promise<number> {
    // Not getrusage: its peak includes that of the process which forked this one.
    const report =
      "import { readFileSync } from 'node:fs'; process.on('exit', () => console.error(readFileSync('/proc/self/status', 'utf8')))";
    const args = ["--import", `data:text/javascript,${encodeURIComponent(report)}`, cli, "pull", id, "--outtype", "f16", "--quiet"];
    const child = spawn(process.execPath, args, { env: { ...process.env, ...stage.environment }, stdio: ["ignore", "ignore", "pipe"] });
    let stderr = "";
    child.stderr.on("data", (data) => (stderr += data));
    expect(await new Promise((resolve) => child.on("close", resolve))).toBe(0);
    return Number(/VmHWM:\s+(\d+)/.exec(stderr)?.[1]) / 1024;
  }

  const linux = existsSync("/proc/self/status");
  it.skipIf(!linux)(
    `stays the same however large a tensor is${linux ? "" : " (skipped: read from Linux's /proc)"}`,
    { timeout: 300_000 },
    async () => {
      const positions = 3 << 18; // rows of 64: 192 MiB
      const folder = await copyGolden("xlmr-m3-reranker");
      await editConfig(folder, { max_position_embeddings: positions });
      await editTensors(folder, (tensors) => {
        tensors["roberta.embeddings.position_embeddings.weight"] = {
          dtype: "F32",
          shape: [positions, 64],
          bytes: new Uint8Array(192 * MiB),
        };
      });
      stage.hub.repositories.set("golden/large", repositoryOf(folder, commit));
      const small = await peakOf("golden/xlmr-m3-reranker");
      const large = await peakOf("golden/large");
      stage.hub.repositories.delete("golden/large");
      // At most four chunks at once, each 16 MiB as it is read and 8 MiB as F16; the rest is what the collector has not come to.
      expect(large - small).toBeLessThan(128);
    },
  );
});

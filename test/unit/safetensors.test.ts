import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readSafetensors, readSafetensorsFolder } from "../../src/convert/safetensors.js";
import { floatTensor, frame, safetensorsBytes, temporaryFolder } from "./convert-fixtures.js";

async function fileOf(bytes: Uint8Array): Promise<string> {
  const path = join(await temporaryFolder(), "model.safetensors");
  await writeFile(path, bytes);
  return path;
}

const entry = (change: Record<string, unknown>) => JSON.stringify({ x: { dtype: "F32", shape: [2, 2], data_offsets: [0, 16], ...change } });
const withData = (header: string, dataBytes: number) => Buffer.concat([frame(header), Buffer.alloc(dataBytes)]);

describe("readSafetensors", () => {
  it("gives name, type, shape and place of every tensor", async () => {
    const path = await fileOf(safetensorsBytes({ a: floatTensor([2, 3]), empty: floatTensor([0, 4]), b: floatTensor([]) }));
    const tensors = await readSafetensors(path);
    expect(tensors.map(({ name, dtype, shape, sizeBytes }) => [name, dtype, shape, sizeBytes])).toEqual([
      ["a", "F32", [2, 3], 24],
      ["empty", "F32", [0, 4], 0],
      ["b", "F32", [], 4],
    ]);
    expect((tensors[2]?.offset ?? 0) - (tensors[0]?.offset ?? 0)).toBe(24);
  });

  const huge = Buffer.alloc(8, 0xff);
  const long = Buffer.alloc(16);
  long.writeBigUInt64LE(1000n);
  it.each<[string, Uint8Array, RegExp]>([
    ["an empty file", Buffer.alloc(0), /0 bytes, fewer than the 8/],
    [
      "a header length beyond all reason",
      Buffer.concat([huge, Buffer.alloc(8)]),
      /header length says 18446744073709551615 bytes, more than/,
    ],
    ["a header longer than the file", long, /header length says 1000 bytes, but only 8 follow/],
    ["a header that is no JSON", frame("{nonsense"), /not valid JSON/],
    ["a header that is no UTF-8", frame(Buffer.from([0x7b, 0xff, 0x7d])), /not valid UTF-8/],
    ["a header that is a list", frame("[]"), /must hold a JSON object/],
    ["a header nested without end", frame(`{"x":${"[".repeat(100_000)}${"]".repeat(100_000)}}`), /nests deeper than 64 levels/],
    ["an entry that is no object", frame('{"x":3}'), /"x": its entry is no object/],
    ["an unknown type", withData(entry({ dtype: "F128" }), 16), /"x": `dtype` "F128" is unknown/],
    ["a type that is a property of all objects", withData(entry({ dtype: "constructor" }), 16), /`dtype` "constructor" is unknown/],
    ["a negative dimension", withData(entry({ shape: [-2, -2] }), 16), /`shape` must be/],
    ["a fractional dimension", withData(entry({ shape: [0.5, 8] }), 16), /`shape` must be/],
    ["a shape whose product overflows", withData(entry({ shape: [2 ** 40, 2 ** 40] }), 16), /`shape` is impossibly large/],
    ["a shape that does not match its bytes", withData(entry({ shape: [2, 3] }), 16), /span 16 bytes, its shape and dtype need 24/],
    ["offsets the wrong way round", withData(entry({ data_offsets: [16, 0] }), 16), /span -16 bytes/],
    ["offsets that are text", withData(entry({ data_offsets: ["0", "16"] }), 16), /`data_offsets` must be two/],
    ["offsets beyond the file", withData(entry({}), 8), /beyond the end of the file: the download is incomplete/],
    ["a gap before the first tensor", withData(entry({ data_offsets: [4, 20] }), 20), /overlap another tensor or leave a gap/],
    ["bytes after the last tensor", withData(entry({}), 20), /tensors end at byte/],
    [
      "tensors that overlap",
      withData(
        JSON.stringify({ x: { dtype: "U8", shape: [4], data_offsets: [0, 4] }, y: { dtype: "U8", shape: [4], data_offsets: [2, 6] } }),
        6,
      ),
      /"y" overlap/,
    ],
  ])("refuses %s", async (_, bytes, message) => {
    await expect(readSafetensors(await fileOf(bytes))).rejects.toMatchObject({
      code: "CONVERT_FAILED",
      message: expect.stringMatching(message),
    });
  });
});

describe("readSafetensorsFolder", () => {
  const shards = { "model-00001-of-00002.safetensors": "a", "model-00002-of-00002.safetensors": "b" };

  async function sharded(index: unknown): Promise<string> {
    const folder = await temporaryFolder();
    for (const [file, name] of Object.entries(shards)) await writeFile(join(folder, file), safetensorsBytes({ [name]: floatTensor([2]) }));
    await writeFile(join(folder, "model.safetensors.index.json"), JSON.stringify(index));
    return folder;
  }

  it("joins the shards that the index names", async () => {
    const weight_map = { a: "model-00001-of-00002.safetensors", b: "model-00002-of-00002.safetensors" };
    const set = await readSafetensorsFolder(await sharded({ weight_map }));
    expect([...set.tensors.keys()]).toEqual(["a", "b"]);
    expect(set.files).toHaveLength(2);
  });

  it.each([
    ["../model.safetensors"],
    ["/etc/model.safetensors"],
    ["sub/model.safetensors"],
    ["..\\model.safetensors"],
    [".hidden.safetensors"],
    ["model.bin"],
    [""],
    [7],
  ])("refuses shard name %j", async (file) => {
    await expect(readSafetensorsFolder(await sharded({ weight_map: { a: file } }))).rejects.toThrow(
      /`weight_map\["a"\]` must be a plain file name/,
    );
  });

  it("refuses an index without a map, a shard that is not there, and a tensor in two shards", async () => {
    await expect(readSafetensorsFolder(await sharded({}))).rejects.toThrow(/`weight_map` is missing/);
    const gone = { weight_map: { a: "model-00009-of-00009.safetensors" } };
    await expect(readSafetensorsFolder(await sharded(gone))).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
    const folder = await sharded({ weight_map: { a: "model-00001-of-00002.safetensors", c: "twin.safetensors" } });
    await writeFile(join(folder, "twin.safetensors"), safetensorsBytes({ a: floatTensor([2]) }));
    await expect(readSafetensorsFolder(folder)).rejects.toThrow(/"a" is in another shard too/);
  });

  it("says what to do about pickled weights and about none at all", async () => {
    const folder = join(await temporaryFolder(), "checkpoint");
    await mkdir(folder);
    await expect(readSafetensorsFolder(folder)).rejects.toThrow(/no `model.safetensors`.*complete checkpoint/);
    await writeFile(join(folder, "pytorch_model.bin"), "");
    await expect(readSafetensorsFolder(folder)).rejects.toThrow(
      /pickle.*AutoModelForSequenceClassification.*checkpoint"\)\.save_pretrained\(".*checkpoint-safetensors"\)/,
    );
  });
});

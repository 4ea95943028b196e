import { open, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { NativeAddon } from "../../src/addon/native.js";
import { type RowJob, streamRows } from "../../src/convert/row-stream.js";
import { localFile } from "../../src/convert/weight-file.js";
import { temporaryFolder } from "./convert-fixtures.js";

const COLUMNS = 1024;
const MiB = 1024 * 1024;

/** Counts the bytes that are being converted at any time. */
function countingAddon(convertRows: (source: Uint8Array) => Uint8Array = (source) => source) {
  const counted = { now: 0, most: 0, calls: 0 };
  const addon = {
    convertRows: async (source: Uint8Array) => {
      counted.calls++;
      counted.now += source.byteLength;
      counted.most = Math.max(counted.most, counted.now);
      await new Promise((resume) => setImmediate(resume));
      counted.now -= source.byteLength;
      return convertRows(source);
    },
  } as unknown as NativeAddon;
  return { addon, counted };
}

async function job(rows: number, change: Partial<RowJob> = {}): Promise<RowJob> {
  const folder = await temporaryFolder();
  const from = join(folder, "source");
  const to = join(folder, "target");
  await writeFile(from, "");
  await truncate(from, rows * COLUMNS * 4); // zeros that take no room on the disk
  await writeFile(to, "");
  return {
    tensor: "t",
    source: await localFile(from).open(),
    sourceOffset: 0,
    sourceType: "F32",
    sourceRowBytes: COLUMNS * 4,
    target: await open(to, "r+"),
    targetOffset: 0,
    targetType: "F16",
    targetRowBytes: COLUMNS * 2,
    rows,
    columns: COLUMNS,
    firstRow: 0,
    edits: [],
    ...change,
  };
}

async function* one(rows: RowJob) {
  yield rows;
}

function numberRows(values: Float32Array, firstRow: number, columns: number): void {
  for (let i = 0; i < values.length; i++) values[i] = firstRow + Math.floor(i / columns);
}

describe("streamRows", () => {
  it("holds a few chunks at a time, however large the tensor", async () => {
    const { addon, counted } = countingAddon((source) => source.subarray(0, 2));
    const large = await job(131_072); // 512 MiB
    let done = 0;
    await streamRows(addon, one(large), { onBytes: (bytes) => (done += bytes) });
    await Promise.all([large.source.close(), large.target.close()]);
    expect(done).toBe(512 * MiB);
    expect(counted.calls).toBe(32);
    expect(counted.most).toBeLessThanOrEqual(64 * MiB);
  });

  it("edits and moves rows across chunks as one tensor", async () => {
    const { addon } = countingAddon();
    const rows = 8192; // two chunks
    const each = await job(rows, {
      targetType: "F32",
      targetRowBytes: COLUMNS * 4,
      firstRow: 3,
      edits: [numberRows],
      reorder: { size: 4, from: (row) => 3 - row },
    });
    await streamRows(addon, one(each), { onBytes: () => {} });
    const bytes = Buffer.alloc(rows * COLUMNS * 4);
    await each.target.read(bytes, 0, bytes.length, 0);
    await Promise.all([each.source.close(), each.target.close()]);
    const first = (row: number) => bytes.readFloatLE(row * COLUMNS * 4) - 3;
    expect([0, 1, 2, 3, 4, 4095, 4096, 8191].map(first)).toEqual([3, 2, 1, 0, 7, 4092, 4099, 8188]);
  });

  it("stops all lanes when one fails, and on abort", async () => {
    const failing = countingAddon(() => {
      throw new Error("no room");
    });
    const large = await job(131_072);
    await expect(streamRows(failing.addon, one(large), { onBytes: () => {} })).rejects.toThrow("no room");
    expect(failing.counted.calls).toBeLessThanOrEqual(4);
    const stop = new AbortController();
    const { addon, counted } = countingAddon((source) => source.subarray(0, 2));
    const stopped = streamRows(addon, one(large), { signal: stop.signal, onBytes: () => stop.abort(new Error("enough")) });
    await expect(stopped).rejects.toThrow("enough");
    await Promise.all([large.source.close(), large.target.close()]);
    expect(counted.calls).toBeLessThanOrEqual(8);
  });
});

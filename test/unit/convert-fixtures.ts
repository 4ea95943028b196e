// Small checkpoints for the converter's tests: written from a table of shapes, or the golden ones changed in one place.
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";
import { checkpoints } from "../golden.js";

export const GOLDEN = fileURLToPath(new URL("../golden", import.meta.url));

export const GOLDEN_NAMES = checkpoints.map(({ name }) => name);

const folders: string[] = [];
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true });
});

export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "convert-test-"));
  folders.push(folder);
  return folder;
}

/** Copies the checkpoint's own files, without the scores and token ids beside them. */
export async function copyGolden(name: string): Promise<string> {
  const folder = await temporaryFolder();
  await cp(join(GOLDEN, name), folder, { recursive: true, filter: (path) => !/cases\.json|tokenization\.json|activations/.test(path) });
  return folder;
}

export async function editConfig(folder: string, change: Record<string, unknown>): Promise<void> {
  await editJson(folder, "config.json", change);
}

export async function editJson(folder: string, name: string, change: Record<string, unknown>): Promise<void> {
  const path = join(folder, name);
  const json = { ...JSON.parse(await readFile(path, "utf8")), ...change };
  await writeFile(path, JSON.stringify(json));
}

export interface TestTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export function floatTensor(shape: readonly number[], value: (i: number) => number = (i) => i): TestTensor {
  const values = Float32Array.from({ length: shape.reduce((product, n) => product * n, 1) }, (_, i) => value(i));
  return { dtype: "F32", shape, bytes: new Uint8Array(values.buffer) };
}

export function safetensorsBytes(tensors: Readonly<Record<string, TestTensor>>): Buffer {
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  let offset = 0;
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes.byteLength] };
    offset += bytes.byteLength;
  }
  return Buffer.concat([frame(JSON.stringify(header)), ...Object.values(tensors).map(({ bytes }) => bytes)]);
}

/** Header length and header, as they stand at the front of a file. */
export function frame(header: string | Uint8Array): Buffer {
  const json = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json]);
}

export async function readTestTensors(path: string): Promise<Record<string, TestTensor>> {
  const file = await readFile(path);
  const length = Number(file.readBigUInt64LE());
  const header = JSON.parse(file.subarray(8, 8 + length).toString()) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const entries = Object.entries(header).filter(([name]) => name !== "__metadata__");
  return Object.fromEntries(
    entries.map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [begin, end],
        },
      ]) => {
        return [name, { dtype, shape, bytes: Uint8Array.from(file.subarray(8 + length + begin, 8 + length + end)) }];
      },
    ),
  );
}

/** Rewrites the weights of a checkpoint folder. */
export async function editTensors(folder: string, change: (tensors: Record<string, TestTensor>) => void): Promise<void> {
  const path = join(folder, "model.safetensors");
  const tensors = await readTestTensors(path);
  change(tensors);
  await writeFile(path, safetensorsBytes(tensors));
}

// Parts into one file, in their order; of each part only a piece is in memory.
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { RerankerError } from "../index.js";
import { type Row, readRows } from "../records/index.js";
import { ParquetPartWriter } from "./parquet-writer.js";
import type { PartRecord } from "./part.js";
import { PartFile, type WrittenFile } from "./part-file.js";
import type { JobSpec } from "./spec.js";
import type { OutputShape, ScoredTask } from "./task.js";

// Rows read back before they are written.
const ROWS_A_WRITE = 5000;

/** @param folder - Where the parts lie. @param path - The file to make; it must not be there. */
export async function mergeParts(spec: JobSpec, parts: readonly PartRecord[], folder: string, path: string): Promise<WrittenFile> {
  const file = await PartFile.create(path);
  try {
    if (spec.format === "parquet") return await mergeParquet(spec, parts, folder, file);
    for (const part of parts) {
      for await (const chunk of createReadStream(join(folder, part.name), { highWaterMark: 1 << 20 })) await file.write(chunk as Buffer);
    }
    const written = await file.finish();
    const expected = parts.reduce((sum, { bytes }) => sum + bytes, 0);
    if (written.bytes !== expected) throw new RerankerError("IO", `The parts in ${folder} changed while they were merged`);
    return written;
  } finally {
    await file.abandon();
  }
}

async function mergeParquet(spec: JobSpec, parts: readonly PartRecord[], folder: string, file: PartFile): Promise<WrittenFile> {
  const facts = { model: spec.model.name ?? "", modelSha256: spec.model.sha256, key: spec.key };
  const writer = await ParquetPartWriter.create(file, spec.shape, facts);
  for (const part of parts) {
    let rows: ScoredTask[] = [];
    for await (const row of readRows(join(folder, part.name))) {
      rows.push(readBack(row, spec.shape));
      if (rows.length < ROWS_A_WRITE) continue;
      await writer.write(rows);
      rows = [];
    }
    await writer.write(rows);
  }
  return writer.finish();
}

/** A row of our own making as the writer takes it. */
function readBack({ values }: Row, { kind, kept, scores, withIds }: OutputShape): ScoredTask {
  const text = (value: unknown) => (typeof value === "bigint" ? String(value) : JSON.stringify(value));
  return {
    row: Number(values.row),
    query: "",
    lists: [],
    ids: withIds ? [values.documents as string[]] : [],
    queryId: undefined,
    kept: kept.map(({ name }) => (values[name] === null ? undefined : text(values[name]))),
    scores: scores.map((name) => (kind === "pair" ? [values[name] as number] : (values[name] as number[]))),
    truncated: Number(values.truncated),
  };
}

// One shard scored and its output put in place, or found there already.
import { stat } from "node:fs/promises";
import { type Reranker, RerankerError, version } from "../index.js";
import type { InputReader } from "./input-reader.js";
import { PartFile } from "./part-file.js";
import { type OnWork, type ScoreMemory, scoreWindow, type Work, windowsOf } from "./score-window.js";
import { partName, recordName, type Shard } from "./shard.js";
import { type JobSpec, shardKey } from "./spec.js";
import { putBytes, type Storage } from "./storage/storage.js";
import type { ScoredTask, Task } from "./task.js";
import { createWriter } from "./writers.js";

/** What made a part: kept beside it. */
export interface PartRecord extends Readonly<Work> {
  readonly key: string;
  readonly name: string;
  readonly firstRow: number;
  readonly rows: number;
  readonly bytes: number;
  readonly sha256: string;
  readonly seconds: number;
  readonly device: string;
  /** Instruction set of the CPU kernels: scores of quantized models differ by hundredths between some. */
  readonly isa: string | null;
  readonly version: string;
}

export interface PartContext {
  readonly spec: JobSpec;
  readonly reranker: Reranker;
  readonly reader: InputReader;
  readonly storage: Storage;
  readonly signal?: AbortSignal | undefined;
  readonly onWork?: OnWork | undefined;
}

/** The record of a part that is there and is this shard's, else undefined. */
export async function findPart(spec: JobSpec, shard: Shard, storage: Storage): Promise<PartRecord | undefined> {
  const bytes = await storage.read(recordName(shard.index));
  if (!bytes) return undefined;
  let record: PartRecord;
  try {
    record = JSON.parse(bytes.toString()) as PartRecord;
  } catch {
    return undefined; // written by nobody of ours, or damaged: made anew
  }
  const isOurs = record.key === shardKey(spec, shard) && record.name === partName(shard.index, spec.format);
  return isOurs && (await storage.size(record.name)) === record.bytes ? record : undefined;
}

export async function makePart(shard: Shard, context: PartContext): Promise<PartRecord> {
  const { spec, reranker, storage } = context;
  await throwIfChanged(spec, shard);
  const started = performance.now();
  const name = partName(shard.index, spec.format);
  const pending = await storage.create(name);
  try {
    const file = await PartFile.create(pending.path);
    try {
      const facts = { model: spec.model.name ?? "", modelSha256: spec.model.sha256, key: spec.key };
      const writer = await createWriter(spec.format, file, spec.shape, facts);
      const work: Work = { pairs: 0, computedPairs: 0, tokens: 0, truncatedPairs: 0 };
      let rows = 0;
      for await (const tasks of scoredWindows(shard, context, work)) {
        rows += tasks.length;
        await writer.write(tasks);
      }
      if (rows !== shard.rows) throw changed(spec, shard, `it has ${rows} rows where ${shard.rows} were counted`);
      const written = await writer.finish();
      await pending.commit();
      const record: PartRecord = {
        key: shardKey(spec, shard),
        name,
        firstRow: shard.firstRow + shard.from.row,
        rows,
        ...written,
        ...work,
        seconds: (performance.now() - started) / 1000,
        device: reranker.model.device,
        isa: reranker.model.isa,
        version,
      };
      await putBytes(storage, recordName(shard.index), Buffer.from(`${JSON.stringify(record)}\n`));
      return record;
    } finally {
      await file.abandon();
    }
  } finally {
    await pending.discard();
  }
}

/** While a window is scored, the next is read. */
async function* scoredWindows(shard: Shard, context: PartContext, work: Work): AsyncGenerator<ScoredTask[]> {
  const { reranker, reader, signal, onWork } = context;
  const memory: ScoreMemory = new Map();
  const windows = windowsOf(reader.readTasks(shard, signal));
  try {
    let next: Promise<IteratorResult<Task[]>> = windows.next();
    for (;;) {
      const { value, done } = await next;
      if (done) return;
      next = windows.next();
      next.catch(() => undefined); // thrown where it is awaited
      yield await scoreWindow(value, { reranker, options: {}, signal, onWork }, memory, work);
    }
  } finally {
    await windows.return(undefined);
  }
}

async function throwIfChanged(spec: JobSpec, shard: Shard): Promise<void> {
  const file = spec.files[shard.file];
  if (!file) return;
  const stats = await stat(file.path).catch((cause: Error) => {
    throw new RerankerError("IO", `Cannot read ${file.path}: ${cause.message}`, { cause });
  });
  if (stats.size !== file.sizeBytes) throw changed(spec, shard, `it has ${stats.size} bytes where it had ${file.sizeBytes}`);
}

function changed(spec: JobSpec, shard: Shard, how: string): RerankerError {
  return new RerankerError("IO", `${spec.files[shard.file]?.path} changed since the job was made: ${how}. Begin anew with another output`);
}

// Writers of parts: scored tasks in, rows of one format out.
import { formatRun, RerankerError, rank } from "../index.js";
import { ParquetPartWriter } from "./parquet-writer.js";
import type { PartFile, WrittenFile } from "./part-file.js";
import type { OutputFormat, OutputShape, ScoredTask } from "./task.js";

export interface PartWriter {
  write(tasks: readonly ScoredTask[]): Promise<void>;
  /** Returns once the file is on the disk. */
  finish(): Promise<WrittenFile>;
}

/** Facts that go into a file's own metadata, where the format has a place for them. */
export type PartFacts = Readonly<Record<string, string>>;

export async function createWriter(format: OutputFormat, file: PartFile, shape: OutputShape, facts: PartFacts): Promise<PartWriter> {
  switch (format) {
    case "jsonl":
      return textWriter(file, (task) => jsonLine(task, shape));
    case "trec":
      return textWriter(file, (task) => runLines(task, facts.model ?? "bge-reranker"));
    case "parquet":
      return ParquetPartWriter.create(file, shape, facts);
    default:
      return format satisfies never;
  }
}

function textWriter(file: PartFile, textOf: (task: ScoredTask) => string): PartWriter {
  return {
    write: (tasks) => file.write(Buffer.from(tasks.map(textOf).join(""))),
    finish: () => file.finish(),
  };
}

/** What a row of the output holds beside its number, in the order of the columns. */
export function jsonLine(task: ScoredTask, shape: OutputShape): string {
  const members = [`"row":${task.row}`];
  for (const [i, { name }] of shape.kept.entries()) {
    const text = task.kept[i];
    if (text !== undefined) members.push(`${JSON.stringify(name)}:${text}`);
  }
  if (shape.withIds) members.push(`"documents":${JSON.stringify(task.ids[0])}`);
  for (const [i, name] of shape.scores.entries()) {
    const scores = task.scores[i] ?? [];
    members.push(`${JSON.stringify(name)}:${JSON.stringify(shape.kind === "pair" ? scores[0] : scores)}`);
  }
  members.push(`"truncated":${shape.kind === "lists" ? task.truncated : task.truncated > 0}`);
  return `{${members.join(",")}}\n`;
}

function runLines(task: ScoredTask, tag: string): string {
  const { queryId } = task;
  const ids = task.ids.flat();
  const missing = ids.indexOf(undefined);
  if (queryId === undefined || missing >= 0) {
    const what = queryId === undefined ? "no id of the query" : `no id of document ${missing}`;
    throw new RerankerError("IO", `Row ${task.row} has ${what}, which a TREC run needs; write .jsonl or .parquet`);
  }
  const scores = new Map(ids.map((id, i) => [id as string, task.scores.flat()[i] ?? Number.NaN]));
  if (scores.size < ids.length) throw new RerankerError("IO", `Row ${task.row} names a document twice, which a TREC run cannot`);
  return formatRun(queryId, rank(scores), tag);
}

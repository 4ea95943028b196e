// A part in Parquet, row group by row group.
import type { SchemaElement } from "hyparquet";
import type { ByteWriter, ParquetWriter } from "hyparquet-writer";
import { version } from "../index.js";
import type { PartFile, WrittenFile } from "./part-file.js";
import type { OutputShape, ScoredTask } from "./task.js";

const GROUP_ROWS = 50_000;
const GROUP_SCORES = 1_000_000;

type Column = { name: string; data: unknown[] };

export class ParquetPartWriter {
  readonly #file: PartFile;
  readonly #shape: OutputShape;
  readonly #bytes: ByteWriter;
  readonly #writer: ParquetWriter;
  #rows: ScoredTask[] = [];
  #scores = 0;

  static async create(file: PartFile, shape: OutputShape, facts: Readonly<Record<string, string>>): Promise<ParquetPartWriter> {
    const { ByteWriter, ParquetWriter } = await import("hyparquet-writer");
    const bytes = new ByteWriter();
    const kvMetadata = Object.entries(facts).map(([key, value]) => ({ key: `bge-reranker.${key}`, value }));
    const createdBy = `bge-reranker version ${version}`;
    return new ParquetPartWriter(file, shape, bytes, new ParquetWriter({ writer: bytes, schema: schemaOf(shape), kvMetadata, createdBy }));
  }

  private constructor(file: PartFile, shape: OutputShape, bytes: ByteWriter, writer: ParquetWriter) {
    this.#file = file;
    this.#shape = shape;
    this.#bytes = bytes;
    this.#writer = writer;
  }

  async write(tasks: readonly ScoredTask[]): Promise<void> {
    for (const task of tasks) {
      this.#rows.push(task);
      this.#scores += task.scores.reduce((sum, list) => sum + list.length, 0);
      if (this.#rows.length >= GROUP_ROWS || this.#scores >= GROUP_SCORES) await this.#writeGroup();
    }
  }

  async finish(): Promise<WrittenFile> {
    if (this.#rows.length > 0) await this.#writeGroup();
    await this.#writer.finish();
    await this.#flush();
    return this.#file.finish();
  }

  async #writeGroup(): Promise<void> {
    const columnData = columnsOf(this.#rows, this.#shape);
    await this.#writer.write({ columnData, rowGroupSize: this.#rows.length });
    this.#rows = [];
    this.#scores = 0;
    await this.#flush();
  }

  /** Takes the bytes out of the buffer; `offset`, where the file stands, goes on. */
  async #flush(): Promise<void> {
    const bytes = new Uint8Array(this.#bytes.buffer, 0, this.#bytes.index);
    await this.#file.write(bytes);
    this.#bytes.index = 0;
  }
}

function schemaOf({ kind, kept, scores, withIds }: OutputShape): SchemaElement[] {
  const columns: SchemaElement[] = [
    { name: "row", type: "INT64", repetition_type: "REQUIRED" },
    ...kept.map(
      (column): SchemaElement =>
        column.kind === "integer"
          ? { name: column.name, type: "INT64", repetition_type: "OPTIONAL" }
          : { name: column.name, type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
    ),
    ...(withIds ? listOf("documents", { type: "BYTE_ARRAY", converted_type: "UTF8" }) : []),
    ...scores.flatMap((name): SchemaElement[] =>
      kind === "pair" ? [{ name, type: "DOUBLE", repetition_type: "REQUIRED" }] : listOf(name, { type: "DOUBLE" }),
    ),
    kind === "lists"
      ? { name: "truncated", type: "INT32", repetition_type: "REQUIRED" }
      : { name: "truncated", type: "BOOLEAN", repetition_type: "REQUIRED" },
  ];
  const children = columns.length - 2 * columns.filter(({ converted_type }) => converted_type === "LIST").length;
  return [{ name: "root", num_children: children }, ...columns];
}

/** The three levels of a list, as parquet-format's LogicalTypes.md has them. */
function listOf(name: string, element: Pick<SchemaElement, "type" | "converted_type">): SchemaElement[] {
  return [
    { name, repetition_type: "REQUIRED", num_children: 1, converted_type: "LIST" },
    { name: "list", repetition_type: "REPEATED", num_children: 1 },
    { name: "element", repetition_type: "REQUIRED", ...element },
  ];
}

function columnsOf(rows: readonly ScoredTask[], { kind, kept, scores, withIds }: OutputShape): Column[] {
  return [
    { name: "row", data: rows.map(({ row }) => BigInt(row)) },
    ...kept.map((column, i) => ({ name: column.name, data: rows.map((row) => keptValue(row.kept[i], column.kind)) })),
    ...(withIds ? [{ name: "documents", data: rows.map(({ ids }) => ids[0] ?? []) }] : []),
    ...scores.map((name, i) => ({ name, data: rows.map((row) => (kind === "pair" ? row.scores[i]?.[0] : row.scores[i])) })),
    { name: "truncated", data: rows.map(({ truncated }) => (kind === "lists" ? truncated : truncated > 0)) },
  ];
}

/** Strings as they are, other values as their JSON text. */
function keptValue(text: string | undefined, kind: "integer" | "text"): unknown {
  if (text === undefined || text === "null") return null;
  if (kind === "integer") return BigInt(text);
  return text.startsWith('"') ? JSON.parse(text) : text;
}

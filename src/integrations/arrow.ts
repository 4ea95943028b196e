// The few parts of apache-arrow that ours take, and where its copy is.
import { createRequire } from "node:module";
import path from "node:path";
import { RerankerError } from "../index.js";

export interface ArrowType {
  readonly typeId: number;
}

export interface ArrowField {
  readonly name: string;
  readonly type: ArrowType;
}

export interface ArrowData {
  readonly type: ArrowType;
  readonly stride: number;
  readonly values: { readonly constructor: unknown; readonly length: number; subarray?(start: number, end: number): ArrayLike<number> };
  /** Of texts, bytes and lists: where each begins, and the end. */
  readonly valueOffsets: { readonly [row: number]: number | bigint; readonly constructor: unknown };
  readonly children: readonly ArrowData[];
  getValid(row: number): boolean;
}

export interface ArrowVector {
  readonly data: readonly ArrowData[];
  get(row: number): unknown;
}

/** What is used of a RecordBatch of apache-arrow. */
export interface ArrowBatch {
  readonly numRows: number;
  readonly schema: { readonly fields: readonly ArrowField[] };
  // biome-ignore lint/suspicious/noExplicitAny: its name and type depend on the schema
  getChild(name: any): unknown;
}

/** What is used of the package. */
export interface Arrow {
  readonly Type: Readonly<Record<string, number>>;
  readonly Field: new (name: string, type: ArrowType, nullable: boolean) => ArrowField;
  readonly Float32: new () => ArrowType;
  readonly Schema: new (fields: readonly ArrowField[]) => unknown;
  readonly Struct: new (fields: readonly ArrowField[]) => ArrowType;
  readonly RecordBatch: new (schema: unknown, data: unknown) => unknown;
  readonly Vector: new (data: readonly ArrowData[]) => ArrowVector;
  makeData(props: object): ArrowData;
  vectorFromArray(values: readonly unknown[], type: ArrowType): ArrowVector;
}

/**
 * The apache-arrow that LanceDB itself uses, which is CommonJS: batches of another copy, or of its ESM build, are foreign to it
 * ("Unrecognized type"). Looked for beside us, then as the application's entry script sees it; never from the current directory,
 * which may be anybody's.
 *
 * @throws {RerankerError} `IO` when there is none.
 */
export function loadArrow(): Arrow {
  const entry = process.argv[1];
  const places = [import.meta.url, ...(entry !== undefined && path.isAbsolute(entry) ? [entry] : [])];
  for (const place of places) {
    try {
      const require = createRequire(place);
      return createRequire(require.resolve("@lancedb/lancedb"))("apache-arrow");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "MODULE_NOT_FOUND") throw error;
    }
  }
  throw new RerankerError("IO", "bge-reranker/lancedb needs @lancedb/lancedb, and apache-arrow as its peer: install both");
}

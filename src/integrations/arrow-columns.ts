// One Arrow column put together from rows of others.
import type { Arrow, ArrowData, ArrowField, ArrowType, ArrowVector } from "./arrow.js";

/** A value of a column: a row of a batch's; `data` undefined where the batch lacks the column. */
export interface Cell {
  readonly data: ArrowData | undefined;
  readonly row: number;
}

/** One column. Values are copied as they lie in memory: reading and writing a timestamp would round it. */
export function gather(arrow: Arrow, type: ArrowType, cells: readonly Cell[]): ArrowData {
  const valid = cells.map(({ data, row }) => data?.getValid(row) ?? false);
  const nullCount = valid.filter((is) => !is).length;
  const common = { type, length: cells.length, nullCount, nullBitmap: nullCount > 0 ? bitmapOf(valid) : undefined };
  const at = (child: number, rows: readonly Cell[]) => gather(arrow, childType(type, child), rows);
  const childOf = (data: ArrowData | undefined, child: number) => data?.children[child];
  switch (kindOf(arrow, type)) {
    case "fixed":
      return arrow.makeData({ ...common, data: copyValues(cells) ?? new Uint8Array(0) });
    case "bytes": {
      const { offsets, spans } = layOut(cells, valid);
      return arrow.makeData({ ...common, valueOffsets: offsets, data: copyBytes(spans) });
    }
    case "list": {
      const { offsets, spans } = layOut(cells, valid);
      const inner = spans.flatMap(({ data, start, end }) =>
        Array.from({ length: end - start }, (_, i): Cell => ({ data: childOf(data, 0), row: start + i })),
      );
      return arrow.makeData({ ...common, valueOffsets: offsets, child: at(0, inner) });
    }
    case "fixed-list": {
      const size = (type as ArrowType & { readonly listSize: number }).listSize;
      const inner = cells.flatMap(({ data, row }) =>
        Array.from({ length: size }, (_, i): Cell => ({ data: childOf(data, 0), row: row * size + i })),
      );
      return arrow.makeData({ ...common, child: at(0, inner) });
    }
    case "struct": {
      const { children } = type as ArrowType & { readonly children: readonly ArrowField[] };
      const inner = children.map((_, c) => at(c, cells.map(({ data, row }) => ({ data: childOf(data, c), row })))); // biome-ignore format: one thought
      return arrow.makeData({ ...common, children: inner });
    }
    case "other":
      return rebuild(arrow, type, cells, valid);
  }
}

/** What the package's own builders write rightly: booleans, dictionaries. They do not write lists of texts rightly. */
function rebuild(arrow: Arrow, type: ArrowType, cells: readonly Cell[], valid: readonly boolean[]): ArrowData {
  const vectors = new Map<ArrowData, ArrowVector>();
  const values = cells.map(({ data, row }, i) => {
    if (!data || !valid[i]) return null;
    const vector = vectors.get(data) ?? new arrow.Vector([data]);
    vectors.set(data, vector);
    return vector.get(row);
  });
  return arrow.vectorFromArray(values, type).data[0] as ArrowData;
}

function childType(type: ArrowType, child: number): ArrowType {
  return (type as ArrowType & { readonly children: readonly ArrowField[] }).children[child]?.type as ArrowType;
}

type Kind = "fixed" | "bytes" | "list" | "fixed-list" | "struct" | "other";

const KINDS: Readonly<Record<Exclude<Kind, "other">, readonly string[]>> = {
  fixed: ["Int", "Float", "Decimal", "Date", "Time", "Timestamp", "Interval", "Duration", "FixedSizeBinary"],
  bytes: ["Utf8", "Binary", "LargeUtf8", "LargeBinary"],
  list: ["List", "Map"],
  "fixed-list": ["FixedSizeList"],
  struct: ["Struct"],
};

function kindOf({ Type }: Arrow, { typeId }: ArrowType): Kind {
  const kinds = Object.entries(KINDS) as [Kind, readonly string[]][];
  return kinds.find(([, names]) => names.some((name) => Type[name] === typeId))?.[0] ?? "other";
}

interface Span {
  readonly data: ArrowData;
  readonly start: number;
  readonly end: number;
}

/** Offsets of values of any length put one after another, and where each comes from. */
function layOut(cells: readonly Cell[], valid: readonly boolean[]): { offsets: unknown; spans: Span[] } {
  const [first] = cells.flatMap(({ data }) => data ?? []);
  const wide = first?.valueOffsets.constructor === BigInt64Array;
  const ends = [0];
  const spans: Span[] = [];
  for (const [i, { data, row }] of cells.entries()) {
    const span = data && valid[i] ? { data, start: Number(data.valueOffsets[row]), end: Number(data.valueOffsets[row + 1]) } : undefined;
    if (span) spans.push(span);
    ends.push((ends.at(-1) ?? 0) + (span ? span.end - span.start : 0));
  }
  return { offsets: wide ? BigInt64Array.from(ends, BigInt) : Int32Array.from(ends), spans };
}

function copyBytes(spans: readonly Span[]): Uint8Array {
  const bytes = new Uint8Array(spans.reduce((sum, { start, end }) => sum + end - start, 0));
  let at = 0;
  for (const { data, start, end } of spans) {
    bytes.set((data.values as unknown as Uint8Array).subarray(start, end), at);
    at += end - start;
  }
  return bytes;
}

function copyValues(cells: readonly Cell[]): unknown {
  const [first] = cells.flatMap(({ data }) => data ?? []);
  if (!first) return undefined;
  const { stride } = first;
  const TypedArray = first.values.constructor as new (length: number) => { set(values: ArrayLike<number>, at: number): void };
  const values = new TypedArray(cells.length * stride);
  for (const [i, { data, row }] of cells.entries()) {
    const cell = data?.values.subarray?.(row * stride, (row + 1) * stride);
    if (cell) values.set(cell, i * stride);
  }
  return values;
}

function bitmapOf(valid: readonly boolean[]): Uint8Array {
  const bits = new Uint8Array(Math.ceil(valid.length / 64) * 8); // Arrow pads to 8 bytes
  for (const [i, is] of valid.entries()) if (is) bits[i >> 3] = (bits[i >> 3] ?? 0) | (1 << (i & 7));
  return bits;
}

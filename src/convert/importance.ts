// An importance matrix: how large the inputs of each weight matrix are, by which quantising weighs the errors of its columns.
import * as is from "../checks.js";
import type { MetadataEntry } from "../gguf/metadata-entry.js";

/** What `measureImportance` finds and `quantize` heeds. */
export interface Importance {
  /** Mean squares of what goes into a weight matrix, one an input, by the matrix's GGUF name. */
  readonly inputs: ReadonlyMap<string, Float32Array>;
  /** Pairs that they were measured on. */
  readonly pairs: number;
  /** What the pairs are called; kept in the file. */
  readonly dataset?: string | undefined;
}

export function checkImportance(name: string, value: unknown): void {
  is.throwUnlessPlain(`\`${name}\``, value);
  const { inputs, pairs, dataset } = value as Partial<Importance>;
  is.mapOf(isSquares)(`${name}.inputs`, inputs);
  if (inputs?.size === 0) throw new RangeError(`Expected \`${name}.inputs\` to name weight matrices, got none`);
  is.integer(0)(`${name}.pairs`, pairs);
  if (dataset !== undefined) is.string(`${name}.dataset`, dataset);
}

function isSquares(name: string, value: unknown): void {
  if (value instanceof Float32Array && value.every((square) => square >= 0 && Number.isFinite(square))) return;
  throw new TypeError(`Expected \`${name}\` to be a Float32Array of mean squares, got \`${is.show(value)}\``);
}

/** The keys that llama.cpp writes of the matrix a file was quantised with. */
export function importanceEntries({ inputs, pairs, dataset }: Importance): MetadataEntry[] {
  return [
    ...(dataset === undefined ? [] : [["quantize.imatrix.dataset", "string", dataset] as const]),
    ["quantize.imatrix.entries_count", "u32", inputs.size],
    ["quantize.imatrix.chunks_count", "u32", pairs],
  ];
}

/** Of the mean: no input is worth nothing because the texts did not need it, and quantisers divide by sums of these. */
const LEAST = 1e-4;

export function weightsOf({ inputs }: Importance, tensor: string): Float32Array | undefined {
  const squares = inputs.get(tensor);
  if (!squares) return undefined;
  const mean = squares.reduce((sum, value) => sum + value, 0) / squares.length;
  return mean > 0 ? squares.map((value) => Math.max(value, LEAST * mean)) : undefined;
}

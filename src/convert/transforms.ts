// The named transforms of profiles, as edits of rows.
import type { Transform } from "../models/index.js";
import type { RowEdit, RowJob } from "./row-stream.js";

/** What a transform does to rows while they stream; dropped rows are the plan's business. */
export function transformRows(
  transform: Transform | undefined,
  headSize: number,
): { edits: readonly RowEdit[]; reorder?: NonNullable<RowJob["reorder"]> } {
  switch (transform) {
    case undefined:
    case "drop-reserved-positions":
      return { edits: [] };
    case "label-difference": // needs the other row: write-model.ts
      return { edits: [] };
    case "plus-one":
      return { edits: [addOne] };
    case "permute-rope":
      return { edits: [], reorder: interleaveHalves(headSize) };
    default:
      throw transform satisfies never;
  }
}

function addOne(values: Float32Array): void {
  for (let i = 0; i < values.length; i++) values[i] = 1 + (values[i] as number);
}

/** Row 2j of a head comes from its first half, row 2j + 1 from the second. Source: llama.cpp conversion, `permute`. */
function interleaveHalves(headSize: number): NonNullable<RowJob["reorder"]> {
  return { size: headSize, from: (row) => Math.floor(row / 2) + (row % 2) * (headSize / 2) };
}

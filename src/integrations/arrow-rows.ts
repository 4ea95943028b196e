// Rows of Arrow batches put together anew.
import type { Arrow, ArrowBatch, ArrowField, ArrowVector } from "./arrow.js";
import { type Cell, gather } from "./arrow-columns.js";

/** A row of a batch. */
export interface BatchRow<B extends ArrowBatch> {
  readonly batch: B;
  readonly row: number;
}

/**
 * One batch of the fields given and a column of float32 at the end.
 *
 * @param rows - Where each row is found: a field is read in the first batch that has it, and is null where none has.
 */
export function batchOf<B extends ArrowBatch>(
  arrow: Arrow,
  fields: readonly ArrowField[],
  rows: readonly (readonly BatchRow<B>[])[],
  added: { readonly name: string; readonly values: Float32Array },
): B {
  const columns = fields.map((field) => {
    const cells = rows.map((places): Cell => {
      const [found] = places.flatMap(({ batch, row }) => {
        const data = (batch.getChild(field.name) as ArrowVector | null)?.data[0];
        return data ? [{ data, row }] : [];
      });
      return found ?? { data: undefined, row: 0 };
    });
    return gather(arrow, field.type, cells);
  });
  const nullable = fields.map(({ name, type }) => new arrow.Field(name, type, true));
  const type = new arrow.Float32();
  const all = [...nullable, new arrow.Field(added.name, type, false)];
  const children = [...columns, arrow.makeData({ type, length: rows.length, nullCount: 0, data: added.values })];
  const data = arrow.makeData({ type: new arrow.Struct(all), length: rows.length, nullCount: 0, children });
  return new arrow.RecordBatch(new arrow.Schema(all), data) as B;
}

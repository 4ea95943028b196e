// Rows of a file of JSON lines.

import { memberText } from "./json-text.js";
import { decodeLine, isBlank, parseJsonLine, readRawLines } from "./lines.js";
import { FIRST, type Mark, type Row } from "./row.js";
import type { TableOptions, TableScan } from "./table-options.js";

export async function* readJsonlRows(path: string, options: TableOptions, from: Mark, seekable: boolean): AsyncGenerator<Row> {
  const start = seekable ? from : FIRST;
  let row = start.row;
  for await (const { bytes, number } of readRawLines(path, { signal: options.signal, startByte: start.byte, startLine: start.line })) {
    if (isBlank(bytes) || row++ < from.row) continue;
    const line = { path, number, text: decodeLine(bytes, { path, number }) };
    const values = parseJsonLine(line);
    yield { path, number, values, json: (column) => (Object.hasOwn(values, column) ? memberText(line.text, column) : undefined) };
  }
}

/** Counts rows without parsing them. */
export async function scanJsonl(path: string, scan: TableScan): Promise<number> {
  let row = 0;
  for await (const { bytes, byte, number } of readRawLines(path, scan)) {
    if (isBlank(bytes)) continue;
    scan.onRow({ row, byte, line: number });
    row++;
  }
  return row;
}

// Files of records: what is in them is up to whoever reads them.
export { findFirst, findTexts } from "./beir.js";
export type { CsvDialect } from "./csv.js";
export { compressionOf, formatOf, type TableFormat } from "./format.js";
export { expandFiles } from "./globs.js";
export { memberText } from "./json-text.js";
export { badLine, type Line, parseId, parseJsonLine, readLines, readRawLines, unitOf, type Where } from "./lines.js";
export type { ParquetColumn } from "./parquet.js";
export { FIRST, type Mark, type Row, toJsonText } from "./row.js";
export { indexTable, parquetColumns, readRows, type TableIndex } from "./table.js";
export type { TableOptions } from "./table-options.js";

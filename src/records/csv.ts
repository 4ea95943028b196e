// Rows of CSV (RFC 4180) and of tab-separated files.
import { Readable } from "node:stream";
import type { Info } from "csv-parse";
import { RerankerError } from "../errors.js";
import { readChunks } from "./bytes.js";
import { badLine, MAX_LINE_BYTES } from "./lines.js";
import { FIRST, type Mark, type Row } from "./row.js";
import type { TableOptions, TableScan } from "./table-options.js";

/** How the fields of a file are told apart. */
export interface CsvDialect {
  readonly delimiter: "," | "\t";
  /** undefined: none for tabs, and a field that looks quoted is an error; `"` for commas. */
  readonly quote: '"' | "none" | undefined;
  /** Names of the columns of a file without a header. */
  readonly header: readonly string[] | undefined;
}

interface Parsed {
  readonly info: Info;
  readonly record: readonly string[];
}

export async function* readCsvRows(
  path: string,
  dialect: CsvDialect,
  options: TableOptions,
  from: Mark,
  seekable: boolean,
): AsyncGenerator<Row> {
  const start = seekable ? from : FIRST;
  // The header stands at the beginning, wherever reading starts.
  const names = dialect.header ?? (await readHeader(path, dialect, options));
  let row = start.row;
  let isHeader = dialect.header === undefined && start.byte === 0;
  for await (const { info, record } of parse(path, dialect, { signal: options.signal, startByte: start.byte })) {
    const number = start.line - 1 + info.lines;
    if (isHeader) {
      isHeader = false;
      continue;
    }
    if (row++ < from.row) continue;
    if (record.length !== names.length) throw badLine({ path, number }, `has ${record.length} fields; the columns are ${names.join(", ")}`);
    if (dialect.delimiter === "\t" && dialect.quote === undefined) throwIfQuoted(record, path, number);
    const values = Object.fromEntries(names.map((name, i) => [name, record[i]]));
    yield { path, number, values, json: (column) => (Object.hasOwn(values, column) ? JSON.stringify(values[column]) : undefined) };
  }
}

export async function scanCsv(path: string, dialect: CsvDialect, scan: TableScan): Promise<number> {
  let row = 0;
  let isHeader = dialect.header === undefined;
  let next = { byte: 0, line: 1 };
  for await (const { info } of parse(path, dialect, scan)) {
    if (!isHeader) scan.onRow({ row: row++, ...next });
    isHeader = false;
    next = { byte: info.bytes_records, line: info.lines + 1 };
  }
  return row;
}

async function readHeader(path: string, dialect: CsvDialect, { signal }: TableOptions): Promise<readonly string[]> {
  for await (const { record } of parse(path, dialect, { signal })) {
    const twice = record.find((name, i) => record.indexOf(name) !== i);
    if (twice !== undefined) throw badLine({ path, number: 1 }, `names the column ${JSON.stringify(twice)} twice`);
    return record;
  }
  throw new RerankerError("IO", `${path} is empty; its first line should name the columns`);
}

async function* parse(path: string, { delimiter, quote }: CsvDialect, options: Parameters<typeof readChunks>[1]): AsyncGenerator<Parsed> {
  const { parse: createParser } = await import("csv-parse");
  const parser = createParser({
    delimiter,
    quote: quote === "none" || (quote === undefined && delimiter === "\t") ? false : '"',
    info: true,
    bom: true,
    record_delimiter: ["\r\n", "\n"], // either, on any line
    skip_empty_lines: true,
    relax_column_count: true, // counted by the reader, which knows the names
    max_record_size: MAX_LINE_BYTES,
  });
  const source = Readable.from(checkUtf8(readChunks(path, options), path), { objectMode: false });
  source.once("error", (error) => parser.destroy(error));
  source.pipe(parser);
  try {
    for await (const parsed of parser) yield parsed as Parsed;
  } catch (error) {
    if (options?.signal?.aborted) throw options.signal.reason;
    if (error instanceof RerankerError) throw error;
    throw new RerankerError("IO", `${path} is not ${delimiter === "," ? "CSV" : "TSV"}: ${(error as Error).message}`, { cause: error });
  } finally {
    source.destroy();
    parser.destroy();
  }
}

async function* checkUtf8(chunks: AsyncIterable<Buffer>, path: string): AsyncGenerator<Buffer> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    for await (const chunk of chunks) {
      decoder.decode(chunk, { stream: true });
      yield chunk;
    }
    decoder.decode();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new RerankerError("IO", `${path} is not UTF-8`, { cause: error });
  }
}

const LOOKS_QUOTED = /^"(?:[^"]|"")*"$/;

function throwIfQuoted(fields: readonly string[], path: string, number: number): void {
  const quoted = fields.find((field) => LOOKS_QUOTED.test(field));
  if (quoted === undefined) return;
  throw badLine(
    { path, number },
    `has a field in quotes, ${JSON.stringify(quoted.slice(0, 40))}: say whether they belong to the text (quote "none") or around it (quote '"')`,
  );
}

// Lines of a text file, one at a time: memory does not grow with the file.
import { RerankerError } from "../errors.js";
import { type ReadOptions, readChunks } from "./bytes.js";

/** Where in a file something stands, for messages. */
export interface Where {
  readonly path: string;
  /** Line of a text file or row of a Parquet file, from 1. */
  readonly number: number;
}

/** A line that is not blank. */
export interface Line extends Where {
  readonly text: string;
}

/** A line's bytes, and where it begins in the file (decompressed). */
export interface RawLine {
  readonly bytes: Buffer;
  readonly byte: number;
  readonly number: number;
}

export interface LineOptions extends ReadOptions {
  /** Number of the line at `startByte`. @default 1 */
  readonly startLine?: number | undefined;
}

/** Far more than any text a model reads; a line beyond it is a file of another kind, such as one big JSON array. */
export const MAX_LINE_BYTES = 16 * 2 ** 20;

const NEWLINE = 10;

/** @throws {RerankerError} `IO`: the file cannot be read, a line is not UTF-8 or longer than 16 MiB. */
export async function* readLines(path: string, options: LineOptions = {}): AsyncGenerator<Line> {
  for await (const { bytes, number } of readRawLines(path, options)) {
    const text = decodeLine(bytes, { path, number });
    if (text.trim() !== "") yield { path, number, text };
  }
}

/** What is wrong with a line or row, as an error to throw. */
export function badLine({ path, number }: Where, problem: string, cause?: unknown): RerankerError {
  return new RerankerError("IO", `${path}, ${unitOf(path)} ${number} ${problem}`, cause === undefined ? undefined : { cause });
}

/** What `number` counts in a file. */
export function unitOf(path: string): "line" | "row" {
  return path.toLowerCase().endsWith(".parquet") ? "row" : "line";
}

/** A line as a JSON object. */
export function parseJsonLine(line: Line): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line.text);
  } catch (cause) {
    throw badLine(line, `is not JSON: ${(cause as Error).message}`, cause);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw badLine(line, "is not a JSON object");
}

/** An id as the string that other files name it by; some sets write numbers. */
export function parseId(value: unknown): string | undefined {
  if (typeof value === "string" && value !== "") return value;
  return Number.isSafeInteger(value) || typeof value === "bigint" ? String(value) : undefined;
}

/** All lines, blank ones too, undecoded. */
export async function* readRawLines(path: string, options: LineOptions = {}): AsyncGenerator<RawLine> {
  let pending: Buffer[] = []; // a line's beginning, in the chunks it came in
  let pendingBytes = 0;
  let number = options.startLine ?? 1;
  let byte = options.startByte ?? 0;
  for await (const chunk of readChunks(path, options)) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const bytes = pending.length > 0 ? Buffer.concat([...pending, chunk.subarray(start, end)]) : chunk.subarray(start, end);
      yield { bytes, byte, number };
      pending = [];
      pendingBytes = 0;
      number++;
      byte += bytes.length + 1;
      start = end + 1;
    }
    pending.push(chunk.subarray(start));
    pendingBytes += chunk.length - start;
    if (pendingBytes > MAX_LINE_BYTES) throw badLine({ path, number }, `is longer than ${MAX_LINE_BYTES / 2 ** 20} MiB`);
  }
  if (pendingBytes > 0) yield { bytes: Buffer.concat(pending), byte, number };
}

/** Whether a line has nothing but blanks, as `trim` sees ASCII. */
export function isBlank(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 32 || (byte >= 9 && byte <= 13));
}

const utf8 = new TextDecoder("utf-8", { fatal: true }); // also drops a byte order mark

export function decodeLine(bytes: Uint8Array, where: Where): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw badLine(where, "is not UTF-8", cause);
  }
}

// Lines of a data file, gzipped or not, one at a time: memory does not grow with the file.
import { createReadStream } from "node:fs";
import { createGunzip } from "node:zlib";
import { RerankerError } from "../errors.js";

/** A line that is not blank, and where it stands. */
export interface Line {
  readonly path: string;
  readonly number: number;
  readonly text: string;
}

// Far more than any text a model reads; a line beyond it is a file of another kind, such as one big JSON array.
const MAX_LINE_BYTES = 16 * 2 ** 20;

const NEWLINE = 10;

/** @throws {RerankerError} `IO`: the file cannot be read, a line is not UTF-8 or longer than 16 MiB. */
export async function* readLines(path: string, signal?: AbortSignal): AsyncGenerator<Line> {
  let number = 0;
  for await (const bytes of splitLines(path, signal)) {
    number++;
    const text = decode(bytes, path, number);
    if (text.trim() !== "") yield { path, number, text };
  }
}

/** What is wrong with a line, as an error to throw. */
export function badLine({ path, number }: Omit<Line, "text">, problem: string, cause?: unknown): RerankerError {
  return new RerankerError("IO", `${path}, line ${number} ${problem}`, cause === undefined ? undefined : { cause });
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
  return Number.isSafeInteger(value) ? String(value) : undefined;
}

async function* splitLines(path: string, signal: AbortSignal | undefined): AsyncGenerator<Buffer> {
  let pending: Buffer[] = []; // a line's beginning, in the chunks it came in
  let pendingBytes = 0;
  let number = 1;
  for await (const chunk of readChunks(path, signal)) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      yield Buffer.concat([...pending, chunk.subarray(start, end)]);
      pending = [];
      pendingBytes = 0;
      number++;
      start = end + 1;
    }
    pending.push(chunk.subarray(start));
    pendingBytes += chunk.length - start;
    if (pendingBytes > MAX_LINE_BYTES) throw badLine({ path, number }, `is longer than ${MAX_LINE_BYTES / 2 ** 20} MiB`);
  }
  if (pendingBytes > 0) yield Buffer.concat(pending);
}

async function* readChunks(path: string, signal: AbortSignal | undefined): AsyncGenerator<Buffer> {
  const file = createReadStream(path);
  const stream = path.endsWith(".gz") ? file.pipe(createGunzip()) : file;
  if (stream !== file) file.once("error", (error) => stream.destroy(error));
  try {
    for await (const chunk of stream) {
      signal?.throwIfAborted();
      yield chunk as Buffer;
    }
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw new RerankerError("IO", `Cannot read ${path}: ${(error as Error).message}`, { cause: error });
  } finally {
    file.destroy();
    stream.destroy();
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true }); // also drops a byte order mark

function decode(bytes: Buffer, path: string, number: number): string {
  try {
    return utf8.decode(bytes);
  } catch (cause) {
    throw badLine({ path, number }, "is not UTF-8", cause);
  }
}

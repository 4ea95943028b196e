// Lines of a file or of standard input, one at a time.
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { RerankerError } from "../index.js";

export interface Line {
  readonly number: number;
  readonly text: string;
}

/** Lines that are not blank. @param source - A path, or `-` for standard input. */
export async function* readLines(source: string, signal: AbortSignal): AsyncGenerator<Line> {
  const stream = source === "-" ? process.stdin : createReadStream(source);
  // An error before the first read must not be lost; readline itself does not pass it on.
  let failed: Error | undefined;
  const lines = createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY, signal });
  stream.once("error", (error: Error) => {
    failed = error;
    lines.close();
  });
  try {
    let number = 0;
    for await (const text of lines) {
      number++;
      if (text.trim() !== "") yield { number, text: number === 1 ? text.replace(/^\ufeff/, "") : text };
    }
    if (failed) throw new RerankerError("IO", `Cannot read ${source}: ${failed.message}`, { cause: failed });
    signal.throwIfAborted();
  } finally {
    lines.close();
    stream.destroy();
  }
}

/** A line as a JSON object. @throws {Error} naming the line. */
export function parseObject(line: Line, source: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line.text);
  } catch (cause) {
    throw new RerankerError("IO", `${source}, line ${line.number} is not JSON: ${(cause as Error).message}`, { cause });
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new RerankerError("IO", `${source}, line ${line.number} is not a JSON object`);
}

// Pairs as the command line reads them: {"query": ..., "passage": ...}, one a line.
import type { Pair } from "../index.js";
import { badLine, type Line, parseJsonLine } from "../records/index.js";

/** @throws {RerankerError} `IO`, naming the line, where one of the two is not a string. */
export function pairOf(line: Line): Pair {
  const { query, passage } = parseJsonLine(line);
  if (typeof query === "string" && typeof passage === "string") return [query, passage];
  throw badLine(line, 'needs "query" and "passage", two strings');
}

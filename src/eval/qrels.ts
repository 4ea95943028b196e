// Relevance judgements, from BEIR's three columns or TREC's four.
import { badLine, type Line, readLines } from "./lines.js";

/** The judgements of a file, with the lines that name queries and documents first. */
export interface QrelsFile {
  readonly path: string;
  readonly byQuery: ReadonlyMap<string, ReadonlyMap<string, number>>;
  readonly queries: ReadonlyMap<string, number>;
  readonly documents: ReadonlyMap<string, number>;
}

// 2^grade - 1 stays exact in a double.
const MAX_GRADE = 50;

/** Reads `query document grade` or `query iteration document grade`, tabs or blanks between, with a header or without. */
export async function readQrels(path: string, signal?: AbortSignal | undefined): Promise<QrelsFile> {
  const byQuery = new Map<string, Map<string, number>>();
  const queries = new Map<string, number>();
  const documents = new Map<string, number>();
  let columnCount: number | undefined;
  for await (const line of readLines(path, signal)) {
    const columns = splitColumns(line);
    if (columnCount === undefined && isHeader(columns)) continue;
    columnCount ??= columns.length;
    if (columns.length !== columnCount) throw badLine(line, `has ${columns.length} columns where the lines before have ${columnCount}`);
    const [query = "", document = "", grade = ""] = columns.length === 4 ? [columns[0], columns[2], columns[3]] : columns;
    const grades = byQuery.get(query) ?? new Map<string, number>();
    if (grades.has(document)) throw badLine(line, `judges document ${document} for query ${query} again`);
    byQuery.set(query, grades.set(document, parseGrade(grade, line)));
    if (!queries.has(query)) queries.set(query, line.number);
    if (!documents.has(document)) documents.set(document, line.number);
  }
  return { path, byQuery, queries, documents };
}

function splitColumns(line: Line): readonly string[] {
  const text = line.text.replace(/[\r\n]+$/, "");
  const columns = text.includes("\t") ? text.split("\t").map((column) => column.trim()) : text.trim().split(/\s+/);
  if ((columns.length === 3 || columns.length === 4) && columns.every((column) => column !== "")) return columns;
  throw badLine(line, "is not a judgement: query document grade, or query iteration document grade");
}

function isHeader(columns: readonly string[]): boolean {
  return /^(query|topic|q)[-_ ]?id$|^(query|topic)$/i.test(columns[0] ?? "") && !/^-?\d+$/.test(columns.at(-1) ?? "");
}

function parseGrade(text: string, line: Line): number {
  const grade = Number(text);
  if (/^[+-]?\d+$/.test(text) && grade <= MAX_GRADE) return grade;
  throw badLine(line, `has the grade ${JSON.stringify(text)}; expected an integer up to ${MAX_GRADE}`);
}

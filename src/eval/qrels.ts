// Relevance judgements, from BEIR's three columns or TREC's four, or a table as MTEB's.
import { badLine, formatOf, type Line, parseId, type Row, readLines, readRows, type Where } from "../records/index.js";

/** The judgements of a file, with the lines that name queries and documents first. */
export interface QrelsFile {
  /** The first file. */
  readonly path: string;
  readonly byQuery: ReadonlyMap<string, ReadonlyMap<string, number>>;
  readonly queries: ReadonlyMap<string, number>;
  readonly documents: ReadonlyMap<string, number>;
}

// 2^grade - 1 stays exact in a double.
const MAX_GRADE = 50;

/**
 * Reads `query document grade` or `query iteration document grade`, tabs or blanks between, with a header or without; or JSON lines
 * or Parquet with the columns `query-id`, `corpus-id` and `score`.
 */
export async function readQrels(files: readonly string[], signal?: AbortSignal | undefined): Promise<QrelsFile> {
  const byQuery = new Map<string, Map<string, number>>();
  const queries = new Map<string, number>();
  const documents = new Map<string, number>();
  for (const path of files) {
    for await (const { query, document, grade, where } of readJudgements(path, signal)) {
      const grades = byQuery.get(query) ?? new Map<string, number>();
      if (grades.has(document)) throw badLine(where, `judges document ${document} for query ${query} again`);
      byQuery.set(query, grades.set(document, grade));
      if (!queries.has(query)) queries.set(query, where.number);
      if (!documents.has(document)) documents.set(document, where.number);
    }
  }
  return { path: files[0] ?? "", byQuery, queries, documents };
}

interface Judgement {
  readonly query: string;
  readonly document: string;
  readonly grade: number;
  readonly where: Where;
}

async function* readJudgements(path: string, signal: AbortSignal | undefined): AsyncGenerator<Judgement> {
  const table = formatOf(path)?.table;
  if (table === "jsonl" || table === "parquet") {
    for await (const row of readRows(path, { signal })) yield judgementOf(row);
    return;
  }
  let columnCount: number | undefined;
  for await (const line of readLines(path, { signal })) {
    const columns = splitColumns(line);
    if (columnCount === undefined && isHeader(columns)) continue;
    columnCount ??= columns.length;
    if (columns.length !== columnCount) throw badLine(line, `has ${columns.length} columns where the lines before have ${columnCount}`);
    const [query = "", document = "", grade = ""] = columns.length === 4 ? [columns[0], columns[2], columns[3]] : columns;
    yield { query, document, grade: parseGrade(grade, line), where: line };
  }
}

function judgementOf(row: Row): Judgement {
  const { values } = row;
  const query = parseId(values["query-id"]);
  const document = parseId(values["corpus-id"]);
  if (query === undefined || document === undefined) throw badLine(row, 'is not a judgement: it needs "query-id", "corpus-id" and "score"');
  const score = values.score;
  return { query, document, grade: parseGrade(String(typeof score === "string" ? JSON.stringify(score) : score), row), where: row };
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

function parseGrade(text: string, line: Where): number {
  const grade = Number(text);
  if (/^[+-]?\d+$/.test(text) && grade <= MAX_GRADE) return grade;
  throw badLine(line, `has the grade ${JSON.stringify(text)}; expected an integer up to ${MAX_GRADE}`);
}

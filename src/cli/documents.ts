// The documents of a file: lines of text, JSON lines or one JSON array. What is none of these is refused with its line.
import { RerankerError } from "../index.js";
import { badLine, type Line, parseJsonLine, readLines } from "../records/index.js";

export type Document = string | { readonly text: string };

/** Names that other tools give the text of a document: LangChain, LlamaIndex, vector stores. */
const TEXT_FIELDS = ["text", "content", "pageContent", "page_content"];
/** Of a JSON array, which is parsed at once. */
const MAX_ARRAY_CHARACTERS = 256 * 2 ** 20;

/**
 * @param source - A path, or `-` for standard input. Its first line decides what it holds.
 * @param field - Where the text of an object is. @default the first of `text`, `content`, `pageContent` that it has
 */
export async function readDocuments(source: string, field: string | undefined, signal: AbortSignal): Promise<Document[]> {
  const lines = readLines(source, { signal });
  const { value: first, done } = await lines.next();
  if (done) return [];
  try {
    if (isArrayStart(first.text)) return await readArray(first, lines, field);
    const isJson = field !== undefined || /^\{\s*("|\}|$)/.test(first.text.trim()); // "{ab}" is text
    const documents: Document[] = [documentOf(first, isJson, field)];
    for await (const line of lines) documents.push(documentOf(line, isJson, field));
    return documents;
  } finally {
    await lines.return(undefined);
  }
}

function documentOf(line: Line, isJson: boolean, field: string | undefined): Document {
  if (isJson) return documentFrom(parseJsonLine(line), (problem) => badLine(line, problem), field);
  if (line.text.includes("\0")) throw badLine(line, "holds NUL characters: the file is UTF-16 or no text at all; save it as UTF-8");
  return line.text;
}

/** `[`, or an array begun: `[1] a footnote` is text. */
function isArrayStart(text: string): boolean {
  const start = text.trim();
  return start === "[" || /^\[\s*(["{[]|\]$)/.test(start);
}

async function readArray(first: Line, lines: AsyncGenerator<Line>, field: string | undefined): Promise<Document[]> {
  const parts = [first.text];
  let length = first.text.length;
  for await (const line of lines) {
    length += line.text.length;
    if (length > MAX_ARRAY_CHARACTERS)
      throw badLine(line, "is too far into a JSON array to be read at once; write one object a line (JSONL)");
    parts.push(line.text);
  }
  const array = parseArray(parts.join("\n"), first);
  return array.map((item, i) => {
    if (typeof item === "string") return item;
    return documentFrom(item, (problem) => new RerankerError("IO", `${first.path}, element ${i} of the array ${problem}`), field);
  });
}

function parseArray(text: string, first: Line): unknown[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw badLine(first, `begins a JSON array that cannot be read: ${(cause as Error).message}`, cause);
  }
  if (Array.isArray(value)) return value;
  throw badLine(first, "is no array of documents");
}

function documentFrom(item: unknown, bad: (problem: string) => Error, field: string | undefined): Document {
  if (typeof item !== "object" || item === null || Array.isArray(item)) throw bad("is neither a text nor an object with one");
  const object = item as Readonly<Record<string, unknown>>;
  const name = field ?? TEXT_FIELDS.find((each) => typeof object[each] === "string");
  const text = name === undefined || !Object.hasOwn(object, name) ? undefined : object[name];
  if (typeof text === "string") return { ...object, text };
  throw bad(field === undefined ? 'has no string "text"; name another field with --field' : `has no string ${JSON.stringify(field)}`);
}

// Texts of a body: queries, documents as strings, as {text}, or as objects whose rank fields are read.
import { show, wrong } from "./fields.js";
import { HttpError } from "./http-error.js";

type Json = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A string, or an object with a `text`, as Jina takes both. */
export function readQuery(value: unknown, name = "query"): string {
  const text = isObject(value) ? value["text"] : value;
  if (typeof text === "string") return text;
  if (value === undefined) throw new HttpError(400, `\`${name}\` is missing: the search query, a string`, { param: name });
  throw wrong(name, "a string", value);
}

/**
 * @param rankFields - Fields of objects to read, in order; `text` when none are named.
 * @throws {HttpError} 400 naming the document that has no text.
 */
export function readDocuments(value: unknown, name: string, rankFields: readonly string[] = []): string[] {
  if (value === undefined) throw new HttpError(400, `\`${name}\` is missing: the documents to rank, an array`, { param: name });
  if (!Array.isArray(value)) throw wrong(name, "an array of documents", value);
  if (value.length === 0) throw new HttpError(400, `\`${name}\` is empty: give at least one document`, { param: name });
  return value.map((document: unknown, i) => readDocument(document, `${name}[${i}]`, i, rankFields));
}

function readDocument(document: unknown, place: string, index: number, rankFields: readonly string[]): string {
  if (typeof document === "string") return document;
  const refuse = (why: string) => new HttpError(400, `Document ${index}: ${why}, got ${show(document)}`, { param: place });
  if (!isObject(document)) throw refuse("expected a string or an object with a `text`");
  const names = rankFields.length > 0 ? rankFields : ["text"];
  const parts = names.flatMap((name) => {
    const value = Object.hasOwn(document, name) ? document[name] : undefined;
    if (value === undefined || value === null) return [];
    if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return [String(value)];
    if (rankFields.length > 0) return [JSON.stringify(value)];
    throw refuse("expected its `text` to be a string");
  });
  if (parts.length > 0) return parts.join("\n");
  if (rankFields.length > 0) throw refuse(`it has none of the rank fields ${rankFields.join(", ")}`);
  throw refuse("it has no `text`; name the fields to read in `rank_fields`");
}

/** One text or many, for scoring pair by pair. */
export function readOneOrMany(value: unknown, name: string): readonly string[] {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  if (list.length === 0) throw new HttpError(400, `\`${name}\` is empty: give at least one text`, { param: name });
  return list.map((each, i) => readDocument(each, Array.isArray(value) ? `${name}[${i}]` : name, i, []));
}

// The documents of a call: strings, or objects of any shape with a way to their text.
import { show } from "../checks.js";

/** A document to rank: its text, alone or in an object of yours, which comes back in the result. */
export type RerankDocument = string | { readonly text: string };

/** Where the text of documents of another shape is: under a key, or what a function makes of them. */
export type TextOf<D> =
  | { readonly field: D extends object ? keyof D & string : never; readonly text?: null | undefined }
  | { readonly text: (document: D, index: number) => string; readonly field?: null | undefined };

/** As TextOf, of documents whose shape is not known; none of the two for `RerankDocument`s. */
export interface TextSource {
  readonly field?: string | null | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: the documents are the caller's
  readonly text?: ((document: any, index: number) => string) | null | undefined;
}

/** @throws {TypeError} Both are given. */
export function checkTextSource({ field, text }: TextSource): void {
  if ((field ?? null) !== null && (text ?? null) !== null)
    throw new TypeError("`field` and `text` both say where the text is: give one of them");
}

/** @throws {TypeError} `documents` is no array, or one of them has no text; the message names it. */
export function textsOf(documents: unknown, source: TextSource = {}): string[] {
  if (!Array.isArray(documents)) throw new TypeError(`Expected \`documents\` to be an array, got \`${show(documents)}\``);
  return Array.from(documents, (document: unknown, i) => textOf(document, i, source)); // holes too
}

/** @param index - Place of the document. */
export function textOf(document: unknown, index: number, { field, text }: TextSource = {}): string {
  if (text) {
    const made = text(document, index);
    if (typeof made === "string") return made;
    throw new TypeError(`Expected \`text\` to return a string, got \`${show(made)}\` for document ${index}`);
  }
  const key = field ?? "text";
  const isObject = typeof document === "object" && document !== null;
  const found = isObject && key in document ? (document as Record<string, unknown>)[key] : (field ?? null) === null ? document : undefined;
  if (typeof found === "string") return found;
  const wanted = (field ?? null) === null ? "a string or an object with a string `text`" : `an object with a string \`${key}\``;
  throw new TypeError(`Expected document ${index} to be ${wanted}, got \`${show(document)}\``);
}

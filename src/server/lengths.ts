// Limits that other APIs set in their own ways, in the library's: tokens of a document or a query alone, and texts that lose
// their beginning instead of their end.
import { setImmediate } from "node:timers/promises";
import type { Reranker, RerankOptions } from "../index.js";
import type { RerankRequest, Texts } from "./request.js";

export interface FittedTexts {
  readonly texts: Texts;
  readonly options: RerankOptions;
  /** Places of documents that were cut here, or whose query was. */
  readonly cut: ReadonlySet<number>;
}

// Texts looked at before other requests have the JS thread.
const TEXTS_AT_ONCE = 16;

/** @param signal - Ends it between texts. */
export async function fitTexts(request: RerankRequest, reranker: Reranker, signal: AbortSignal): Promise<FittedTexts> {
  const { model } = reranker;
  const { maxTokensPerPair, maxTokensPerQuery, maxTokensPerDocument, truncationSide } = request;
  const options = { ...request.options };
  if (maxTokensPerPair !== undefined) {
    const most = Math.min(model.contextLength, model.maxTokens ?? model.contextLength);
    const maxLength = maxTokensPerPair < 0 ? most : Math.min(maxTokensPerPair, options.maxLength ?? most);
    Object.assign(options, { maxLength });
  }
  const asGiven = maxTokensPerQuery === undefined && maxTokensPerDocument === undefined && truncationSide === "right";
  if (asGiven) return { texts: request, options, cut: new Set() };
  const maxLength = options.maxLength ?? model.maxLength;
  const encode = (query: string, document: string) => reranker.encodePair(query, document, encodeOptionsOf(options));
  const pace = pacer(signal);

  const queries: string[] = [];
  const cutQueries = new Set<string>();
  for (const given of request.queries) {
    let query = await pace(() => limited(given, maxTokensPerQuery, maxLength, truncationSide, reranker));
    if (truncationSide === "left") query = longestPart(query, "left", (part) => !encode(part, "").queryTruncated);
    if (query !== given) cutQueries.add(query);
    queries.push(query);
  }
  const documents: string[] = [];
  const cut = new Set<number>();
  for (const [i, given] of request.documents.entries()) {
    const query = queries[queries.length > 1 ? i : 0] ?? "";
    let document = await pace(() => limited(given, maxTokensPerDocument, maxLength, truncationSide, reranker));
    if (truncationSide === "left") document = longestPart(document, "left", (part) => !encode(query, part).documentTruncated);
    if (document !== given || cutQueries.has(query)) cut.add(i);
    documents.push(document);
  }
  return { texts: { queries, documents }, options, cut };
}

/** The text's first (or, cut at the left, last) tokens. A limit that the pair's own is below cuts nothing that is not cut anyway. */
function limited(text: string, most: number | undefined, maxLength: number, side: "left" | "right", reranker: Reranker): string {
  if (most === undefined || most >= maxLength || text.length <= most / TOKENS_PER_CHARACTER) return text;
  return longestPart(text, side, (part) => reranker.tokenize(part).length <= most);
}

// A character, in UTF-16 units, takes at most its bytes and a marker of the word's beginning.
const TOKENS_PER_CHARACTER = 4;

/** The longest end (`side` left) or beginning of a text that fits, by characters; `fits` must hold for the empty text. */
function longestPart(text: string, side: "left" | "right", fits: (part: string) => boolean): string {
  if (fits(text)) return text;
  const part = (length: number) => {
    const at = side === "left" ? text.length - length : length;
    const splitsPair = /[\udc00-\udfff]/.test(text.charAt(at)) && /[\ud800-\udbff]/.test(text.charAt(at - 1));
    if (side === "left") return text.slice(splitsPair ? at + 1 : at);
    return text.slice(0, splitsPair ? at - 1 : at);
  };
  let fitting = 0;
  let tooLong = text.length;
  while (tooLong - fitting > 1) {
    const middle = (fitting + tooLong) >> 1;
    if (fits(part(middle))) fitting = middle;
    else tooLong = middle;
  }
  return part(fitting);
}

export function encodeOptionsOf({ maxLength, queryMaxLength, truncation, prompt, instruction, parseSpecialTokens }: RerankOptions) {
  return { maxLength, queryMaxLength, truncation, prompt, instruction, parseSpecialTokens };
}

function pacer(signal: AbortSignal): <T>(work: () => T) => Promise<T> {
  let texts = 0;
  return async (work) => {
    if (++texts % TEXTS_AT_ONCE === 0) {
      await setImmediate();
      signal.throwIfAborted();
    }
    return work();
  };
}

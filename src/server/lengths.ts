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

// Work before other requests have the JS thread.
const AT_ONCE_MS = 5;
// Characters of a text that is encoded off it.
const LARGE = 1 << 15;

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
  const encodeOptions = encodeOptionsOf(options);
  const encode = (query: string, document: string) =>
    query.length + document.length > LARGE
      ? reranker.encodePairAsync(query, document, encodeOptions)
      : reranker.encodePair(query, document, encodeOptions);
  const pace = pacer(signal);

  const queries: string[] = [];
  const cutQueries = new Set<string>();
  for (const given of request.queries) {
    let query = await limited(given, maxTokensPerQuery, maxLength, truncationSide, reranker, pace);
    if (truncationSide === "left")
      query = await longestPart(query, "left", maxLength, async (part) => !(await encode(part, "")).queryTruncated, pace);
    if (query !== given) cutQueries.add(query);
    queries.push(query);
  }
  const documents: string[] = [];
  const cut = new Set<number>();
  for (const [i, given] of request.documents.entries()) {
    const query = queries[queries.length > 1 ? i : 0] ?? "";
    let document = await limited(given, maxTokensPerDocument, maxLength, truncationSide, reranker, pace);
    if (truncationSide === "left")
      document = await longestPart(document, "left", maxLength, async (part) => !(await encode(query, part)).documentTruncated, pace);
    if (document !== given || cutQueries.has(query)) cut.add(i);
    documents.push(document);
  }
  return { texts: { queries, documents }, options, cut };
}

/** The text's first (or, cut at the left, last) tokens. A limit that the pair's own is below cuts nothing that is not cut anyway. */
async function limited(
  text: string,
  most: number | undefined,
  maxLength: number,
  side: "left" | "right",
  reranker: Reranker,
  pace: Pace,
): Promise<string> {
  if (most === undefined || most >= maxLength || text.length <= most / TOKENS_PER_CHARACTER) return text;
  const tokens = (part: string) => (part.length > LARGE ? reranker.tokenizeAsync(part) : reranker.tokenize(part));
  return longestPart(text, side, most, async (part) => (await tokens(part)).length <= most, pace);
}

// A character, in UTF-16 units, takes at most its bytes and a marker of the word's beginning.
const TOKENS_PER_CHARACTER = 4;
// Of most languages a token has fewer; where the search begins, no limit.
const CHARACTERS_PER_TOKEN = 8;

/**
 * The longest end (`side` left) or beginning of a text that fits, by characters; `fits` must hold for the empty text.
 *
 * @param tokens - About how many fit: a text is looked at to about twice that, however long it is.
 */
async function longestPart(
  text: string,
  side: "left" | "right",
  tokens: number,
  fits: (part: string) => Promise<boolean>,
  pace: Pace,
): Promise<string> {
  const part = (length: number) => {
    const at = side === "left" ? text.length - length : length;
    const splitsPair = /[\udc00-\udfff]/.test(text.charAt(at)) && /[\ud800-\udbff]/.test(text.charAt(at - 1));
    if (side === "left") return text.slice(splitsPair ? at + 1 : at);
    return text.slice(0, splitsPair ? at - 1 : at);
  };
  let fitting = 0;
  let tooLong = Math.min(text.length, Math.max(1, tokens) * CHARACTERS_PER_TOKEN);
  while (await pace(() => fits(part(tooLong)))) {
    if (tooLong === text.length) return text;
    fitting = tooLong;
    tooLong = Math.min(text.length, 2 * tooLong);
  }
  while (tooLong - fitting > 1) {
    const middle = (fitting + tooLong) >> 1;
    if (await pace(() => fits(part(middle)))) fitting = middle;
    else tooLong = middle;
  }
  return part(fitting);
}

export function encodeOptionsOf({ maxLength, queryMaxLength, truncation, prompt, instruction, parseSpecialTokens }: RerankOptions) {
  return { maxLength, queryMaxLength, truncation, prompt, instruction, parseSpecialTokens };
}

type Pace = <T>(work: () => Promise<T>) => Promise<T>;

/** Lets others have the JS thread between pieces of work, and ends when the signal says so. */
function pacer(signal: AbortSignal): Pace {
  let since = performance.now();
  return async (work) => {
    if (performance.now() - since > AT_ONCE_MS) {
      await setImmediate();
      signal.throwIfAborted();
      since = performance.now();
    }
    return work();
  };
}

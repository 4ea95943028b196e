// Limits that other APIs set in their own ways, in the library's: tokens of a document or a query alone, and texts that are cut
// at their beginning instead of their end.
import type { EncodedInput, Reranker, RerankOptions } from "../index.js";
import { HttpError } from "./http-error.js";
import type { RerankRequest, Texts } from "./request.js";

export interface FittedTexts {
  readonly texts: Texts;
  readonly options: RerankOptions;
  /** Places of documents that lost their beginning here, or whose query did. */
  readonly cut: ReadonlySet<number>;
}

export function fitTexts(request: RerankRequest, reranker: Reranker): FittedTexts {
  const options = { ...request.options };
  const { model } = reranker;
  const { maxTokensPerPair, maxTokensPerQuery, maxTokensPerDocument } = request;
  if (maxTokensPerPair !== undefined) {
    const most = Math.min(model.contextLength, model.maxTokens ?? model.contextLength);
    Object.assign(options, { maxLength: maxTokensPerPair < 0 ? most : Math.min(maxTokensPerPair, options.maxLength ?? most) });
  }
  if (maxTokensPerQuery !== undefined) {
    const limit = options.queryMaxLength ?? Math.floor((3 * (options.maxLength ?? model.maxLength)) / 4);
    Object.assign(options, { queryMaxLength: Math.min(maxTokensPerQuery, limit) });
  }
  const queries = request.queries.map((query) => withInstruction(query, request, reranker));
  const texts = { queries, documents: request.documents };
  if (maxTokensPerDocument !== undefined) Object.assign(options, limitDocuments(maxTokensPerDocument, texts, options, reranker));
  return request.truncationSide === "left" ? cutBeginnings(texts, options, reranker) : { texts, options, cut: new Set() };
}

function withInstruction(query: string, { queryInstruction }: RerankRequest, reranker: Reranker): string {
  if (queryInstruction === undefined) return query;
  if (reranker.model.queryInstruction === null) return queryInstruction + query;
  const message = `The model is served with the query instruction ${JSON.stringify(reranker.model.queryInstruction)}, which a request cannot change`;
  throw new HttpError(400, message, { param: "query_instruction" });
}

/**
 * The pair's limit under which a document keeps `most` tokens: a document that is surely too long tells how many of them the
 * limit in force leaves it.
 */
function limitDocuments(most: number, { queries }: Texts, options: RerankOptions, reranker: Reranker): RerankOptions {
  const maxLength = options.maxLength ?? reranker.model.maxLength;
  const queryMaxLength = options.queryMaxLength ?? Math.floor((3 * maxLength) / 4);
  if (queries.length > 1) throw new HttpError(400, "`max_tokens_per_doc` needs one query", { param: "max_tokens_per_doc" });
  const encode = (document: string) =>
    reranker.encodePair(queries[0] ?? "", document, { ...encodeOptionsOf(options), maxLength, queryMaxLength }).inputIds.length;
  const room = encode("a ".repeat(maxLength + 1)) - encode("");
  return most >= room ? {} : { maxLength: maxLength - (room - most), queryMaxLength };
}

/** The longest end of each text that fits, by characters; truncated at its end it would lose what `left` is to keep. */
function cutBeginnings({ queries, documents }: Texts, options: RerankOptions, reranker: Reranker): FittedTexts {
  const encode = (query: string, document: string) => reranker.encodePair(query, document, encodeOptionsOf(options));
  const shortened = queries.map((query) =>
    longestEnd(
      query,
      (end) => encode(end, ""),
      (pair) => pair.queryTruncated,
    ),
  );
  const cut = new Set<number>();
  const kept = documents.map((document, i) => {
    const q = queries.length > 1 ? i : 0;
    const end = longestEnd(
      document,
      (text) => encode(shortened[q] ?? "", text),
      (pair) => pair.documentTruncated,
    );
    if (end !== document || shortened[q] !== queries[q]) cut.add(i);
    return end;
  });
  return { texts: { queries: shortened, documents: kept }, options, cut };
}

function longestEnd(text: string, encode: (end: string) => EncodedInput, isCut: (pair: EncodedInput) => boolean): string {
  if (!isCut(encode(text))) return text;
  let fits = text.length; // offset from which the rest fits
  let cut = 0;
  while (fits - cut > 1) {
    const middle = (fits + cut) >> 1;
    if (isCut(encode(text.slice(middle)))) cut = middle;
    else fits = middle;
  }
  const splitsPair = /[\udc00-\udfff]/.test(text.charAt(fits)) && /[\ud800-\udbff]/.test(text.charAt(fits - 1));
  return text.slice(splitsPair ? fits + 1 : fits);
}

function encodeOptionsOf({ maxLength, queryMaxLength, prompt, parseSpecialTokens }: RerankOptions) {
  return { maxLength, queryMaxLength, prompt, parseSpecialTokens };
}

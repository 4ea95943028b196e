// Where the model stopped reading a document: for those who show texts, as the page does.
import { setImmediate } from "node:timers/promises";
import type { Reranker, RerankOptions } from "../index.js";
import type { ScoredDocument } from "./answers.js";
import { encodeOptionsOf } from "./lengths.js";
import type { Texts } from "./request.js";

// Characters of a text that is encoded off the JS thread.
const LARGE = 1 << 15;

/** Gives the documents that lost their end the offset of it. Those cut otherwise, or in windows, are left as they are. */
export async function withReadEnds(
  results: readonly ScoredDocument[],
  { queries, documents }: Texts,
  options: RerankOptions,
  reranker: Reranker,
  signal: AbortSignal,
): Promise<ScoredDocument[]> {
  const found: ScoredDocument[] = [];
  const encodeOptions = encodeOptionsOf(options);
  for (const result of results) {
    const { index, truncated, queryTruncated, chunk } = result;
    const document = documents[index] ?? "";
    const query = queries[queries.length > 1 ? index : 0] ?? "";
    const isCut = (text: string) => reranker.encodePair(query, text, encodeOptions).documentTruncated;
    const isLarge = query.length + document.length > LARGE;
    const whole = async () =>
      isLarge ? (await reranker.encodePairAsync(query, document, encodeOptions)).documentTruncated : isCut(document);
    if (!truncated || queryTruncated || chunk || !(await whole())) {
      found.push(result);
      continue;
    }
    found.push({ ...result, readEnd: readEnd(document, isCut) });
    await setImmediate(); // tokenising is work of this thread: let others have it in between
    signal.throwIfAborted();
  }
  return found;
}

/** UTF-16 offset, to a token, that never stands inside a character. Looks at no more than twice what is read. */
function readEnd(text: string, isCut: (start: string) => boolean): number {
  let fits = 0;
  let cut = Math.min(text.length, 512);
  while (cut < text.length && !isCut(text.slice(0, cut))) {
    fits = cut;
    cut = Math.min(text.length, cut * 2);
  }
  while (cut - fits > 1) {
    const middle = (fits + cut) >> 1;
    if (isCut(text.slice(0, middle))) cut = middle;
    else fits = middle;
  }
  const splitsPair = /[\ud800-\udbff]/.test(text.charAt(fits - 1)) && /[\udc00-\udfff]/.test(text.charAt(fits));
  return splitsPair ? fits - 1 : fits;
}

// A request's pairs in slices of a few batches of the engine, each distinct pair once.
import { type Reranker, RerankerError, type RerankOptions, type RerankResult } from "../index.js";
import type { ScoredDocument } from "./answers.js";
import type { RerankRequest, Texts } from "./request.js";
import type { Slice } from "./turns.js";

// Two batches of the engine (native/engine.cpp): a call of the common size is one slice, which the engine cuts best.
const CPU_SLICE = 2 * 1024;
const OTHER_SLICE = 2 * 4096;
const BYTES_PER_TOKEN = 4;
// Special tokens around a pair.
const PAIR_TOKENS = 4;

/**
 * What a request will cost, before anything is tokenised.
 *
 * @param maxLength - Tokens a pair is cut to; undefined: not known before the model is loaded.
 */
export function estimateTokens(request: RerankRequest, maxLength = 512): number {
  const limit = limitOf(request.options, maxLength);
  return request.documents.reduce((sum, document, i) => sum + estimatePair(queryOf(request, i), document, limit), 0);
}

function limitOf(options: RerankOptions, maxLength: number): number {
  return options.overflow === "chunk" ? Number.POSITIVE_INFINITY : (options.maxLength ?? maxLength);
}

function estimatePair(query: string, document: string, limit: number): number {
  return Math.min(limit, Math.ceil((Buffer.byteLength(query) + Buffer.byteLength(document)) / BYTES_PER_TOKEN) + PAIR_TOKENS);
}

function queryOf({ queries }: Texts, i: number): string {
  return queries[queries.length > 1 ? i : 0] ?? "";
}

/** A distinct pair and where it stands in the request. */
interface Item {
  readonly query: string;
  readonly document: string;
  readonly places: number[];
}

/** @param options - Of the call on the library, `signal` and `normalize` included. */
export function sliceTexts(texts: Texts, options: RerankOptions, reranker: Reranker): Slice<ScoredDocument[]>[] {
  const { model } = reranker;
  // A cascade ranks all documents against each other, and a refusal is to come before anything is computed.
  const whole = (options.cascade ?? []).length > 0 || options.overflow === "error";
  const items = itemsOf(texts, !whole);
  const most = whole ? Number.POSITIVE_INFINITY : model.device === "cpu" ? CPU_SLICE : OTHER_SLICE;
  const limit = limitOf(options, model.maxLength);
  const slices: { tokens: number; items: Item[] }[] = [];
  for (const item of items) {
    const tokens = estimatePair(item.query, item.document, limit);
    const last = slices.at(-1);
    if (last && last.tokens + tokens <= most) {
      last.tokens += tokens;
      last.items.push(item);
    } else slices.push({ tokens, items: [item] });
  }
  return slices.map(({ tokens, items }) => ({ tokens, run: () => scoreItems(items, options, reranker) }));
}

function itemsOf(texts: Texts, merging: boolean): Item[] {
  const byQuery = new Map<string, Map<string, Item>>();
  const items: Item[] = [];
  for (const [i, document] of texts.documents.entries()) {
    const query = queryOf(texts, i);
    const known = byQuery.get(query) ?? new Map<string, Item>();
    byQuery.set(query, known);
    const item = merging ? known.get(document) : undefined;
    if (item) item.places.push(i);
    else {
      const made = { query, document, places: [i] };
      known.set(document, made);
      items.push(made);
    }
  }
  return items;
}

async function scoreItems(items: readonly Item[], options: RerankOptions, reranker: Reranker): Promise<ScoredDocument[]> {
  const groups = new Map<string, Item[]>();
  for (const item of items) groups.set(item.query, [...(groups.get(item.query) ?? []), item]);
  const scored = [...groups].map(async ([query, group]) => {
    const documents = group.map(({ document }) => document);
    const results = await reranker.rerank(query, documents, options).catch((error: unknown) => {
      throw options.overflow === "chunk" ? error : withPlaces(error, group); // windows have no place in the request
    });
    return results.flatMap((result) => placed(result, group[result.index]?.places ?? []));
  });
  return (await Promise.all(scored)).flat();
}

function placed({ document: _, ...result }: RerankResult<string>, places: readonly number[]): ScoredDocument[] {
  return places.map((index) => ({ ...result, index }));
}

/** The library numbers the pairs of a slice; the caller knows them by their places in the request. */
function withPlaces(error: unknown, group: readonly Item[]): unknown {
  if (!(error instanceof RerankerError)) return error;
  const message = error.message.replace(/\bPair (\d+)\b/, (_, n: string) => `Document ${group[Number(n)]?.places[0] ?? n}`);
  return new RerankerError(error.code, message, { cause: error });
}

// A call's pairs, each computed once however often it stands there, and not at all when the cache has it.
import type { NativeModel, ScoreResult } from "../addon/native.js";
import { RerankerError } from "../errors.js";
import { type CachedPair, cacheKeys, type ScoreCache } from "./score-cache.js";
import { type Pair, type ScoreCall, scorePairs } from "./scoring.js";

/** As `scorePairs`. */
export async function scoreDistinct(
  models: readonly NativeModel[],
  pairs: readonly Pair[],
  call: ScoreCall,
  cache: ScoreCache | undefined,
): Promise<ScoreResult> {
  // A cascade ranks the pairs it is given against each other.
  if (call.settings.cascade.length > 0) return scorePairs(models, pairs, call);
  call.signal?.throwIfAborted();
  const { distinct, places } = findDistinct(pairs);
  const keyOf = cache && cacheKeys(call.settings);
  const keys = keyOf ? distinct.map(({ pair: [query, document] }) => keyOf(query, document)) : [];
  const found = keys.map((key) => usable(cache?.get(key), call.settings.failOnTruncation));
  const missing = distinct.flatMap((_, i) => (found[i] ? [] : [i]));
  const computed = await compute(models, distinct, missing, pairs.length, call);
  const result = emptyResult(
    pairs.length,
    computed?.logits.length ? computed.logits.length / missing.length : (found[0]?.logits.length ?? 1),
  );
  const placeOf = new Map(missing.map((at, i) => [at, i]));
  const entries = distinct.map(
    (_, at): CachedPair => found[at] ?? entryOf(computed as ScoreResult, placeOf.get(at) as number, missing.length),
  );
  if (cache) for (const at of missing) cache.set(keys[at] as string, entries[at] as CachedPair);
  for (const [i, at] of places.entries()) {
    const { logits, tokens, truncated } = entries[at] as CachedPair;
    for (const [c, logit] of logits.entries()) result.logits[c * pairs.length + i] = logit;
    result.tokens[i] = tokens;
    result.truncated[i] = truncated;
  }
  return result;
}

interface Distinct {
  readonly pair: Pair;
  /** Its first place in the call. */
  readonly first: number;
}

function findDistinct(pairs: readonly Pair[]): { distinct: Distinct[]; places: number[] } {
  const seen = new Map<string, Map<string, number>>();
  const distinct: Distinct[] = [];
  const places = pairs.map((pair, first) => {
    const [query, document] = pair;
    const documents = seen.get(query) ?? new Map<string, number>();
    seen.set(query, documents);
    const at = documents.get(document) ?? distinct.push({ pair, first }) - 1;
    documents.set(document, at);
    return at;
  });
  return { distinct, places };
}

async function compute(
  models: readonly NativeModel[],
  distinct: readonly Distinct[],
  missing: readonly number[],
  total: number,
  call: ScoreCall,
): Promise<ScoreResult | undefined> {
  if (missing.length === 0) {
    call.onProgress?.({ done: total, total });
    return undefined;
  }
  const { onProgress } = call;
  const report = onProgress && (({ done }: { readonly done: number }) => onProgress({ done: total - missing.length + done, total }));
  try {
    const pairs = missing.map((at) => (distinct[at] as Distinct).pair);
    return await scorePairs(models, pairs, { ...call, onProgress: report });
  } catch (error) {
    throw withPlace(error, (n) => distinct[missing[n] ?? -1]?.first ?? n);
  }
}

/** The engine numbers the pairs that it was given; the caller knows them by their places in the call. */
function withPlace(error: unknown, placeOf: (n: number) => number): unknown {
  if (!(error instanceof RerankerError)) return error;
  const message = error.message.replace(/\bPair (\d+)\b/, (_, n: string) => `Pair ${placeOf(Number(n))}`);
  return message === error.message ? error : new RerankerError(error.code, message, { cause: error.cause });
}

/** A call that refuses cut texts computes a cut pair anew, and so hears of it. */
function usable(found: CachedPair | undefined, failOnTruncation: boolean): CachedPair | undefined {
  return found && failOnTruncation && found.truncated !== 0 ? undefined : found;
}

function entryOf({ logits, tokens, truncated }: ScoreResult, i: number, count: number): CachedPair {
  const cutoffs = Array.from({ length: logits.length / count }, (_, c) => logits[c * count + i] as number);
  return { logits: cutoffs, tokens: tokens[i] ?? 0, truncated: truncated[i] ?? 0 };
}

function emptyResult(count: number, cutoffCount: number): ScoreResult {
  return { logits: new Float32Array(cutoffCount * count), tokens: new Int32Array(count), truncated: new Uint8Array(count) };
}

// A call's pairs, each computed once however often it stands there, and not at all when the cache has it.
import type { NativeModel, ScoreResult } from "../addon/native.js";
import { RerankerError } from "../errors.js";
import { Pace } from "./pace.js";
import { type CachedPair, cacheKeys, type ScoreCache } from "./score-cache.js";
import { type Pair, type ScoreCall, scorePairs } from "./scoring.js";
import { TextIndex } from "./text-index.js";

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
  const pace = new Pace(call.signal);
  const { firsts, places } = await findDistinct(pairs, pace);
  if (!cache && firsts.length === pairs.length) return scorePairs(models, pairs, call);
  const { found, keys } = await lookUp(pairs, firsts, call, cache, pace);
  const missing: number[] = []; // places among the distinct ones
  await pace.times(firsts.length, (at) => {
    if (!found[at]) missing.push(at);
  });
  const computed = await compute(models, pairs, firsts, missing, call);
  const slots = new Int32Array(firsts.length); // of the distinct ones among the computed ones
  for (let i = 0; i < missing.length; i++) slots[missing[i] as number] = i;
  if (cache && computed) {
    await pace.times(missing.length, (i) => cache.set(keys[missing[i] as number] as string, entryOf(computed, i, missing.length)));
  }
  const cutoffCount = computed ? computed.logits.length / missing.length : (found[0]?.logits.length ?? 1);
  const result = emptyResult(pairs.length, cutoffCount);
  await pace.times(pairs.length, (i) => {
    const at = places[i] as number;
    const slot = slots[at] as number;
    const known = found[at];
    for (let c = 0; c < cutoffCount; c++) {
      result.logits[c * pairs.length + i] = (known ? known.logits[c] : computed?.logits[c * missing.length + slot]) as number;
    }
    result.tokens[i] = (known ? known.tokens : computed?.tokens[slot]) as number;
    result.truncated[i] = (known ? known.truncated : computed?.truncated[slot]) as number;
  });
  return result;
}

/** Of the distinct pairs the first place of each in the call, and of each pair the distinct one that it is. */
async function findDistinct(pairs: readonly Pair[], pace: Pace): Promise<{ firsts: number[]; places: Int32Array }> {
  const seen = new Map<string, TextIndex>();
  const firsts: number[] = [];
  const places = new Int32Array(pairs.length);
  await pace.times(pairs.length, (i) => {
    const [query, document] = pairs[i] as Pair;
    let documents = seen.get(query);
    if (!documents) {
      documents = new TextIndex();
      seen.set(query, documents);
    }
    let at = documents.get(document);
    if (at === undefined) {
      at = firsts.push(i) - 1;
      documents.set(document, at);
    }
    places[i] = at;
  });
  return { firsts, places };
}

interface Found {
  /** One a distinct pair, none without a cache. */
  readonly found: readonly (CachedPair | undefined)[];
  readonly keys: readonly string[];
}

async function lookUp(
  pairs: readonly Pair[],
  firsts: readonly number[],
  call: ScoreCall,
  cache: ScoreCache | undefined,
  pace: Pace,
): Promise<Found> {
  if (!cache) return { found: [], keys: [] };
  const keyOf = cacheKeys(call.settings);
  const keys: string[] = [];
  const found: (CachedPair | undefined)[] = [];
  for (const first of firsts) {
    const [query, document] = pairs[first] as Pair;
    const key = keyOf(query, document);
    keys.push(key);
    found.push(usable(cache.get(key), call.settings.failOnTruncation));
    if (pace.isDue) await pace.rest();
  }
  return { found, keys };
}

async function compute(
  models: readonly NativeModel[],
  pairs: readonly Pair[],
  firsts: readonly number[],
  missing: readonly number[],
  call: ScoreCall,
): Promise<ScoreResult | undefined> {
  const total = pairs.length;
  if (missing.length === 0) {
    call.onProgress?.({ done: total, total });
    return undefined;
  }
  const { onProgress } = call;
  const report = onProgress && (({ done }: { readonly done: number }) => onProgress({ done: total - missing.length + done, total }));
  try {
    const own = missing.map((at) => pairs[firsts[at] as number] as Pair);
    return await scorePairs(models, own, { ...call, onProgress: report });
  } catch (error) {
    throw withPlace(error, (n) => firsts[missing[n] ?? -1] ?? n);
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

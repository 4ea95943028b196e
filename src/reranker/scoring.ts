// One call's pairs, sent to the devices and brought back in order.

import type { NativeModel, ScoreRequest, ScoreResult } from "../addon/native.js";
import { asRerankerError, RerankerError } from "../errors.js";
import type { Progress } from "../sources/progress.js";
import { handOver } from "./crossing.js";
import { Pace } from "./pace.js";
import { TextIndex } from "./text-index.js";
import type { TokenWindow } from "./windows.js";

export type Pair = readonly [query: string, document: string];

/** A pair of which one window of the document is read; all pairs of a call have one, or none. */
export type WindowedPair = readonly [query: string, document: string, window?: TokenWindow];

/** A request without its texts: what all pairs of a call share. */
export type RequestSettings = Omit<ScoreRequest, "texts" | "pairs" | "windows">;

export interface ScoreCall {
  readonly settings: RequestSettings;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
  /** Runs when the engines have the call. */
  readonly onSubmit?: (() => void) | undefined;
}

/** Equal texts cross to C++ once, however many pairs they stand in. */
export async function packPairs(
  model: NativeModel,
  pairs: readonly WindowedPair[],
  pace: Pace,
): Promise<Pick<ScoreRequest, "texts" | "pairs" | "windows">> {
  const index = new TextIndex();
  const texts: string[] = [];
  const indexOf = (text: string) => {
    const known = index.get(text);
    if (known !== undefined) return known;
    index.set(text, texts.length);
    return texts.push(text) - 1;
  };
  const packed = new Int32Array(2 * pairs.length);
  const windows = pairs[0]?.[2] ? new Int32Array(2 * pairs.length) : undefined;
  await pace.times(pairs.length, (i) => {
    const [query, document, window] = pairs[i] as WindowedPair;
    packed[2 * i] = indexOf(query);
    packed[2 * i + 1] = indexOf(document);
    if (window) windows?.set([window.start, window.end], 2 * i);
  });
  return { texts: await handOver(model, texts, pace), pairs: packed, ...(windows && { windows }) };
}

/**
 * Scores the pairs, shared out over the models in consecutive parts of about equal length of text.
 *
 * @returns As of one request: logits [cutoff][pair].
 * @throws The signal's reason as soon as it aborts.
 */
export async function scorePairs(models: readonly NativeModel[], pairs: readonly WindowedPair[], call: ScoreCall): Promise<ScoreResult> {
  call.signal?.throwIfAborted();
  // A cascade ranks all pairs of a request against each other, so it stays on one device.
  const used = call.settings.cascade.length > 0 ? models.slice(0, 1) : models;
  const shares = used.length > 1 ? shareOut(pairs, ([query, document]) => query.length + document.length, used.length) : [pairs];
  const parts = used.map((model, i): Part => ({ model, pairs: shares[i] ?? [] })).filter((part) => part.pairs.length > 0);
  const results = await runJobs(parts, call);
  const result = joinResults(results, pairs.length);
  throwIfNotFinite(result.logits, pairs.length, call.settings.cascade.at(-1)?.keep);
  return result;
}

interface Part {
  readonly model: NativeModel;
  readonly pairs: readonly WindowedPair[];
}

/**
 * Cuts a list into `n` consecutive parts of about equal size: an item goes where its middle lies.
 *
 * @param sizeOf - tokens, or anything that grows with them.
 * @returns The parts; one may be empty.
 */
export function shareOut<T>(items: readonly T[], sizeOf: (item: T) => number, n: number): T[][] {
  const total = items.reduce((sum, item) => sum + sizeOf(item) + 1, 0); // + 1: empty texts are work too
  const parts = Array.from({ length: n }, (): T[] => []);
  let before = 0;
  for (const item of items) {
    const size = sizeOf(item) + 1;
    (parts[Math.ceil((n * (before + size / 2)) / total) - 1] as T[]).push(item);
    before += size;
  }
  return parts;
}

async function runJobs(parts: readonly Part[], call: ScoreCall): Promise<ScoreResult[]> {
  const total = parts.reduce((sum, part) => sum + part.pairs.length, 0);
  const done = parts.map(() => 0);
  let callers: { readonly error: unknown } | undefined; // the signal's reason, or what onProgress threw
  let stop: (() => void) | undefined;
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(callers?.error);
  });
  const stopWith = (error: unknown) => {
    callers ??= { error };
    stop?.();
  };
  const report = (i: number, count: number) => {
    done[i] = count;
    try {
      call.onProgress?.({ done: done.reduce((sum, n) => sum + n, 0), total });
    } catch (error) {
      stopWith(error);
    }
  };
  const onAbort = () => stopWith(call.signal?.reason);
  call.signal?.addEventListener("abort", onAbort, { once: true });
  let failed: string | undefined; // the device of the first error
  const failOn = (i: number, error: unknown): never => {
    failed ??= parts[i]?.model.info.device;
    throw error;
  };
  const jobs: ReturnType<NativeModel["score"]>[] = [];
  try {
    const pace = new Pace(call.signal);
    for (const [i, { model, pairs }] of parts.entries()) {
      const packed = await packPairs(model, pairs, pace);
      jobs.push(model.score({ ...call.settings, ...packed }, (count) => report(i, count)));
    }
    call.onSubmit?.();
    return await Promise.race([stopped, Promise.all(jobs.map((job, i) => job.promise.catch((error) => failOn(i, error))))]);
  } catch (error) {
    for (const job of jobs) job.cancel(); // what has not started is dropped, on the other devices too
    throw callers ? callers.error : withDevice(asRerankerError(error, "COMPUTE_FAILED"), parts.length > 1 ? failed : undefined);
  } finally {
    call.signal?.removeEventListener("abort", onAbort);
  }
}

/** Of several devices, an error names its own. */
function withDevice(error: unknown, device: string | undefined): unknown {
  if (!(error instanceof RerankerError) || device === undefined || error.message.includes(device)) return error;
  return new RerankerError(error.code, `On ${device}: ${error.message}`, { cause: error.cause });
}

/** Parts of [cutoff][part pairs] into one [cutoff][pair]. */
function joinResults(parts: readonly ScoreResult[], pairCount: number): ScoreResult {
  const [only] = parts;
  if (parts.length === 1 && only) return only;
  const cutoffCount = only ? only.logits.length / only.tokens.length : 1;
  const logits = new Float32Array(cutoffCount * pairCount);
  const tokens = new Int32Array(pairCount);
  const truncated = new Uint8Array(pairCount);
  let start = 0;
  for (const part of parts) {
    const count = part.tokens.length;
    for (let c = 0; c < cutoffCount; c++) logits.set(part.logits.subarray(c * count, (c + 1) * count), c * pairCount + start);
    tokens.set(part.tokens, start);
    truncated.set(part.truncated, start);
    start += count;
  }
  return { logits, tokens, truncated };
}

/** A score that is not a number is never returned. Only the pairs that a cascade dropped may have none. */
function throwIfNotFinite(logits: Float32Array, pairCount: number, kept: number | undefined): void {
  const last = logits.subarray(logits.length - pairCount);
  const finite = last.reduce((count, logit) => count + (Number.isFinite(logit) ? 1 : 0), 0);
  const broken = kept === undefined ? !logits.every(Number.isFinite) : finite !== Math.min(kept, pairCount);
  if (!broken) return;
  throw new RerankerError(
    "COMPUTE_FAILED",
    "A logit is not a finite number. The file may be damaged, or its weights overflow: convert the checkpoint again as f32",
  );
}

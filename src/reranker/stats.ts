// What a reranker has to do and has done: counters that cost nothing to read while it works.
import type { NativeStats } from "../addon/native.js";
import type { CacheStats } from "./score-cache.js";

/** Several devices count together. A call that an abort ended frees what it had queued after the batch at work. */
export interface RerankerStats extends CacheStats {
  /** Calls that are waiting: no batch has taken a pair of theirs yet. */
  readonly queuedCalls: number;
  /** Calls that are being computed. */
  readonly runningCalls: number;
  /** Pairs that no batch has taken yet, and their tokens: estimated from the texts' lengths until these are encoded. */
  readonly queuedPairs: number;
  readonly queuedTokens: number;
  /** Of the batches at work. */
  readonly runningPairs: number;
  readonly runningTokens: number;
  /** Since loading: calls that gave scores, that failed, and that their signal ended. */
  readonly completedCalls: number;
  readonly failedCalls: number;
  readonly abortedCalls: number;
  /** Since loading. A pair counts anew at each stage of a cascade that computes it. */
  readonly computedPairs: number;
  readonly computedTokens: number;
  readonly batches: number;
  /** Pairs whose query or document was cut. */
  readonly truncatedPairs: number;
  /** Time spent computing, in milliseconds: `computedTokens / computeMs` is the rate that a queue is worked off at. */
  readonly computeMs: number;
  /** Queries of batches, of which the prefix cache had something or nothing, and tokens that were not computed again for it. */
  readonly prefixCacheHits: number;
  readonly prefixCacheMisses: number;
  readonly prefixCacheTokens: number;
  /** Memory that it holds now. */
  readonly prefixCacheBytes: number;
}

/** Counts a reranker's calls as their callers see them: one each, however many devices share it. */
export class CallCounter {
  #unanswered = 0;
  // Of calls that the engines do not have yet.
  #pairs = 0;
  #tokens = 0;
  #completed = 0;
  #failed = 0;
  #aborted = 0;

  /**
   * @param size - Pairs of the call, and an estimate of their tokens.
   * @param call - Runs `submitted` once the engines have it.
   */
  async count<T>(
    signal: AbortSignal | undefined,
    size: { readonly pairs: number; readonly tokens: number },
    call: (submitted: () => void) => Promise<T>,
  ): Promise<T> {
    this.#unanswered++;
    this.#pairs += size.pairs;
    this.#tokens += size.tokens;
    let waits = true;
    const submitted = () => {
      if (waits) {
        this.#pairs -= size.pairs;
        this.#tokens -= size.tokens;
      }
      waits = false;
    };
    try {
      const result = await call(submitted);
      this.#completed++;
      return result;
    } catch (error) {
      if (signal?.aborted) this.#aborted++;
      else this.#failed++;
      throw error;
    } finally {
      submitted();
      this.#unanswered--;
    }
  }

  /** @param devices - one a device */
  read(devices: readonly NativeStats[]): Omit<RerankerStats, keyof CacheStats> {
    const sum = (key: keyof NativeStats) => devices.reduce((total, device) => total + device[key], 0);
    // Parts of one call run on several devices.
    const runningCalls = Math.min(this.#unanswered, Math.max(...devices.map((device) => device.runningCalls)));
    return {
      queuedCalls: this.#unanswered - runningCalls,
      runningCalls,
      queuedPairs: sum("queuedPairs") + this.#pairs,
      queuedTokens: sum("queuedTokens") + this.#tokens,
      runningPairs: sum("runningPairs"),
      runningTokens: sum("runningTokens"),
      completedCalls: this.#completed,
      failedCalls: this.#failed,
      abortedCalls: this.#aborted,
      computedPairs: sum("computedPairs"),
      computedTokens: sum("computedTokens"),
      batches: sum("batches"),
      truncatedPairs: sum("truncatedPairs"),
      computeMs: sum("computeMs"),
      prefixCacheHits: sum("prefixHits"),
      prefixCacheMisses: sum("prefixMisses"),
      prefixCacheTokens: sum("prefixTokens"),
      prefixCacheBytes: sum("prefixBytes"),
    };
  }
}

import { expect, it } from "vitest";
import type { NativeStats } from "../../src/addon/native.js";
import { CallCounter } from "../../src/reranker/stats.js";

const device = (stats: Partial<NativeStats>): NativeStats => ({
  queuedCalls: 0,
  queuedPairs: 0,
  queuedTokens: 0,
  runningCalls: 0,
  runningPairs: 0,
  runningTokens: 0,
  computedPairs: 0,
  computedTokens: 0,
  batches: 0,
  truncatedPairs: 0,
  computeMs: 0,
  prefixHits: 0,
  prefixMisses: 0,
  prefixTokens: 0,
  prefixBytes: 0,
  ...stats,
});

it("counts a call that several devices share once, and their pairs together", async () => {
  const calls = new CallCounter();
  let answer: (() => void) | undefined;
  const call = calls.count(undefined, { pairs: 2, tokens: 9 }, () => new Promise<void>((resolve) => (answer = resolve)));
  const busy = [
    device({ runningCalls: 1, queuedPairs: 3, computedTokens: 10 }),
    device({ runningCalls: 1, queuedPairs: 4, computedTokens: 20 }),
  ];
  expect(calls.read(busy)).toMatchObject({ queuedCalls: 0, runningCalls: 1, queuedPairs: 9, computedTokens: 30, completedCalls: 0 });
  answer?.();
  await call;
  // Natively answered calls whose answer has not reached the caller's turn are over.
  expect(calls.read(busy)).toMatchObject({ queuedCalls: 0, runningCalls: 0, completedCalls: 1 });
});

it("tells failed calls from aborted ones", async () => {
  const calls = new CallCounter();
  const fail = () => Promise.reject(new Error("no"));
  await expect(calls.count(undefined, { pairs: 1, tokens: 1 }, fail)).rejects.toThrow("no");
  await expect(calls.count(AbortSignal.abort(), { pairs: 1, tokens: 1 }, fail)).rejects.toThrow("no");
  expect(calls.read([device({})])).toMatchObject({ failedCalls: 1, abortedCalls: 1, completedCalls: 0, queuedCalls: 0 });
});

// A caller's onProgress may be async: a promise that rejects ends the call with its reason, as a function that throws does.

/** What a call has of its caller: when to stop, and whom to tell. */
export interface Reporting<P extends readonly unknown[]> {
  readonly signal?: AbortSignal | null | undefined;
  readonly onProgress?: ((...progress: P) => unknown) | null | undefined;
}

/** As it is handed on: nothing is null, and what onProgress returns has been seen to. */
export interface Guarded<P extends readonly unknown[]> {
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((...progress: P) => void) | undefined;
}

/** Runs `work` so that it is aborted when a promise of `onProgress` rejects, and waits for those still pending at its end. */
export async function reporting<P extends readonly unknown[], T>(
  options: Reporting<P>,
  work: (guarded: Guarded<P>) => Promise<T>,
): Promise<T> {
  const { onProgress } = options;
  const signal = options.signal ?? undefined;
  if (!onProgress) return work({ signal, onProgress: undefined });
  const failed = new AbortController();
  const pending = new Set<Promise<void>>();
  const report = (...progress: P) => {
    const result = onProgress(...progress);
    if (typeof (result as PromiseLike<unknown> | null | undefined)?.then !== "function") return;
    const settled: Promise<void> = Promise.resolve(result).then(
      () => void pending.delete(settled),
      (error: unknown) => {
        pending.delete(settled);
        failed.abort(error);
      },
    );
    pending.add(settled);
  };
  const value = await work({ signal: signal ? AbortSignal.any([signal, failed.signal]) : failed.signal, onProgress: report });
  await Promise.all(pending);
  failed.signal.throwIfAborted();
  return value;
}

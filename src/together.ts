// Runs tasks side by side that are of use only together.

/**
 * The first failure aborts the signal that the others have. When all have ended, it is thrown.
 *
 * @param signal - Aborts all.
 */
export async function together<T extends readonly unknown[]>(
  signal: AbortSignal | undefined,
  tasks: { readonly [K in keyof T]: (signal: AbortSignal) => Promise<T[K]> },
): Promise<T> {
  const stop = new AbortController();
  const shared = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  const running = tasks.map(async (task) => {
    try {
      return await task(shared);
    } catch (error) {
      stop.abort(error);
      throw error;
    }
  });
  const ended = await Promise.allSettled(running);
  if (stop.signal.aborted) throw stop.signal.reason;
  return ended.map((each) => each.status === "fulfilled" && each.value) as unknown as T;
}

// Admission and turns, without a model.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Admission } from "../../src/server/admission.js";
import { HttpError } from "../../src/server/http-error.js";
import { type Slice, Turns } from "../../src/server/turns.js";

describe("admission", () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ["performance"] }));
  afterEach(() => void vi.useRealTimers());

  const refusal = (admission: Admission, tokens = 1): HttpError => {
    try {
      admission.admit(tokens);
    } catch (error) {
      if (error instanceof HttpError) return error;
    }
    throw new Error("admitted");
  };

  test("counts tokens and requests, and gives them back once", () => {
    const admission = new Admission({ maxQueueTokens: 100, maxConcurrent: 9 });
    const [one, two] = [admission.admit(60), admission.admit(40)];
    expect(admission.load).toEqual({ tokens: 100, requests: 2 });
    one.done(30);
    expect(admission.load).toEqual({ tokens: 70, requests: 2 });
    one.done(99);
    one.release();
    one.release();
    two.release();
    expect(admission.load).toEqual({ tokens: 0, requests: 0 });
  });

  test("refuses what is too much, and takes one that is too large alone", () => {
    const admission = new Admission({ maxQueueTokens: 100, maxConcurrent: 2 });
    const large = admission.admit(500);
    expect(refusal(admission).status).toBe(429);
    large.release();
    admission.admit(50);
    expect(refusal(admission, 51).message).toContain("--max-queue-tokens");
    admission.admit(50);
    expect(refusal(admission).message).toContain("--max-concurrent");
  });

  test("tells to come again after the queued tokens over the measured rate", () => {
    const admission = new Admission({ maxQueueTokens: 10_000, maxConcurrent: 99 });
    const done = admission.admit(4000);
    done.begin();
    vi.advanceTimersByTime(1000);
    done.done(4000);
    expect(admission.tokensPerSecond).toBeCloseTo(4000, -1);
    admission.admit(8000);
    const { retryAfterMs } = refusal(admission, 5000);
    expect(retryAfterMs).toBeCloseTo(2000, -2);
    expect(refusal(admission, 5000).headers()).toMatchObject({ "retry-after": "2" });
  });

  test("refuses what could not be done in time, by the rate of computing alone", () => {
    const admission = new Admission({ maxQueueTokens: 1_000_000, maxConcurrent: 99, requestTimeoutMs: 10_000 });
    const first = admission.admit(20_000);
    vi.advanceTimersByTime(120_000); // a model is loaded
    first.begin();
    vi.advanceTimersByTime(2000);
    first.done(4000);
    expect(admission.tokensPerSecond).toBeCloseTo(2000, -1);
    const others = [3000, 3000, 3000, 3000].map((tokens) => admission.admit(tokens)); // the last of them: 15,000 in all, 7.5 s
    const { status, message } = refusal(admission, 3000);
    expect(status).toBe(429);
    expect(message).toContain("it would take about 9 s, and a request may take 10 s (--request-timeout)");
    // A small one has its turns between theirs.
    admission.admit(1000).release();
    others[0]?.release();
    admission.admit(3000);
  });

  test("takes what it has no rate for", () => {
    const admission = new Admission({ maxQueueTokens: 1_000_000, maxConcurrent: 99, requestTimeoutMs: 10 });
    const first = admission.admit(100_000);
    first.begin();
    vi.advanceTimersByTime(500);
    first.done(10);
    admission.admit(100_000);
  });

  test("keeps the wait short, whatever the rate", () => {
    const admission = new Admission({ maxQueueTokens: 1_000_000, maxConcurrent: 1 });
    admission.admit(1_000_000);
    expect(refusal(admission).retryAfterMs).toBe(10_000);
    const quick = new Admission({ maxQueueTokens: 10, maxConcurrent: 1 });
    quick.admit(1);
    expect(refusal(quick).retryAfterMs).toBe(100);
  });

  test("idle time does not lower the rate", () => {
    const admission = new Admission({ maxQueueTokens: 10_000, maxConcurrent: 99 });
    const work = () => {
      const ticket = admission.admit(1000);
      ticket.begin();
      vi.advanceTimersByTime(500);
      ticket.done(1000);
      ticket.release();
    };
    work();
    vi.advanceTimersByTime(3_600_000);
    work();
    expect(admission.tokensPerSecond).toBeGreaterThan(1900);
  });
});

describe("turns", () => {
  /** Slices that end when they are told to, and what began in which order. */
  function bench(window: number) {
    const turns = new Turns(window);
    const begun: string[] = [];
    const ends = new Map<string, { resolve: () => void; reject: (error: unknown) => void }>();
    const slice = (name: string, tokens: number): Slice<string> => ({
      tokens,
      run: () => {
        begun.push(name);
        return new Promise((resolve, reject) => ends.set(name, { resolve: () => resolve(name), reject }));
      },
    });
    const end = async (name: string) => {
      ends.get(name)?.resolve();
      await new Promise((resolve) => setImmediate(resolve));
    };
    return { turns, begun, slice, end, ends };
  }
  const never = new AbortController().signal;

  test("a small call does not wait for the rest of a large one", async () => {
    const { turns, begun, slice, end } = bench(2);
    const large = turns.run(["a1", "a2", "a3", "a4"].map((name) => slice(name, 1)), never); // biome-ignore format: one line
    expect(begun).toEqual(["a1", "a2"]);
    const small = turns.run([slice("b1", 1)], never);
    await end("a1");
    await end("a2");
    expect(begun).toEqual(["a1", "a2", "a3", "b1"]);
    await end("b1");
    expect(await small).toEqual(["b1"]);
    await end("a4");
    await end("a3");
    expect(await large).toEqual(["a1", "a2", "a3", "a4"]);
  });

  test("a slice larger than the window runs alone", async () => {
    const { turns, begun, slice, end } = bench(2);
    void turns.run([slice("a", 99)], never);
    void turns.run([slice("b", 1)], never);
    expect(begun).toEqual(["a"]);
    await end("a");
    expect(begun).toEqual(["a", "b"]);
  });

  test("what a caller who has left had not begun is dropped", async () => {
    const { turns, begun, slice, end } = bench(1);
    const caller = new AbortController();
    const left = turns.run(["a1", "a2", "a3"].map((name) => slice(name, 1)), caller.signal); // biome-ignore format: one line
    const other = turns.run([slice("b1", 1)], never);
    caller.abort(new Error("gone"));
    await expect(left).rejects.toThrow("gone");
    await end("a1");
    await end("b1");
    expect(await other).toEqual(["b1"]);
    expect(begun).toEqual(["a1", "b1"]);
    await expect(turns.run([slice("c", 1)], caller.signal)).rejects.toThrow("gone");
  });

  test("a slice that fails ends its call and frees its place", async () => {
    const { turns, begun, slice, end, ends } = bench(1);
    const failing = turns.run([slice("a1", 1), slice("a2", 1)], never);
    const other = turns.run([slice("b1", 1)], never);
    ends.get("a1")?.reject(new Error("broken"));
    await expect(failing).rejects.toThrow("broken");
    await end("b1");
    expect(await other).toEqual(["b1"]);
    expect(begun).toEqual(["a1", "b1"]);
  });

  test("no slices are done at once", async () => {
    expect(await bench(1).turns.run([], never)).toEqual([]);
  });
});

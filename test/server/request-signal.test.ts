import { expect, test, vi } from "vitest";
import { within } from "../../src/server/request-signal.js";

test("a promise that fails after the signal is heard by nobody, and breaks nothing", async () => {
  const unheard = vi.fn();
  process.on("unhandledRejection", unheard);
  const gone = AbortSignal.abort(new Error("gone"));
  await expect(within(gone, Promise.reject(new Error("late")))).rejects.toThrow("gone");
  const leaving = new AbortController();
  let fail: (error: Error) => void = () => {};
  const waiting = within(leaving.signal, new Promise((_, reject) => { fail = reject; })); // biome-ignore format: one line
  leaving.abort(new Error("left"));
  await expect(waiting).rejects.toThrow("left");
  fail(new Error("later"));
  await new Promise((resolve) => setTimeout(resolve, 10));
  expect(unheard).not.toHaveBeenCalled();
  process.off("unhandledRejection", unheard);
});

test("a promise that is in time is its own", async () => {
  const { signal } = new AbortController();
  expect(await within(signal, Promise.resolve(5))).toBe(5);
  await expect(within(signal, Promise.reject(new Error("own")))).rejects.toThrow("own");
});

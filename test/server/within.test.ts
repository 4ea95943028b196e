import { expect, test } from "vitest";
import { within } from "../../src/server/request-signal.js";

test("a failure that comes after the signal is nobody's: it does not end the process", async () => {
  const unhandled: unknown[] = [];
  const listener = (reason: unknown) => unhandled.push(reason);
  process.on("unhandledRejection", listener);
  const reason = new Error("the client has left");
  const early = within(AbortSignal.abort(reason), Promise.reject(new Error("aborted")));
  await expect(early).rejects.toBe(reason);
  const late = new AbortController();
  const failing = new Promise((_, reject) => setTimeout(() => reject(new Error("aborted")), 5));
  const waiting = within(late.signal, failing);
  late.abort(reason);
  await expect(waiting).rejects.toBe(reason);
  await new Promise((resolve) => setTimeout(resolve, 20));
  process.off("unhandledRejection", listener);
  expect(unhandled).toEqual([]);
});

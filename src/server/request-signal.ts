// What ends a request early: its deadline, its client, or the server's end. One timer and one listener, both taken back.
import { setMaxListeners } from "node:events";
import { HttpError } from "./http-error.js";

/** How far a request has come: what its deadline means to the caller. */
export type Stage = "reading" | "loading" | "waiting" | "computing";

export interface RequestSignal {
  readonly signal: AbortSignal;
  stage: Stage;
  readonly end: () => void;
}

export function requestSignal(client: AbortSignal, server: AbortSignal, timeoutMs: number): RequestSignal {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal); // every slice of the request listens
  const state: RequestSignal = {
    signal: controller.signal,
    stage: "reading",
    end() {
      clearTimeout(timer);
      client.removeEventListener("abort", onClient);
      server.removeEventListener("abort", onServer);
    },
  };
  const onClient = () => controller.abort(new HttpError(499, "The client has left"));
  const onServer = () => controller.abort(new HttpError(503, "The server is stopping", { retryAfterMs: 1000 }));
  const timer = setTimeout(() => controller.abort(tooLate(state.stage, timeoutMs)), timeoutMs);
  timer.unref();
  client.addEventListener("abort", onClient);
  server.addEventListener("abort", onServer);
  if (client.aborted) onClient();
  if (server.aborted) onServer();
  return state;
}

/** A wait in the queue is overload, which clients retry a little; what has begun would only be too late again. */
function tooLate(stage: Stage, timeoutMs: number): HttpError {
  const limit = `within ${timeoutMs} ms, the limit of this server (--request-timeout)`;
  switch (stage) {
    case "reading":
      return new HttpError(400, `The body did not arrive ${limit}`, { headers: { connection: "close" } });
    case "loading":
      return new HttpError(503, `The model is still being loaded; the request was not begun ${limit}`, { retryAfterMs: 2000 });
    case "waiting":
      return new HttpError(429, `The server is overloaded: the request's turn did not come ${limit}`, { retryAfterMs: 2000 });
    case "computing":
      return new HttpError(504, `The scores were not computed ${limit}; send fewer or shorter documents`);
    default:
      return stage satisfies never;
  }
}

/** Waits for a promise no longer than the signal allows. The promise goes on; if it fails later, nobody hears of it. */
export function within<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
    if (signal.aborted) onAbort();
  });
}

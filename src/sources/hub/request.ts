// Requests to the hub: retried when that can help, redirects followed without giving the token away, errors that say what to do.
import { setTimeout as sleep } from "node:timers/promises";
import { RerankerError } from "../../errors.js";
import type { HubSettings } from "./settings.js";

const MAX_REDIRECTS = 8;
/** A server that is silent for so long counts as a cut connection. */
const STALL_MS = 30_000;
const MAX_ATTEMPTS = 6;
/** Where nobody listens at all, somebody waits to be told that there is no network. */
const MAX_ATTEMPTS_UNREACHABLE = 3;
const MAX_WAIT_MS = 120_000;

export interface HubConnection {
  readonly settings: HubSettings;
  readonly signal: AbortSignal | undefined;
  /** Wait before the second attempt; doubled each time. Tests lower it. */
  readonly firstWaitMs: number;
}

/** An answer, with what the hub itself said before it sent us to another host. */
export interface HubAnswer {
  readonly response: Response;
  /** Hash of the file, when the hub gives one. */
  readonly etag: string | undefined;
  readonly sizeBytes: number | undefined;
  /** Call it for each piece that arrives. */
  readonly alive: () => void;
  /** Ends the request. */
  readonly close: () => void;
}

/** A failure that another attempt may not meet. */
export class Transient extends Error {
  readonly waitMs: number | undefined;
  readonly unreachable: boolean;

  constructor(message: string, options: { cause?: unknown; waitMs?: number | undefined; unreachable?: boolean } = {}) {
    super(message, options);
    this.waitMs = options.waitMs;
    this.unreachable = options.unreachable ?? false;
  }
}

/**
 * Runs `attempt` until it succeeds, or fails in a way that will not pass.
 *
 * @param attempt - Calls `advance` when it got further than before, which starts the count of attempts again.
 */
export async function withRetries<T>(
  { signal, firstWaitMs, settings }: HubConnection,
  what: string,
  attempt: (advance: () => void) => Promise<T>,
): Promise<T> {
  let failures = 0;
  for (;;) {
    signal?.throwIfAborted();
    try {
      return await attempt(() => {
        failures = 0;
      });
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      const transient = asTransient(error);
      if (!transient) throw error;
      failures++;
      if (failures >= (transient.unreachable ? MAX_ATTEMPTS_UNREACHABLE : MAX_ATTEMPTS)) {
        throw new RerankerError(
          "DOWNLOAD_FAILED",
          `${what} failed ${failures} times: ${transient.message}. Check the connection to ${settings.endpoint} and try again; what has arrived is kept`,
          { cause: error },
        );
      }
      const backoff = firstWaitMs * 2 ** (failures - 1) * (0.75 + Math.random() / 2);
      const waitMs = Math.min(MAX_WAIT_MS, Math.max(backoff, transient.waitMs ?? 0));
      await sleep(waitMs, undefined, signal ? { signal } : {}).catch(() => signal?.throwIfAborted());
    }
  }
}

/** Cut connections and the like come from fetch as TypeError with a cause, or with a code of the system. */
function asTransient(error: unknown): Transient | undefined {
  if (error instanceof Transient) return error;
  if (!(error instanceof Error) || error instanceof RerankerError) return undefined;
  const { cause } = error as { cause?: unknown };
  const code = (error as NodeJS.ErrnoException).code ?? (cause as NodeJS.ErrnoException | undefined)?.code;
  const network = /^(UND_ERR_|ECONN|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EPIPE|ENETUNREACH|EHOSTUNREACH|HPE_)/.test(code ?? "");
  if (network || (error instanceof TypeError && /fetch failed|terminated/.test(error.message)))
    return new Transient(cause instanceof Error && cause.message ? cause.message : error.message, {
      cause: error,
      unreachable: /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ENETUNREACH)$/.test(code ?? ""),
    });
  return undefined;
}

/** One request, redirects included. Answers other than 2xx and 416 throw. */
export async function request(
  { settings, signal }: HubConnection,
  path: string,
  id: string,
  init: { readonly method?: "GET" | "HEAD"; readonly headers?: Readonly<Record<string, string>> } = {},
): Promise<HubAnswer> {
  const stalled = new AbortController();
  const timer = setTimeout(() => stalled.abort(new Transient(`the server was silent for ${STALL_MS / 1000} s`)), STALL_MS);
  const close = () => {
    clearTimeout(timer);
    stalled.abort(new Transient("the request was closed"));
  };
  const hub = new URL(settings.endpoint);
  let url = new URL(`${settings.endpoint}${path}`);
  let etag: string | undefined;
  let sizeBytes: number | undefined;
  try {
    for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
      // The token is for the hub. Another host, such as the one that stores the weights, has its own signed address.
      const authorization = settings.token && url.origin === hub.origin ? { authorization: `Bearer ${settings.token}` } : {};
      const response = await fetch(url, {
        method: init.method ?? "GET",
        // Without this the bytes counted would be those of a compressed body.
        headers: { "accept-encoding": "identity", "user-agent": "bge-reranker", ...init.headers, ...authorization },
        redirect: "manual",
        signal: signal ? AbortSignal.any([signal, stalled.signal]) : stalled.signal,
      });
      if (url.origin === hub.origin) {
        etag = readEtag(response.headers.get("x-linked-etag") ?? (isRedirect(response) ? null : response.headers.get("etag"))) ?? etag;
        sizeBytes = readCount(response.headers.get("x-linked-size")) ?? sizeBytes;
      }
      if (!isRedirect(response)) {
        if (!response.ok && response.status !== 416) throw await failure(response, url, settings, id);
        return { response, etag, sizeBytes, alive: () => timer.refresh(), close };
      }
      await response.body?.cancel();
      const location = response.headers.get("location") ?? "";
      if (!URL.canParse(location, url.href)) throw refused(id, "a redirect to nowhere");
      const next = new URL(location, url);
      if (next.protocol !== "https:" && next.protocol !== url.protocol) throw refused(id, `a redirect to ${next.protocol}//${next.host}`);
      url = next;
    }
    throw refused(id, `more than ${MAX_REDIRECTS} redirects`);
  } catch (error) {
    close();
    throw stalled.signal.aborted && !signal?.aborted && !(error instanceof RerankerError) && !(error instanceof Transient)
      ? (stalled.signal.reason as Error)
      : error;
  }
}

/** A whole body that must be small. */
export async function readBody(answer: HubAnswer, limit: number, what: string): Promise<Buffer> {
  const body = await readUntil(answer, limit + 1);
  if (body.length > limit) throw new RerankerError("DOWNLOAD_FAILED", `${what} is longer than ${limit} bytes; this is no model repository`);
  return body;
}

/** The first bytes of a body, also when the server sends more than was asked for. */
export async function readFront(answer: HubAnswer, length: number): Promise<Buffer> {
  const body = await readUntil(answer, length);
  if (body.length < length) throw new Transient("the connection was cut");
  return body.subarray(0, length);
}

/** A body to its end, or at least `length` bytes of it. */
async function readUntil({ response, alive, close }: HubAnswer, length: number): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const piece of response.body ?? []) {
      alive();
      pieces.push(piece);
      size += piece.byteLength;
      if (size >= length) break;
    }
  } finally {
    close();
  }
  return Buffer.concat(pieces);
}

function isRedirect({ status }: Response): boolean {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308;
}

function readEtag(value: string | null): string | undefined {
  return value?.replace(/^W\//, "").replace(/^"(.*)"$/, "$1");
}

function readCount(value: string | null): number | undefined {
  return value !== null && /^\d{1,15}$/.test(value) ? Number(value) : undefined;
}

function refused(id: string, why: string): RerankerError {
  return new RerankerError("DOWNLOAD_FAILED", `The answer for ${id} is refused: ${why}. Check HF_ENDPOINT`);
}

async function failure(response: Response, url: URL, settings: HubSettings, id: string): Promise<Error> {
  const { status, headers } = response;
  await response.body?.cancel();
  const code = headers.get("x-error-code") ?? "";
  const page = `${settings.endpoint}/${id}`;
  if (status === 408 || status === 429 || status >= 500) {
    return new Transient(`${url.host} answered ${status}${status === 429 ? " (too many requests)" : ""}`, { waitMs: retryAfter(headers) });
  }
  if (status === 401 || status === 403) {
    // Signed addresses of the storage host expire; a new one comes with the next attempt.
    if (url.origin !== new URL(settings.endpoint).origin) return new Transient(`${url.host} answered ${status}`);
    const gated = code === "GatedRepo";
    const why = gated ? `${id} is gated` : `${id} does not exist, is private, or is gated`;
    const token = settings.token ? "the token in use does not give access" : "no token is set";
    return new RerankerError(
      "DOWNLOAD_FAILED",
      `${why} (${status}), and ${token}. Accept its licence at ${page}, and set HF_TOKEN to a token of that account`,
    );
  }
  if (status === 404) {
    const what = code === "RevisionNotFound" ? "has no such revision" : code === "EntryNotFound" ? "has no such file" : "was not found";
    return new RerankerError("MODEL_NOT_FOUND", `${id} ${what} on ${settings.endpoint} (${url.pathname}). Check the name`);
  }
  return new RerankerError("DOWNLOAD_FAILED", `${url.host} answered ${status} for ${url.pathname}. Check HF_ENDPOINT`);
}

/** Seconds, or a date. */
function retryAfter(headers: Headers): number | undefined {
  const value = headers.get("retry-after");
  if (value === null) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) && ms > 0 ? ms : undefined;
}

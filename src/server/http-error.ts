// HttpError: why a request is refused, with one body that every client reads.
import { RerankerError } from "../index.js";

export type ErrorStatus = 400 | 401 | 404 | 405 | 413 | 429 | 499 | 500 | 503 | 504;

const TYPES = {
  400: "invalid_request_error",
  401: "authentication_error",
  404: "not_found_error",
  405: "invalid_request_error",
  413: "request_too_large",
  429: "rate_limit_error",
  499: "client_closed_request",
  500: "server_error",
  503: "unavailable_error",
  504: "timeout_error",
} as const satisfies Record<ErrorStatus, string>;

/** text-embeddings-inference's words. */
const TEI_TYPES: Partial<Record<ErrorStatus, string>> = { 429: "overloaded", 500: "backend", 503: "unhealthy", 504: "unhealthy" };

export interface ErrorDetails {
  /** Field of the body that is wrong. */
  readonly param?: string | undefined;
  /** When to come again. Clients give up on long waits, so it is short. */
  readonly retryAfterMs?: number | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly cause?: unknown;
}

export class HttpError extends Error {
  override readonly name = "HttpError";
  readonly status: ErrorStatus;
  readonly param: string | undefined;
  readonly retryAfterMs: number | undefined;
  readonly #headers: Readonly<Record<string, string>>;

  constructor(status: ErrorStatus, message: string, { param, retryAfterMs, headers, cause }: ErrorDetails = {}) {
    super(message, { cause });
    this.status = status;
    this.param = param;
    this.retryAfterMs = retryAfterMs;
    this.#headers = headers ?? {};
  }

  get type(): string {
    return TYPES[this.status];
  }

  /** `Retry-After` counts whole seconds; `retry-after-ms` is read by the AI SDK, openai, together and mixedbread. */
  headers(): Record<string, string> {
    if (this.retryAfterMs === undefined) return { ...this.#headers };
    const ms = Math.ceil(this.retryAfterMs);
    return { ...this.#headers, "retry-after": String(Math.max(1, Math.ceil(ms / 1000))), "retry-after-ms": String(ms) };
  }

  /** For all dialects but TEI. */
  body() {
    const { message, type, param, status } = this;
    return { message, detail: message, error: { message, type, param: param ?? null, code: status } };
  }

  teiBody() {
    return { error: this.message, error_type: TEI_TYPES[this.status] ?? "validation" };
  }
}

/** Codes that the texts or options of a request bring about. */
const CALLERS_CODES: readonly string[] = ["TRUNCATED", "INPUT_TOO_LONG"];

/**
 * An error of a call on a reranker. A caller's mistake is a TypeError or RangeError that names the option in backticks, which
 * tells it from a fault of ours.
 *
 * @param nameOf - The field of the body that stands for an option of the library.
 */
export function fromLibrary(error: unknown, nameOf: (option: string) => string): unknown {
  if (error instanceof RerankerError) {
    if (CALLERS_CODES.includes(error.code)) return new HttpError(400, renamed(error.message, nameOf), { cause: error });
    if (error.code === "CLOSED") return new HttpError(503, "The model is being released; try again", { cause: error, retryAfterMs: 500 });
    if (error.code === "MODEL_CHANGED") return new HttpError(503, error.message, { cause: error });
    return new HttpError(500, `${error.message} (${error.code})`, { cause: error });
  }
  if (!(error instanceof TypeError || error instanceof RangeError)) return error;
  const option = /`(\w+)(?:[.[][\w.[\]]*)?`/.exec(error.message)?.[1];
  if (option === undefined) return error;
  return new HttpError(400, renamed(error.message, nameOf), { param: nameOf(option), cause: error });
}

function renamed(message: string, nameOf: (option: string) => string): string {
  return message.replace(/`([a-z]+[A-Z]\w*)`/g, (_, option: string) => `\`${nameOf(option)}\``);
}

// Admission: how much work the server takes on at once, by tokens estimated before any text is tokenised, and when a caller
// who is refused should come again.
import { HttpError } from "./http-error.js";

export interface AdmissionLimits {
  readonly maxQueueTokens: number;
  readonly maxConcurrent: number;
  /** What would wait longer is refused at once: taken in, all would wait, and none be answered in time. @default no limit */
  readonly requestTimeoutMs?: number;
}

/** A request's share of the queue. */
export interface Ticket {
  readonly tokens: number;
  /** Tells that its computing has begun; loading a model is no measure of the rate. */
  readonly begin: () => void;
  /** Tells that some of its tokens are done. */
  readonly done: (tokens: number) => void;
  /** Gives the rest back; calling it again is fine. */
  readonly release: () => void;
}

// Clients give up on a wait of 30 seconds, and on none shorter than ten.
const MIN_RETRY_MS = 100;
const MAX_RETRY_MS = 10_000;
// Before anything was measured: the slowest shape we know of on two cores, so that the first wait is not too short.
const FIRST_RATE = 1_000;
// Part of the time limit that the work before a request may fill: rates vary.
const MARGIN = 0.8;
// The rate of so much computing is believed.
const MIN_BUSY_MS = 1_000;
// The measured rate forgets half of the past in so much busy time.
const HALF_LIFE_MS = 20_000;

export class Admission {
  readonly #limits: AdmissionLimits;
  #tokens = 0;
  #requests = 0;
  #computing = 0;
  readonly #waiting = new Set<{ left: number }>();
  #busyMs = 0;
  #doneTokens = 0;
  #since = 0;

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
  }

  /** Tokens and requests admitted and not done. */
  get load(): { readonly tokens: number; readonly requests: number } {
    return { tokens: this.#tokens, requests: this.#requests };
  }

  /** Estimated tokens a second while some are computed; undefined before anything is measured. */
  get tokensPerSecond(): number | undefined {
    return this.#busyMs >= 1 ? (this.#doneTokens / this.#busyMs) * 1000 : undefined;
  }

  /**
   * A request that is larger than the whole queue is taken when nothing else waits, or it could never be.
   *
   * @throws {HttpError} 429 at once when the queue is full.
   */
  admit(tokens: number): Ticket {
    const { maxQueueTokens, maxConcurrent, requestTimeoutMs = Number.POSITIVE_INFINITY } = this.#limits;
    if (this.#requests >= maxConcurrent) throw this.#refusal(`${this.#requests} requests are being worked on (--max-concurrent)`);
    if (this.#requests > 0 && this.#tokens + tokens > maxQueueTokens) {
      throw this.#refusal(`about ${this.#tokens} tokens wait, and at most ${maxQueueTokens} may (--max-queue-tokens)`);
    }
    const waitMs = this.#waitMs(tokens);
    if (this.#requests > 0 && waitMs > MARGIN * requestTimeoutMs) {
      const seconds = (ms: number) => Math.round(ms / 1000);
      throw this.#refusal(
        `with what comes before it would take about ${seconds(waitMs)} s, and a request may take ${seconds(requestTimeoutMs)} s (--request-timeout)`,
      );
    }
    this.#tokens += tokens;
    this.#requests += 1;
    const share = { left: tokens };
    this.#waiting.add(share);
    let computing = false;
    const take = (count: number) => {
      const taken = Math.min(share.left, count);
      share.left -= taken;
      this.#tokens -= taken;
      return taken;
    };
    return {
      tokens,
      begin: () => {
        if (computing || !this.#waiting.has(share)) return;
        computing = true;
        this.#measure();
        this.#computing += 1;
      },
      done: (count) => {
        this.#measure();
        this.#doneTokens += take(count);
      },
      release: () => {
        if (!this.#waiting.delete(share)) return;
        this.#measure();
        take(share.left);
        this.#requests -= 1;
        if (computing) this.#computing -= 1;
      },
    };
  }

  #measure(): void {
    const now = performance.now();
    if (this.#computing > 0) {
      const elapsed = now - this.#since;
      const kept = 0.5 ** (elapsed / HALF_LIFE_MS);
      this.#busyMs = this.#busyMs * kept + elapsed;
      this.#doneTokens *= kept;
    }
    this.#since = now;
  }

  /**
   * When so many tokens more would be done. Calls take turns: until then each of the others gets as many done, if it has so many.
   * 0 while no rate is known.
   */
  #waitMs(tokens: number): number {
    const rate = this.#busyMs >= MIN_BUSY_MS ? (this.tokensPerSecond ?? 0) : 0;
    if (rate === 0) return 0;
    let before = tokens;
    for (const { left } of this.#waiting) before += Math.min(left, tokens);
    return (before / rate) * 1000;
  }

  #refusal(why: string): HttpError {
    const wait = (this.#tokens / (this.tokensPerSecond || FIRST_RATE)) * 1000;
    const retryAfterMs = Math.min(MAX_RETRY_MS, Math.max(MIN_RETRY_MS, wait));
    return new HttpError(429, `The server is overloaded: ${why}. Try again in ${Math.max(1, Math.ceil(retryAfterMs / 1000))} s`, {
      retryAfterMs,
    });
  }
}

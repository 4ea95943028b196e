// The server this page came from: its models, and one rerank call.

/**
 * @typedef {{ start: number, end: number, count?: number }} Chunk
 * @typedef {{ index: number, relevance_score: number, logit?: number, tokens?: number, truncated?: boolean, read_end?: number, chunk?: Chunk }} Result
 * @typedef {{ id?: string, model?: string, results: Result[], usage?: { total_tokens?: number }, meta?: { warnings?: unknown[] } }} Answer
 * @typedef {{ query: string, documents: string[], model?: string, [option: string]: unknown }} RerankRequest
 */

/** The page's own address, so that it works below a prefix, behind a proxy too. */
const base = new URL("./", location.href);
export const rerankUrl = new URL("v1/rerank", base).href;

/** An answer that is no 2xx. `message` is the server's own. */
export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {number} status
   * @param {number | undefined} retryAfterMs
   */
  constructor(message, status, retryAfterMs) {
    super(message);
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

/** @param {string} key */
const authorization = (key) => /** @type {Record<string, string>} */ (key === "" ? {} : { authorization: `Bearer ${key}` });

/** @param {Response} response */
async function refuse(response) {
  const text = await response.text();
  let message = text;
  try {
    const body = JSON.parse(text);
    message = body.message ?? body.error?.message ?? body.error ?? text;
  } catch {
    // Not ours: a proxy's page, shown as it is.
  }
  const wait = Number(response.headers.get("retry-after-ms") ?? Number(response.headers.get("retry-after")) * 1000);
  throw new ApiError(String(message).slice(0, 1000) || response.statusText, response.status, wait > 0 ? wait : undefined);
}

/**
 * @param {string} key
 * @returns {Promise<string[]>} The names to choose from.
 */
export async function listModels(key) {
  const response = await fetch(new URL("v1/models", base), { headers: authorization(key) });
  if (!response.ok) await refuse(response);
  /** @type {{ data: { id: string }[] }} */
  const { data } = await response.json();
  return data.map(({ id }) => id);
}

/**
 * @param {RerankRequest} request
 * @param {string} key
 * @param {AbortSignal} signal
 */
export async function rerank(request, key, signal) {
  const started = performance.now();
  const response = await fetch(rerankUrl, {
    method: "POST",
    headers: { "content-type": "application/json", ...authorization(key) },
    body: JSON.stringify({ ...request, return_details: true }),
    signal,
  });
  if (!response.ok) await refuse(response);
  const answer = /** @type {Answer} */ (await response.json());
  return { answer, times: { wall: performance.now() - started, ...serverTimes(response.headers) } };
}

/**
 * Milliseconds by the server's clock, as text-embeddings-inference names them.
 * @param {Headers} headers
 */
function serverTimes(headers) {
  /** @param {string} name */
  const read = (name) => {
    const value = headers.get(name);
    return value === null || value === "" ? undefined : Number(value);
  };
  return { queue: read("x-queue-time"), compute: read("x-inference-time"), tokens: read("x-compute-tokens") };
}

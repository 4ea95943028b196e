// Callers over HTTP, by autocannon: each connection sends its next call when the last one is answered.
import autocannon from "autocannon";
import { makeCalls } from "./texts.mjs";

// A call that takes longer than a second is not held up by this; a refused caller comes again with the next second, as the
// server's Retry-After of at least one asks.
const POLITE_RATE = 1;

/**
 * @param {{ url: string, callers: number, calls: number, seed: number, polite: boolean }} load `polite`: at most one call a second each
 * @returns {Promise<{ seconds: number, latencies: number[], refused: number, failed: number }>} Latencies of the answers with a
 *   ranking, in ms. `failed`: any other answer, or none.
 */
export async function runOverHttp({ url, callers, calls: count, seed, polite }) {
  const calls = makeCalls(count, { seed });
  const latencies = [];
  const other = { refused: 0, failed: 0 };
  let lastAnswer = 0;
  const started = performance.now();
  const run = autocannon({
    url: `${url}/v1/rerank`,
    method: "POST",
    headers: { "content-type": "application/json" },
    connections: callers,
    amount: count,
    timeout: 600,
    ...(polite && { connectionRate: POLITE_RATE, ignoreCoordinatedOmission: true }),
    requests: [{ setupRequest: (request) => ({ ...request, body: JSON.stringify(calls.pop() ?? calls[0]) }) }],
  });
  run.on("response", (_client, status, _bytes, milliseconds) => {
    lastAnswer = performance.now();
    if (status === 200) latencies.push(milliseconds);
    else if (status === 429) other.refused += 1;
    else other.failed += 1;
  });
  const { errors, timeouts } = await run;
  return { seconds: (lastAnswer - started) / 1000, latencies, refused: other.refused, failed: other.failed + errors + timeouts };
}

// A client that may leave at any moment.
import { type Agent, request } from "node:http";
import { setTimeout as wait } from "node:timers/promises";

/** When a client leaves: with half its body sent, right after all of it, a little later, or as the answer begins. */
export type Leaving = "half-body" | "sent" | "later" | "answering";
export const leavings: readonly Leaving[] = ["half-body", "sent", "later", "answering"];

export type Outcome =
  | { readonly kind: "answer"; readonly status: number; readonly text: string; readonly retryMs: number }
  | { readonly kind: "left" }
  /** A connection that had been idle was closed under the request, which any client may send again. */
  | { readonly kind: "closed" };

/** @throws The error of a connection that failed though the client stayed. */
export function post(url: string, body: string, agent: Agent, leaving?: Leaving): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    const call = request(`${url}/v1/rerank`, { method: "POST", agent, headers });
    let left = false;
    const leave = () => {
      left = true;
      call.destroy();
      resolve({ kind: "left" });
    };
    call.on("error", (error: NodeJS.ErrnoException) => {
      if (call.reusedSocket && error.code === "ECONNRESET") return resolve({ kind: "closed" }); // no-op for one who left
      if (!left) reject(error);
    });
    call.on("response", (response) => {
      if (leaving === "answering") return leave();
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("error", reject);
      response.on("end", () =>
        resolve({ kind: "answer", status: response.statusCode ?? 0, text, retryMs: Number(response.headers["retry-after-ms"] ?? 100) }),
      );
    });
    if (leaving === "half-body") {
      call.write(body.slice(0, body.length >> 1), leave);
      return;
    }
    call.end(body, () => {
      if (leaving === "sent") leave();
      if (leaving === "later") void wait(5).then(leave);
    });
  });
}

/** As post(), coming again when the server is full, as it asks, or was too slow where that is allowed. */
export async function postPatiently(url: string, body: string, agent: Agent, mayBeSlow = false): Promise<{ status: number; text: string }> {
  for (let tries = 0; tries < 2000; tries++) {
    const outcome = await post(url, body, agent);
    if (outcome.kind === "left") throw new Error("nobody left");
    if (outcome.kind === "closed") continue;
    if (outcome.status !== 429 && !(mayBeSlow && outcome.status === 504)) return outcome;
    await wait(outcome.retryMs);
  }
  throw new Error("refused two thousand times");
}

/** Metrics by name, summed over their labels. */
export async function readMetrics(url: string): Promise<Map<string, number>> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const metrics = new Map<string, number>();
  for (const [, name = "", value = ""] of text.matchAll(/^([a-z_:]+)(?:\{[^}]*\})? (\S+)$/gm))
    metrics.set(name, (metrics.get(name) ?? 0) + Number(value));
  return metrics;
}

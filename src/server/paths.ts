// Every path, and what is answered there.
export const RERANK_PATHS = ["/rerank", "/v1/rerank", "/v2/rerank", "/reranking", "/v1/reranking", "/v1/models/rerank"] as const;
export const SCORE_PATHS = ["/score", "/v1/score"] as const;
export const PREDICT_PATHS = ["/predict"] as const;

/** All share one handler: the body says what is asked for. */
export const SCORING_PATHS = [...RERANK_PATHS, ...SCORE_PATHS, ...PREDICT_PATHS] as const;

export const HEALTH_PATHS = ["/health", "/healthz/live", "/healthz/ready"] as const;
export const MODEL_PATHS = ["/v1/models", "/models"] as const;
export const OTHER_PATHS = ["/", "/info", "/metrics", "/openapi.json", "/version"] as const;

const KNOWN: ReadonlySet<string> = new Set([...SCORING_PATHS, ...HEALTH_PATHS, ...MODEL_PATHS, ...OTHER_PATHS]);

/** Paths asked by machines every few seconds, and the page's parts: counted, but not logged. */
export const PROBE_PATHS: ReadonlySet<string> = new Set([...HEALTH_PATHS, "/metrics", "/page/{file}"]);

/** A path as a metric's label: strangers' paths are one. */
export function labelOf(path: string): string {
  if (KNOWN.has(path)) return path;
  if (path.startsWith("/page/")) return "/page/{file}";
  return path.startsWith("/v1/models/") ? "/v1/models/{model}" : "other";
}

// What is known of a request when it ends: for its log line, its metrics and its span.
import type { HttpError } from "./http-error.js";

export interface RequestRecord {
  bytes?: number;
  dialect?: string;
  model?: string;
  documents?: number;
  tokens?: number;
  truncated?: number;
  queueMs?: number;
  computeMs?: number;
  unknownFields?: readonly string[];
  error?: HttpError;
}

/** The facts of a log line. Messages of 4xx may quote the caller's texts, so only their type and field are told. */
export function factsOf(record: RequestRecord): Record<string, unknown> {
  const { bytes, dialect, model, documents, tokens, truncated, queueMs, computeMs, unknownFields, error } = record;
  const round = (ms: number | undefined) => (ms === undefined ? undefined : Math.round(ms * 10) / 10);
  return {
    bytes,
    dialect,
    model,
    documents,
    tokens,
    truncated: truncated || undefined,
    queue_ms: round(queueMs),
    compute_ms: round(computeMs),
    unknown_fields: unknownFields?.map((field) => field.slice(0, 40)),
    ...(error && {
      error: error.type,
      param: error.param,
      ...((error.status >= 500 || error.status === 429) && { reason: error.message }),
    }),
  };
}

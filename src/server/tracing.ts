// Spans through @opentelemetry/api, when the application that hosts the server has set up a tracer. Without one they cost
// nothing and go nowhere.
import type { Span } from "@opentelemetry/api";
import { version } from "../index.js";
import type { RequestRecord } from "./record.js";

export interface RequestSpan {
  /** Runs the rest of the request inside the span. */
  readonly run: <T>(work: () => Promise<T>) => Promise<T>;
  readonly end: (status: number, record: RequestRecord) => void;
}

type Api = typeof import("@opentelemetry/api");

const NONE: RequestSpan = { run: (work) => work(), end: () => {} };
let api: Promise<Api | undefined> | undefined;

export async function startSpan(method: string, route: string, headers: Headers): Promise<RequestSpan> {
  api ??= import("@opentelemetry/api").catch(() => undefined);
  const otel = await api;
  if (!otel) return NONE;
  const { context, propagation, SpanKind, trace } = otel;
  const carrier = { get: (from: Headers, key: string) => from.get(key) ?? undefined, keys: (from: Headers) => [...from.keys()] };
  const parent = propagation.extract(context.active(), headers, carrier);
  const attributes = { "http.request.method": method, "http.route": route };
  const span = trace.getTracer("bge-reranker", version).startSpan(`${method} ${route}`, { kind: SpanKind.SERVER, attributes }, parent);
  if (!span.isRecording()) return NONE;
  return {
    run: (work) => context.with(trace.setSpan(parent, span), work),
    end: (status, record) => endSpan(otel, span, status, record),
  };
}

function endSpan({ SpanStatusCode }: Api, span: Span, status: number, record: RequestRecord): void {
  const { model, dialect, documents, tokens, truncated, queueMs, computeMs, error } = record;
  span.setAttribute("http.response.status_code", status);
  const facts = { model, dialect, documents, tokens, truncated, queue_ms: queueMs, compute_ms: computeMs };
  for (const [name, value] of Object.entries(facts)) if (value !== undefined) span.setAttribute(`bge.${name}`, value);
  if (error) span.setAttribute("error.type", error.type);
  if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
  span.end();
}

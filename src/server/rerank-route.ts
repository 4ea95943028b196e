// One scoring request from its bytes to its answer.

import { RerankerError } from "../index.js";
import { answer } from "./answers.js";
import { readJson } from "./body.js";
import type { Core } from "./core.js";
import { HttpError } from "./http-error.js";
import type { Metrics } from "./metrics.js";
import type { RequestRecord } from "./record.js";
import { type DialectName, dialectOf, type RerankRequest, readRequest } from "./request.js";
import { requestSignal, within } from "./request-signal.js";
import { type Scored, scoreRequest } from "./score-request.js";
import type { ServedModel } from "./served-model.js";
import type { Lease } from "./served-models.js";
import { estimateTokens } from "./slices.js";

export interface RouteAnswer {
  readonly status: number;
  readonly body: unknown;
  readonly headers: Readonly<Record<string, string>>;
}

/** Errors become answers in the dialect of the body; what is wrong with us is thrown. */
export async function rerankRoute(core: Core, metrics: Metrics, request: Request, id: string, record: RequestRecord): Promise<RouteAnswer> {
  const state = requestSignal(request.signal, core.ending.signal, core.settings.requestTimeoutMs);
  let dialect: DialectName | undefined;
  core.active += 1;
  try {
    core.checkKey(request.headers);
    if (core.draining) throw new HttpError(503, "The server is stopping", { retryAfterMs: 1000, headers: { connection: "close" } });
    const { json, bytes } = await readJson(request, core.settings.maxBodyBytes, state.signal);
    record.bytes = bytes;
    dialect = dialectOf(json);
    const parsed = readRequest(json, core.settings);
    dialect = parsed.dialect;
    Object.assign(record, { dialect, documents: parsed.documents.length });
    if (parsed.unknownFields.length > 0) record.unknownFields = parsed.unknownFields;
    return await score(core, metrics, parsed, request.headers, id, record, state);
  } catch (error) {
    const refusal = state.signal.aborted && error === state.signal.reason ? state.signal.reason : error;
    if (!(refusal instanceof HttpError)) throw refusal;
    record.error = refusal;
    const isTei = dialect === "tei" || dialect === "tei-predict";
    return { status: refusal.status, body: isTei ? refusal.teiBody() : refusal.body(), headers: refusal.headers() };
  } finally {
    core.active -= 1;
    state.end();
  }
}

async function score(
  core: Core,
  metrics: Metrics,
  request: RerankRequest,
  headers: Headers,
  id: string,
  record: RequestRecord,
  state: ReturnType<typeof requestSignal>,
): Promise<RouteAnswer> {
  const { settings, models, admission } = core;
  if (request.documents.length > settings.maxDocuments) {
    const message = `The request has ${request.documents.length} documents; this server takes ${settings.maxDocuments} at once (--max-documents)`;
    throw new HttpError(413, message, { param: "documents" });
  }
  const model = models.find(request.model);
  record.model = model.name;
  const ticket = admission.admit(estimateTokens(request, model.facts?.maxLength ?? model.loadOptions.maxLength ?? undefined));
  const admitted = performance.now();
  try {
    return await onModel(core, model, state, async (lease) => {
      state.stage = "waiting";
      let begun: number | undefined;
      const onSlice = () => {
        begun ??= performance.now();
        ticket.begin();
        state.stage = "computing";
        for (const tokens of model.newBatches()) metrics.batchTokens.observe(tokens);
      };
      const scored = await scoreRequest(request, lease, ticket, state.signal, onSlice);
      const times = { queueMs: (begun ?? admitted) - admitted, computeMs: performance.now() - (begun ?? admitted) };
      return scoredAnswer(metrics, request, scored, {
        id,
        model: model.name,
        headers,
        record,
        ...times,
        maxLength: request.options.maxLength ?? lease.reranker.model.maxLength,
      });
    });
  } finally {
    ticket.release();
  }
}

/** Works with the model in memory. When its file was replaced since it was loaded, it is loaded anew and the work done again, once. */
async function onModel<T>(
  { models }: Core,
  model: ServedModel,
  state: ReturnType<typeof requestSignal>,
  work: (lease: Lease) => Promise<T>,
): Promise<T> {
  for (let again = false; ; again = true) {
    state.stage = "loading";
    const leasing = models.lease(model);
    const lease = await within(state.signal, leasing).catch((error: unknown) => {
      leasing.then(({ release }) => release(), () => {}); // biome-ignore format: one line
      throw error;
    });
    try {
      return await work(lease);
    } catch (error) {
      const cause = error instanceof HttpError ? error.cause : undefined;
      // CLOSED: another call saw the change first.
      const changed = cause instanceof RerankerError && (cause.code === "MODEL_CHANGED" || cause.code === "CLOSED");
      if (again || !changed || !model.drop(lease.reranker)) throw error;
    } finally {
      lease.release();
    }
  }
}

interface Context {
  readonly id: string;
  readonly model: string;
  readonly headers: Headers;
  readonly record: RequestRecord;
  readonly queueMs: number;
  readonly computeMs: number;
  readonly maxLength: number;
}

function scoredAnswer(metrics: Metrics, request: RerankRequest, scored: Scored, context: Context): RouteAnswer {
  const { results, tokens, truncated } = scored;
  const { id, model, headers, record, queueMs, computeMs } = context;
  Object.assign(record, { tokens, truncated, queueMs, computeMs });
  metrics.tokens.inc(tokens);
  metrics.documents.inc(request.documents.length);
  metrics.truncated.inc(truncated);
  metrics.queueDuration.observe(queueMs / 1000);
  metrics.inferenceDuration.observe(computeMs / 1000);
  const warnings = warningsOf(request, truncated, context.maxLength);
  return {
    status: 200,
    body: answer({ id: `rerank-${id}`, model, request, results, tokens, warnings, headers }),
    headers: {
      "x-queue-time": ms(queueMs),
      "x-inference-time": ms(computeMs),
      "x-compute-time": ms(queueMs + computeMs),
      "x-compute-tokens": String(tokens),
      "x-model": /^[\x20-\x7e]+$/.test(model) ? model : encodeURIComponent(model),
      ...(truncated > 0 && { "x-truncated-documents": String(truncated) }),
    },
  };
}

function ms(time: number): string {
  return String(Math.round(time));
}

function warningsOf(request: RerankRequest, truncated: number, maxLength: number): string[] {
  const warnings: string[] = [];
  if (truncated > 0) {
    warnings.push(
      `${truncated} of ${request.documents.length} documents were not read whole: a pair has at most ${maxLength} tokens here, the query included`,
    );
  }
  for (const field of request.unknownFields.slice(0, 10))
    warnings.push(`The field ${JSON.stringify(field.slice(0, 40))} means nothing here and was ignored`);
  return warnings;
}

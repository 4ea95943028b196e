// The Hono app: what stands around every request, and the routes.
import type { Context } from "hono";
import { version } from "../index.js";
import type { Core } from "./core.js";
import { HttpError } from "./http-error.js";
import { createMetrics } from "./metrics.js";
import { infoOf, modelRow } from "./model-facts.js";
import { openApi } from "./openapi.js";
import { pageFile } from "./page/index.js";
import { HEALTH_PATHS, labelOf, MODEL_PATHS, PROBE_PATHS, SCORING_PATHS } from "./paths.js";
import { factsOf, type RequestRecord } from "./record.js";
import { rerankRoute } from "./rerank-route.js";
import { startSpan } from "./tracing.js";

interface Variables {
  requestId: string;
  record: RequestRecord;
}
type C = Context<{ Variables: Variables }>;

const SCORING: ReadonlySet<string> = new Set(SCORING_PATHS);
/** Not for what is in the body: no key, no such model, too large, overloaded, not ready. */
const REFUSALS: ReadonlySet<number> = new Set([401, 404, 413, 429, 503]);

function printableId(id: string | undefined): string | undefined {
  return id && id.length <= 255 && /^[\x21-\x7e]+$/.test(id) && !/["\\]/.test(id) ? id : undefined;
}

export async function createApp(core: Core): Promise<(request: Request) => Response | Promise<Response>> {
  const [{ Hono }, { requestId }, { secureHeaders }, { cors }, metrics] = await Promise.all([
    import("hono"),
    import("hono/request-id"),
    import("hono/secure-headers"),
    import("hono/cors"),
    createMetrics(core.admission, core.models, () => core.notReady === undefined),
  ]);
  const { settings, models, log } = core;
  const prefix = settings.basePath;
  // A base address that ends in a slash makes clients send //v1/rerank.
  const pathOf = (request: Request) => {
    const path = new URL(request.url).pathname.replace(/\/{2,}/g, "/").replace(/(.)\/$/, "$1");
    return prefix !== "" && (path === prefix || path.startsWith(`${prefix}/`)) ? path.slice(prefix.length) || "/" : path;
  };
  const app = new Hono<{ Variables: Variables }>({ getPath: pathOf });

  // Beyond what hono lets through: gateways put dots, colons and semicolons in theirs.
  app.use(requestId({ generator: (c) => printableId(c.req.header("x-request-id")) ?? crypto.randomUUID() }));
  app.use(async (c, next) => {
    const started = performance.now();
    const record: RequestRecord = {};
    c.set("record", record);
    const label = labelOf(c.req.path);
    const span = await startSpan(c.req.method, label, c.req.raw.headers);
    await span.run(next);
    if (core.draining) c.header("connection", "close");
    const { status } = record.error ?? c.res;
    const seconds = (performance.now() - started) / 1000;
    metrics.requests.inc({ path: label, status: String(status) });
    metrics.duration.observe({ path: label }, seconds);
    if (status === 499) metrics.cancelled.inc();
    if (record.error && REFUSALS.has(status) && SCORING.has(label)) metrics.refused.inc({ reason: record.error.type });
    span.end(status, record);
    if (PROBE_PATHS.has(label)) return;
    const level = status >= 500 ? "error" : status >= 400 ? "warn" : "info";
    log(level, "request", {
      id: c.get("requestId"),
      method: c.req.method,
      path: label === "other" ? c.req.path.slice(0, 80) : label,
      status,
      ...factsOf(record),
      total_ms: Math.round(seconds * 10_000) / 10,
    });
  });
  app.use(secureHeaders({ strictTransportSecurity: false, crossOriginResourcePolicy: false, xFrameOptions: "DENY" }));
  if (settings.cors.length > 0) {
    const exposed = [
      "x-request-id",
      "x-queue-time",
      "x-inference-time",
      "x-compute-time",
      "x-compute-tokens",
      "x-model",
      "x-truncated-documents",
      "retry-after",
      "retry-after-ms",
    ];
    app.use(cors({ origin: settings.cors.includes("*") ? "*" : [...settings.cors], exposeHeaders: exposed }));
  }

  const refuse = (c: C, error: HttpError) => {
    c.get("record").error = error;
    return c.json(error.body(), error.status as 400, error.headers());
  };
  app.onError((error, c) => {
    if (error instanceof HttpError) return refuse(c, error);
    log("error", "unexpected", { id: c.get("requestId"), error: error.stack ?? String(error) });
    return refuse(c, new HttpError(500, "Something went wrong in the server; its log says what", { cause: error }));
  });
  app.notFound((c) =>
    refuse(c, new HttpError(404, `There is nothing at ${c.req.method} ${c.req.path.slice(0, 80)}; GET /openapi.json lists what is`)),
  );

  for (const path of SCORING_PATHS) {
    app.post(path, async (c) => {
      const { status, body, headers } = await rerankRoute(core, metrics, c.req.raw, c.get("requestId"), c.get("record"));
      return c.json(body as object, status as 200, headers);
    });
  }
  for (const path of HEALTH_PATHS) {
    app.get(path, (c) => {
      c.header("cache-control", "no-store");
      const why = path === "/healthz/live" ? undefined : core.notReady;
      if (why === undefined) return c.json({ status: "ok", unix: Date.now() / 1000 });
      return c.json({ status: why, ...new HttpError(503, `Not ready: ${why}`).body() }, 503, { "retry-after": "1" });
    });
  }
  const rowOf = (model: (typeof models.all)[number]) => modelRow(model, core.startedAt, core.admission.load, settings);
  for (const path of MODEL_PATHS) {
    app.get(path, (c) => {
      core.checkKey(c.req.raw.headers);
      return c.json({ object: "list", data: models.all.map(rowOf), created: core.startedAt });
    });
    app.get(`${path}/:model{.+}`, (c) => {
      core.checkKey(c.req.raw.headers);
      const model = models.all.find((each) => each.answersTo(c.req.param("model")));
      if (!model) throw new HttpError(404, `There is no model \`${c.req.param("model").slice(0, 80)}\` here`, { param: "model" });
      return c.json(rowOf(model));
    });
  }
  app.get("/info", async (c) => {
    core.checkKey(c.req.raw.headers);
    const model = models.find(c.req.query("model"));
    if (!model.facts) (await models.lease(model)).release();
    return c.json(infoOf(model, settings));
  });
  app.get("/version", (c) => c.json({ name: "bge-reranker", version }));
  app.get("/metrics", async (c) => c.body(await metrics.text(), 200, { "content-type": metrics.contentType }));
  app.get("/openapi.json", (c) => c.json(openApi(settings)));
  if (settings.page) {
    for (const path of ["/", "/page/:file"]) {
      app.get(path, async (c) => (await pageFile(c.req.path, c.req.header("if-none-match"))) ?? c.notFound());
    }
  }
  for (const path of [...SCORING_PATHS]) {
    app.all(path, (c) => refuse(c, new HttpError(405, `${path} takes POST, not ${c.req.method}`, { headers: { allow: "POST" } })));
  }
  return (request) => app.fetch(request);
}

// The OpenAPI 3.1 document, generated from the tables that requests are read by.
import { version } from "../index.js";
import { BODY_FIELDS } from "./body-fields.js";
import type { JsonSchema } from "./fields.js";
import { ANSWER_SCHEMAS, ERROR_STATUSES } from "./openapi-schemas.js";
import type { Settings } from "./options.js";
import { HEALTH_PATHS, MODEL_PATHS, PREDICT_PATHS, RERANK_PATHS, SCORE_PATHS } from "./paths.js";

const ref = (name: string) => ({ $ref: `#/components/schemas/${name}` });
const json = (schema: JsonSchema) => ({ "application/json": { schema } });

export function openApi(settings: Settings): JsonSchema {
  const security = settings.apiKeys.length > 0 ? { security: [{ bearer: [] }, { apiKey: [] }] } : {};
  const scoring = (summary: string, body: readonly string[], answers: readonly string[]) => ({
    post: {
      summary,
      requestBody: { required: true, content: json({ oneOf: body.map(ref) }) },
      responses: {
        200: { description: "Scores.", content: json({ oneOf: answers.map(ref) }) },
        ...Object.fromEntries(
          ERROR_STATUSES.map(([status, description]) => [
            status,
            { description, content: json({ oneOf: [ref("Error"), ref("TeiError")] }) },
          ]),
        ),
      },
      ...security,
    },
  });
  const get = (summary: string, schema: JsonSchema, type = "application/json", open = false) => ({
    get: { summary, responses: { 200: { description: "OK", content: { [type]: { schema } } } }, ...(open ? {} : security) },
  });
  const all = <T>(paths: readonly string[], item: T) => paths.map((path): [string, T] => [path, item]);
  return {
    openapi: "3.1.0",
    info: {
      title: "bge-reranker",
      version,
      license: { name: "MIT", identifier: "MIT" },
      description:
        "Reranking as Cohere, Jina, Voyage, TEI, Infinity, vLLM, Mixedbread and others ask for it. The dialect follows from the fields of the body, whatever the path.",
    },
    paths: Object.fromEntries([
      ...all(
        RERANK_PATHS,
        scoring(
          "Rank documents for a query",
          ["RerankRequest", "TeiRequest", "MixedbreadRequest"],
          ["RerankAnswer", "TeiAnswer", "MixedbreadAnswer"],
        ),
      ),
      ...all(SCORE_PATHS, scoring("Score pairs, 1:1, 1:N or N:N", ["ScoreRequest"], ["ScoreAnswer"])),
      ...all(PREDICT_PATHS, scoring("Score pairs", ["PredictRequest"], ["TeiAnswer"])),
      ...all(HEALTH_PATHS, get("Health", { type: "object" }, "application/json", true)),
      ...all(MODEL_PATHS, get("Models served", ref("Models"))),
      ["/info", get("The model, as text-embeddings-inference tells it", { type: "object" })],
      ["/version", get("Version", { type: "object" }, "application/json", true)],
      ["/metrics", get("Prometheus metrics", { type: "string" }, "text/plain", true)],
      ["/openapi.json", get("This document", { type: "object" }, "application/json", true)],
    ]),
    components: {
      schemas: { ...requestSchemas(), ...ANSWER_SCHEMAS },
      securitySchemes: { bearer: { type: "http", scheme: "bearer" }, apiKey: { type: "apiKey", in: "header", name: "x-api-key" } },
    },
  };
}

/** Texts of each dialect; all other fields of the table are common to all. */
const TEXT_FIELDS = ["query", "documents", "texts", "input", "inputs", "text_1", "text_2", "data_1", "data_2", "queries", "items"] as const;

function requestSchemas(): Readonly<Record<string, JsonSchema>> {
  const fields = Object.entries(BODY_FIELDS).filter(([name]) => !(TEXT_FIELDS as readonly string[]).includes(name));
  const common = Object.fromEntries(fields.map(([name, { schema }]) => [name, schema]));
  const body = (...texts: (typeof TEXT_FIELDS)[number][]) => ({
    type: "object",
    required: texts,
    properties: { ...Object.fromEntries(texts.map((name) => [name, BODY_FIELDS[name].schema])), ...common },
  });
  return {
    Documents: {
      type: "array",
      minItems: 1,
      description: "Strings, objects with a `text`, or objects whose `rank_fields` are read.",
      items: { oneOf: [{ type: "string" }, { type: "object" }] },
    },
    OneOrMany: { oneOf: [{ type: "string" }, { type: "array", minItems: 1, items: { oneOf: [{ type: "string" }, { type: "object" }] } }] },
    RerankRequest: body("query", "documents"),
    TeiRequest: body("query", "texts"),
    MixedbreadRequest: body("query", "input"),
    PredictRequest: body("inputs"),
    ScoreRequest: {
      anyOf: [body("text_1", "text_2"), body("data_1", "data_2"), body("queries", "documents"), body("queries", "items")],
    },
  };
}

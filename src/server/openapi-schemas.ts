// Schemas of the answers in the OpenAPI document.
import type { JsonSchema } from "./fields.js";

export const ERROR_STATUSES = [
  [400, "The body is wrong; `error.param` names the field."],
  [401, "A key is needed, or is not known."],
  [404, "No such model."],
  [413, "The body or its number of documents is too large."],
  [429, "Overloaded: come again after `Retry-After`."],
  [500, "The model or the server failed."],
  [503, "Not ready: loading or stopping."],
  [504, "Not computed within the time limit."],
] as const;

const integer = { type: "integer" };
const number = { type: "number" };
const string = { type: "string" };
const object = (properties: Readonly<Record<string, JsonSchema>>, required = Object.keys(properties)) => ({
  type: "object",
  required,
  properties,
});
const array = (items: JsonSchema) => ({ type: "array", items });

const DETAILS = {
  logit: number,
  tokens: integer,
  truncated: { type: "boolean" },
  query_truncated: { type: "boolean" },
  read_end: { type: "integer", description: "UTF-16 offset in a document up to which it was read, when its end was cut." },
  relevant: { type: "boolean", description: "Of a calibrated model: whether the logit reaches its threshold." },
  chunk: {
    description: "With `overflow: chunk`, the window that won, as offsets in UTF-16.",
    ...object({ start: integer, end: integer, count: integer }),
  },
};
const USAGE = object({ prompt_tokens: integer, completion_tokens: integer, total_tokens: integer });

export const ANSWER_SCHEMAS: Readonly<Record<string, JsonSchema>> = {
  RerankAnswer: object({
    id: string,
    object: { const: "rerank" },
    model: string,
    created: integer,
    results: array(
      object({ index: integer, relevance_score: number, document: object({ text: string }), ...DETAILS }, ["index", "relevance_score"]),
    ),
    data: array(object({ index: integer, relevance_score: number })),
    usage: USAGE,
    meta: object(
      {
        api_version: object({ version: string }),
        billed_units: object({ search_units: integer }),
        tokens: object({ input_tokens: integer, output_tokens: integer }),
        warnings: array(string),
      },
      ["api_version", "billed_units", "tokens"],
    ),
  }),
  TeiAnswer: array(object({ index: integer, score: number, text: string, label: string, ...DETAILS }, ["index", "score"])),
  MixedbreadAnswer: object({
    id: string,
    usage: USAGE,
    model: string,
    data: array(
      object({ index: integer, score: number, input: string, object: { const: "rank_result" }, ...DETAILS }, ["index", "score", "object"]),
    ),
    object: { const: "list" },
    top_k: integer,
    return_input: { type: "boolean" },
  }),
  ScoreAnswer: object({
    id: string,
    object: { const: "list" },
    created: integer,
    model: string,
    data: array(object({ index: integer, object: { const: "score" }, score: number, ...DETAILS }, ["index", "object", "score"])),
    usage: USAGE,
  }),
  Models: object({
    object: { const: "list" },
    data: array(object({ id: string, object: { const: "model" }, created: integer, owned_by: string })),
    created: integer,
  }),
  Error: object({
    message: string,
    detail: string,
    error: object({ message: string, type: string, param: { type: ["string", "null"] }, code: integer }),
  }),
  TeiError: object({ error: string, error_type: string }),
};

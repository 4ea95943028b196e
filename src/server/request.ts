// A request body, read: which dialect it is in, which pairs it asks for, and with which options of the library.
import type { InstructionOptions, RerankOptions } from "../index.js";
import { BODY_FIELDS, LIBRARY_FIELDS } from "./body-fields.js";
import { readDocuments, readOneOrMany, readQuery } from "./documents.js";
import { readFields, type Values, wrong } from "./fields.js";
import { HttpError } from "./http-error.js";

export type DialectName = "union" | "tei" | "tei-predict" | "mixedbread" | "score";
export type BodyValues = Values<typeof BODY_FIELDS>;

/** What the texts of a body are. With one query it stands before every document, else each query before its own. */
export interface Texts {
  readonly queries: readonly string[];
  readonly documents: readonly string[];
}

export interface RerankRequest extends Texts {
  readonly dialect: DialectName;
  readonly model: string | undefined;
  /** Best so many; undefined: all. */
  readonly topN: number | undefined;
  /** Results with a lower score are left out. */
  readonly minScore: number | undefined;
  /** Without `signal`, `normalize` and `topN`. */
  readonly options: RerankOptions;
  /** undefined: the body does not say. */
  readonly normalize: boolean | undefined;
  readonly maxTokensPerDocument: number | undefined;
  readonly maxTokensPerQuery: number | undefined;
  /** -1: as many as the model takes. */
  readonly maxTokensPerPair: number | undefined;
  /** Instead of those given at load. */
  readonly instructions: InstructionOptions | undefined;
  readonly truncationSide: "left" | "right";
  readonly returnDocuments: boolean;
  readonly returnDetails: boolean;
  /** Fields that mean nothing here: told in the log and in warnings. */
  readonly unknownFields: readonly string[];
  /** The body as it came. */
  readonly body: Readonly<Record<string, unknown>>;
}

export interface RequestDefaults {
  readonly rawScores: boolean;
  readonly returnDetails: boolean;
}

/**
 * The dialect by the fields of the body, never by the path: Cherry Studio posts `texts` to /v1/rerank.
 *
 * @returns undefined when the body has no texts at all.
 */
export function dialectOf(body: unknown): DialectName | undefined {
  if (typeof body !== "object" || body === null || Array.isArray(body)) return undefined;
  const has = (name: string) => ((body as Readonly<Record<string, unknown>>)[name] ?? null) !== null;
  if (has("text_1") || has("text_2") || has("data_1") || has("data_2") || has("queries")) return "score";
  if (has("texts")) return "tei";
  if (has("inputs")) return "tei-predict";
  if (has("documents")) return "union";
  if (has("input")) return "mixedbread";
  return has("query") ? "union" : undefined;
}

/** @throws {HttpError} 400 naming the field. */
export function readRequest(body: unknown, defaults: RequestDefaults): RerankRequest {
  if (typeof body !== "object" || body === null || Array.isArray(body)) throw new HttpError(400, "Expected the body to be a JSON object");
  const json = body as Readonly<Record<string, unknown>>;
  const dialect = dialectOf(body) ?? "union";
  const { values, unknown } = readFields(json, BODY_FIELDS);
  return {
    dialect,
    ...readTexts(dialect, values),
    model: readModel(values),
    topN: readTopN(values),
    minScore: values.min_score,
    options: libraryOptions(values),
    normalize: readNormalize(values) ?? (defaults.rawScores ? false : undefined),
    maxTokensPerDocument: values.max_tokens_per_doc || undefined,
    maxTokensPerQuery: values.max_tokens_per_query || undefined,
    maxTokensPerPair: values.truncate_prompt_tokens || undefined,
    instructions: readInstructions(values),
    truncationSide: values.truncation_direction ?? values.truncation_side ?? "right",
    returnDocuments:
      (dialect === "tei" ? values.return_text : dialect === "mixedbread" ? values.return_input : values.return_documents) ?? false,
    returnDetails: values.return_details ?? defaults.returnDetails,
    unknownFields: unknown,
    body: json,
  };
}

function readTexts(dialect: DialectName, values: BodyValues): Texts {
  switch (dialect) {
    case "union":
      return { queries: [readQuery(values.query)], documents: readDocuments(values.documents, "documents", values.rank_fields) };
    case "mixedbread":
      return { queries: [readQuery(values.query)], documents: readDocuments(values.input, "input", values.rank_fields) };
    case "tei":
      return { queries: [readQuery(values.query)], documents: readDocuments(values.texts, "texts", values.rank_fields) };
    case "tei-predict":
      return readPairs(values.inputs);
    case "score":
      return readScoreTexts(values);
    default:
      return dialect satisfies never;
  }
}

/** One pair `[query, document]`, or an array of them. */
function readPairs(inputs: unknown): Texts {
  const isPair = (value: unknown): value is [string, string] =>
    Array.isArray(value) && value.length === 2 && value.every((each) => typeof each === "string");
  const pairs: unknown = isPair(inputs) ? [inputs] : inputs;
  if (!Array.isArray(pairs)) throw wrong("inputs", "an array of pairs of query and document", inputs);
  if (pairs.length === 0) throw new HttpError(400, "`inputs` is empty: give at least one pair", { param: "inputs" });
  for (const [i, pair] of pairs.entries())
    if (!isPair(pair)) throw wrong(`inputs[${i}]`, "a pair of query and document, two strings", pair);
  const list = pairs as [string, string][];
  return { queries: list.map(([query]) => query), documents: list.map(([, document]) => document) };
}

const SCORE_FIELDS = [
  ["text_1", "text_2"],
  ["data_1", "data_2"],
  ["queries", "documents"],
  ["queries", "items"],
] as const;

/** 1:1, 1:N or N:N. */
function readScoreTexts(values: BodyValues): Texts {
  const given = SCORE_FIELDS.filter(([one, two]) => values[one] !== undefined && values[two] !== undefined);
  const [names, ...others] = given;
  if (!names || others.length > 0) {
    throw new HttpError(400, `Expected one of ${SCORE_FIELDS.map(([one, two]) => `\`${one}\` with \`${two}\``).join(", ")}`);
  }
  const queries = readOneOrMany(values[names[0]], names[0]);
  const documents = readOneOrMany(values[names[1]], names[1]);
  if (queries.length !== 1 && queries.length !== documents.length) {
    const message = `Expected \`${names[0]}\` to hold one text or as many as \`${names[1]}\`, got ${queries.length} and ${documents.length}`;
    throw new HttpError(400, message, { param: names[0] });
  }
  return { queries, documents };
}

function readInstructions({ query_instruction, passage_instruction }: BodyValues): InstructionOptions | undefined {
  if (query_instruction === undefined && passage_instruction === undefined) return undefined;
  return { queryInstructionForRerank: query_instruction, passageInstructionForRerank: passage_instruction };
}

function readModel({ model }: BodyValues): string | undefined {
  if (model !== undefined && typeof model !== "string") throw wrong("model", "a string", model);
  return model?.trim() || undefined;
}

function readTopN({ top_n, top_k }: BodyValues): number | undefined {
  if (top_n !== undefined && top_k !== undefined && top_n !== top_k) {
    throw new HttpError(400, `\`top_n\` and \`top_k\` are the same: give one of them, got ${top_n} and ${top_k}`, { param: "top_k" });
  }
  return (top_n ?? top_k) || undefined;
}

function readNormalize({ normalize, use_activation, raw_scores }: BodyValues): boolean | undefined {
  const asked = [normalize, use_activation, raw_scores === undefined ? undefined : !raw_scores].filter((each) => each !== undefined);
  if (new Set(asked).size > 1)
    throw new HttpError(400, "`normalize`, `use_activation` and `raw_scores` contradict each other", { param: "raw_scores" });
  return asked[0];
}

function libraryOptions(values: BodyValues): RerankOptions {
  const options: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(values)) if (LIBRARY_FIELDS.has(name) && value !== undefined) options[camelCase(name)] = value;
  if (values.instruct !== undefined) options["instruction"] ??= values.instruct;
  if ((values.max_chunks_per_doc ?? 0) > 1 && options["overflow"] === undefined) {
    options["overflow"] = "chunk";
    options["maxChunks"] ??= Math.min(values.max_chunks_per_doc ?? 0, MAX_CHUNKS);
  }
  if (isRule(values.truncation)) options["truncation"] = values.truncation;
  const cut = readTruncate(values);
  if (cut === false && options["overflow"] === undefined) options["overflow"] = "error";
  return options;
}

// The library's own limit.
const MAX_CHUNKS = 4096;

/** The library's own `truncation`, which rule cuts a pair, beside Voyage's, whether it is cut. */
function isRule(value: unknown): boolean {
  return value === "only_second" || value === "longest_first";
}

/** Voyage and TEI send booleans, others END and NONE. */
function readTruncate(values: BodyValues): boolean | undefined {
  for (const name of ["truncate", "truncation"] as const) {
    const value = values[name];
    if (value === undefined || (name === "truncation" && isRule(value))) continue;
    if (typeof value === "boolean") return value;
    const word = typeof value === "string" ? value.toLowerCase() : undefined;
    if (word === "true" || word === "end") return true;
    if (word === "false" || word === "none") return false;
    throw wrong(name, "true or false", value);
  }
  return undefined;
}

export function camelCase(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

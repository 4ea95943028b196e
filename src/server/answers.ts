// The answer of each dialect. Together they are what 49 clients were seen to read.
import type { RerankRequest } from "./request.js";

/** One scored pair. */
export interface ScoredDocument {
  /** Place in the documents of the request. */
  readonly index: number;
  /** 0 to 1, or the logit where raw scores are asked for. */
  readonly score: number;
  readonly logit: number;
  readonly tokens: number;
  readonly truncated: boolean;
  readonly queryTruncated: boolean;
  /** UTF-16 offset in the document up to which it was read, when its end was cut. */
  readonly readEnd?: number;
  /** Of a calibrated model: whether the logit reaches its threshold. */
  readonly relevant?: boolean;
  readonly chunk?: { readonly start: number; readonly end: number; readonly count: number };
}

export interface Answered {
  readonly id: string;
  /** Name of the model that scored. */
  readonly model: string;
  readonly request: RerankRequest;
  /** In the order of the answer. */
  readonly results: readonly ScoredDocument[];
  /** Of all pairs, those not returned included. */
  readonly tokens: number;
  readonly warnings: readonly string[];
  /** Of the request, for what clients of one framework need. */
  readonly headers: Headers;
}

export function answer(answered: Answered): unknown {
  switch (answered.request.dialect) {
    case "union":
      return unionAnswer(answered);
    case "tei":
      return answered.results.map((result) => ({
        index: result.index,
        ...(answered.request.returnDocuments && { text: answered.request.documents[result.index] }),
        score: result.score,
        ...details(answered, result),
      }));
    case "tei-predict":
      return answered.results.map((result) => ({ index: result.index, score: result.score, label: LABEL, ...details(answered, result) }));
    case "mixedbread":
      return mixedbreadAnswer(answered);
    case "score":
      return scoreAnswer(answered);
    default:
      return answered.request.dialect satisfies never;
  }
}

/** The one label of a reranker's head, by the name that transformers gives it. */
export const LABEL = "LABEL_0";

/** Cohere v1 and v2, Jina, Voyage, Infinity, vLLM, llama-server, Together, ZeroEntropy: none minds what the others read. */
function unionAnswer(answered: Answered) {
  const { id, model, request, results, tokens } = answered;
  return {
    id,
    object: "rerank", // "list" breaks infinity_client and LangChain's InfinityRerank
    model,
    created: seconds(),
    results: results.map((result) => ({
      index: result.index,
      relevance_score: result.score,
      ...(request.returnDocuments && { document: { text: request.documents[result.index] } }),
      ...details(answered, result),
    })),
    data: results.map(({ index, score }) => ({ index, relevance_score: score })),
    usage: usage(tokens),
    meta: {
      api_version: { version: "2" },
      billed_units: { search_units: 1 },
      tokens: { input_tokens: tokens, output_tokens: 0 },
      ...(toldWarnings(answered) && { warnings: answered.warnings }),
    },
  };
}

function mixedbreadAnswer(answered: Answered) {
  const { id, model, request, results, tokens, headers } = answered;
  // langchain-mixedbread sends `return_input: null` and reads `input` all the same; its SDK is a Fern one.
  const withInput = request.returnDocuments || request.body["return_input"] === null || headers.has("x-fern-language");
  return {
    id,
    usage: usage(tokens),
    model,
    data: results.map((result) => ({
      index: result.index,
      score: result.score,
      ...(withInput && { input: request.documents[result.index] }),
      object: "rank_result",
      ...details(answered, result),
    })),
    object: "list",
    top_k: request.topN ?? request.documents.length,
    return_input: withInput,
  };
}

function scoreAnswer(answered: Answered) {
  const { id, model, results, tokens } = answered;
  return {
    id,
    object: "list",
    created: seconds(),
    model,
    data: results.map((result) => ({ index: result.index, object: "score", score: result.score, ...details(answered, result) })),
    usage: usage(tokens),
  };
}

function usage(tokens: number) {
  return { prompt_tokens: tokens, completion_tokens: 0, total_tokens: tokens };
}

function details({ request }: Answered, { logit, tokens, truncated, queryTruncated, readEnd, relevant, chunk }: ScoredDocument) {
  if (!request.returnDetails) return undefined;
  return {
    logit,
    tokens,
    truncated,
    query_truncated: queryTruncated,
    ...(readEnd !== undefined && { read_end: readEnd }),
    ...(relevant !== undefined && { relevant }),
    ...(chunk && { chunk }),
  };
}

/** Cohere's clients know `meta.warnings`. Infinity's, the only ones that send `raw_scores` beside documents, do not. */
function toldWarnings({ request, warnings }: Answered): boolean {
  return warnings.length > 0 && (request.returnDetails || !("raw_scores" in request.body));
}

function seconds(): number {
  return Math.floor(Date.now() / 1000);
}

// bge-reranker/ai-sdk: reranking models and a provider for `rerank()` of the Vercel AI SDK, 6 and 7.
// The types are those of @ai-sdk/provider, written out, so that nothing of it need be installed. `ai` 7 takes specification v3
// as well as v4; `ai` 6 takes only v3.
import type { LoadOptions, RerankOptions, RerankResult } from "../index.js";
import { LazyReranker, type RerankerSource } from "./lazy-reranker.js";

/** An object of JSON values, as loosely as both versions of the SDK write it. */
type JsonObject = Readonly<Record<string, unknown>>;

/** What `rerank()` hands to a model. @see RerankingModelV3CallOptions of @ai-sdk/provider */
export interface RerankingCall {
  readonly documents:
    | { readonly type: "text"; readonly values: readonly string[] }
    | { readonly type: "object"; readonly values: readonly JsonObject[] };
  readonly query: string;
  readonly topN?: number | undefined;
  readonly abortSignal?: AbortSignal | undefined;
  /**
   * Under `bgeReranker`: options of `Reranker.rerank` (`cutoffLayers`, `overflow`, `maxLength`, `minScore`, `normalize` ...), and
   * `field`, the key of object documents that holds their text.
   */
  readonly providerOptions?: Readonly<Record<string, JsonObject>> | undefined;
  readonly headers?: Readonly<Record<string, string | undefined>> | undefined;
}

/** A warning of a call. */
export type RerankingWarning = { type: "compatibility"; feature: string; details?: string } | { type: "other"; message: string };

/** @see RerankingModelV3 of @ai-sdk/provider */
export interface BgeRerankingModel {
  readonly specificationVersion: "v3";
  readonly provider: "bge-reranker";
  readonly modelId: string;
  doRerank(call: RerankingCall): Promise<{
    /** Best first. Scores are 0 to 1, or logits with `normalize: false`. */
    ranking: { index: number; relevanceScore: number }[];
    /** `bgeReranker`: tokens read, and the places of documents that were cut. */
    providerMetadata: { bgeReranker: { tokens: number; truncated: number[] } };
    warnings: RerankingWarning[];
    response: { timestamp: Date; modelId: string };
  }>;
}

export interface BgeRerankingSettings {
  /** The text of an object document; else its `text`, else its JSON, with a warning. */
  readonly text?: ((document: JsonObject) => string) | undefined;
  /** Key of object documents that holds their text. */
  readonly field?: string | undefined;
  /** Options of loading, when the model is given by name. */
  readonly load?: LoadOptions | undefined;
}

/**
 * A reranking model for `rerank({ model, documents, query, topN })`.
 *
 * @param model - A loaded reranker, or the name or path of a model, loaded at the first call.
 *
 * @example
 * import { rerank } from "ai";
 * const model = bgeRerankingModel("BAAI/bge-reranker-v2-m3");
 * const { ranking } = await rerank({ model, documents, query: "what is a panda?", topN: 3 });
 */
export function bgeRerankingModel(model: RerankerSource = "default", settings: BgeRerankingSettings = {}): BgeRerankingModel {
  return modelOf(new LazyReranker(model, settings.load), settings);
}

function modelOf(lazy: LazyReranker, settings: BgeRerankingSettings): BgeRerankingModel {
  return {
    specificationVersion: "v3",
    provider: "bge-reranker",
    modelId: lazy.name,
    async doRerank({ documents, query, topN, abortSignal, providerOptions }) {
      const { field = settings.field, ...options } = providerOptions?.bgeReranker ?? {};
      const warnings: RerankingWarning[] = [];
      const texts = documents.type === "text" ? documents.values : textsOf(documents.values, field, settings.text, warnings);
      const reranker = await lazy.get();
      const results = await reranker.rerank(query, texts, {
        normalize: true, // what callers of other providers hold their thresholds against
        ...(options as RerankOptions),
        ...(topN !== undefined && { topN }),
        ...(abortSignal && { signal: abortSignal }),
      });
      warnings.push(...truncationWarnings(results));
      return {
        ranking: results.map(({ index, score }) => ({ index, relevanceScore: score })),
        providerMetadata: { bgeReranker: metadataOf(results) },
        warnings,
        response: { timestamp: new Date(), modelId: reranker.model.name ?? lazy.name },
      };
    },
  };
}

function textsOf(
  documents: readonly JsonObject[],
  field: unknown,
  text: BgeRerankingSettings["text"],
  warnings: RerankingWarning[],
): string[] {
  if (field !== undefined && typeof field !== "string") throw new TypeError(`Expected \`field\` to be a string, got \`${String(field)}\``);
  let written = 0;
  const texts = documents.map((document, i) => {
    if (text && field === undefined) return text(document);
    const found = document[field ?? "text"];
    if (typeof found === "string") return found;
    if (field !== undefined) throw new TypeError(`Document ${i} has no string \`${field}\``);
    written++;
    return JSON.stringify(document);
  });
  if (written > 0) {
    const details = `${written} of ${documents.length} documents have no string "text" and were ranked by their JSON. Name the key in providerOptions.bgeReranker.field.`;
    warnings.push({ type: "compatibility", feature: "object documents", details });
  }
  return texts;
}

function truncationWarnings(results: readonly RerankResult[]): RerankingWarning[] {
  const cut = results.filter(({ truncated, queryTruncated }) => truncated && !queryTruncated).length;
  const warnings: RerankingWarning[] = [];
  if (results.some(({ queryTruncated }) => queryTruncated)) {
    warnings.push({ type: "other", message: "The query was cut to fit the model. See the option queryMaxLength." });
  }
  if (cut > 0) {
    const message = `The model did not read ${cut} of ${results.length} documents to the end. See providerMetadata.bgeReranker.truncated, and the options maxLength and overflow.`;
    warnings.push({ type: "other", message });
  }
  return warnings;
}

function metadataOf(results: readonly RerankResult[]): { tokens: number; truncated: number[] } {
  return {
    tokens: results.reduce((sum, { tokens }) => sum + tokens, 0),
    truncated: results.filter(({ truncated }) => truncated).map(({ index }) => index),
  };
}

export interface BgeRerankerProviderSettings extends BgeRerankingSettings {
  /** Models by the id they are asked for. Other ids are names or paths, loaded at their first call. */
  readonly models?: Readonly<Record<string, RerankerSource>> | undefined;
}

/** @see ProviderV3 of @ai-sdk/provider */
export interface BgeRerankerProvider {
  readonly specificationVersion: "v3";
  /** The model of an id, the same one each time. */
  rerankingModel(modelId: string): BgeRerankingModel;
  /** As `rerankingModel`. */
  reranking(modelId?: string): BgeRerankingModel;
  languageModel(modelId: string): never;
  embeddingModel(modelId: string): never;
  imageModel(modelId: string): never;
  /** Frees the models that were loaded by name. */
  dispose(): Promise<void>;
}

/**
 * A provider, for `createProviderRegistry` and `customProvider`.
 *
 * @example
 * const registry = createProviderRegistry({ bge: createBgeReranker() });
 * await rerank({ model: registry.rerankingModel("bge:BAAI/bge-reranker-v2-m3"), documents, query });
 */
export function createBgeReranker(settings: BgeRerankerProviderSettings = {}): BgeRerankerProvider {
  const loaded = new Map<string, { readonly lazy: LazyReranker; readonly model: BgeRerankingModel }>();
  const rerankingModel = (modelId: string) => {
    const known = loaded.get(modelId);
    if (known) return known.model;
    const source = settings.models && Object.hasOwn(settings.models, modelId) ? settings.models[modelId] : modelId;
    const lazy = new LazyReranker(source ?? modelId, typeof source === "string" ? settings.load : {});
    const model = { ...modelOf(lazy, settings), modelId };
    loaded.set(modelId, { lazy, model });
    return model;
  };
  return {
    specificationVersion: "v3",
    rerankingModel,
    reranking: (modelId = "default") => rerankingModel(modelId),
    languageModel: (modelId) => throwNoSuchModel(modelId, "languageModel"),
    embeddingModel: (modelId) => throwNoSuchModel(modelId, "embeddingModel"),
    imageModel: (modelId) => throwNoSuchModel(modelId, "imageModel"),
    dispose: async () => {
      await Promise.all(Array.from(loaded.values(), ({ lazy }) => lazy.dispose()));
    },
  };
}

/** The provider of models by name, with default options. */
export const bgeReranker: BgeRerankerProvider = createBgeReranker();

/** As the SDK's own NoSuchModelError, which is known by its symbols. */
function throwNoSuchModel(modelId: string, modelType: string): never {
  const error = new Error(`bge-reranker has no ${modelType} ${modelId}: it has reranking models only`);
  const marks = { [Symbol.for("vercel.ai.error")]: true, [Symbol.for("vercel.ai.error.AI_NoSuchModelError")]: true };
  throw Object.assign(error, { name: "AI_NoSuchModelError", modelId, modelType, ...marks });
}

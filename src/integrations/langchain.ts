// bge-reranker/langchain: a document compressor for LangChain.js, such as ContextualCompressionRetriever takes.
// BaseDocumentCompressor is one method; the types are written out, so that nothing of LangChain need be installed to load this.
import type { LoadOptions, RerankOptions } from "../index.js";
import { LazyReranker, type RerankerSource } from "./lazy-reranker.js";

/** @see DocumentInterface of @langchain/core */
export interface LangChainDocument {
  pageContent: string;
  // biome-ignore lint/suspicious/noExplicitAny: as LangChain types it
  metadata: Record<string, any>;
  id?: string;
}

export interface BgeRerankFields {
  /** A loaded reranker, or the name or path of a model, loaded at the first call. @default "default", the embedded model */
  readonly model?: RerankerSource | undefined;
  /** Keep only the best so many. @default all */
  readonly topN?: number | undefined;
  /** Drop documents that score less. 0 to 1, or a logit with `options: { normalize: false }`. */
  readonly minScore?: number | undefined;
  /** Other options of `Reranker.rerank`: `cutoffLayers`, `overflow`, `maxLength` ... Scores are normalized unless these say otherwise. */
  readonly options?: Omit<RerankOptions, "topN" | "minScore"> | undefined;
  /** Options of loading, when the model is given by name. */
  readonly load?: LoadOptions | undefined;
}

/**
 * Ranks documents by a BGE reranker. Each comes back as a copy whose `metadata.relevanceScore` is its score; where the model did
 * not read to the end, `metadata.truncated` is true. Callbacks see a run named "BgeRerank".
 *
 * @example
 * const retriever = new ContextualCompressionRetriever({
 *   baseCompressor: new BgeRerank({ model: "BAAI/bge-reranker-v2-m3", topN: 5 }),
 *   baseRetriever: store.asRetriever(50),
 * });
 */
export class BgeRerank {
  readonly #lazy: LazyReranker;
  readonly #options: RerankOptions;

  constructor({ model = "default", topN, minScore, options, load }: BgeRerankFields = {}) {
    this.#lazy = new LazyReranker(model, load);
    this.#options = { normalize: true, ...options, topN, minScore };
  }

  /**
   * @param callbacks - What LangChain hands on: a callback manager, or an array of handlers.
   * @returns Copies, best first.
   */
  async compressDocuments<D extends LangChainDocument>(documents: D[], query: string, callbacks?: unknown): Promise<D[]> {
    const run = await startRun(callbacks, { query, documents });
    try {
      const ranked = await this.#rank(documents, query);
      await run?.handleChainEnd({ documents: ranked });
      return ranked;
    } catch (error) {
      await run?.handleChainError(error);
      throw error;
    }
  }

  /** Frees a model that was loaded by name. */
  dispose(): Promise<void> {
    return this.#lazy.dispose();
  }

  async #rank<D extends LangChainDocument>(documents: D[], query: string): Promise<D[]> {
    if (documents.length === 0) return [];
    const reranker = await this.#lazy.get();
    const texts = documents.map(({ pageContent }) => pageContent);
    const results = await reranker.rerank(query, texts, this.#options);
    return results.map(({ index, score, truncated }) => copyOf(documents[index] as D, score, truncated));
  }
}

/** Of the same class as the document. */
function copyOf<D extends LangChainDocument>(document: D, relevanceScore: number, truncated: boolean): D {
  const metadata = { ...document.metadata, relevanceScore, ...(truncated && { truncated }) };
  return Object.assign(Object.create(Object.getPrototypeOf(document)), document, { metadata });
}

interface ChainRun {
  handleChainEnd(outputs: object): Promise<void>;
  handleChainError(error: unknown): Promise<void>;
}

interface CallbackManager {
  handleChainStart(serialized: object, inputs: object, ...more: unknown[]): Promise<ChainRun>;
}

const SERIALIZED = { lc: 1, type: "not_implemented", id: ["bge-reranker", "BgeRerank"] };

async function startRun(callbacks: unknown, inputs: object): Promise<ChainRun | undefined> {
  const manager = await managerOf(callbacks);
  return manager?.handleChainStart(SERIALIZED, inputs, undefined, undefined, undefined, undefined, "BgeRerank");
}

async function managerOf(callbacks: unknown): Promise<CallbackManager | undefined> {
  if (callbacks === undefined || callbacks === null) return undefined;
  if (!Array.isArray(callbacks)) return callbacks as CallbackManager;
  // Whoever hands over handlers has the package that they are made with.
  const name: string = "@langchain/core/callbacks/manager";
  const { CallbackManager: manager } = await import(name);
  return manager.configure(callbacks);
}

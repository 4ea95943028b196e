// bge-reranker/lancedb: reranks hybrid searches, full text and vectors, of LanceDB.
import { type LoadOptions, RerankerError, type RerankOptions } from "../index.js";
import { type ArrowBatch, loadArrow } from "./arrow.js";
import { type BatchRow, batchOf } from "./arrow-rows.js";
import { LazyReranker, type RerankerSource } from "./lazy-reranker.js";

export type { ArrowBatch } from "./arrow.js";

export interface BgeHybridOptions {
  /** Column that holds the texts. @default "text" */
  readonly column?: string | undefined;
  /** Other options of `Reranker.rerank`: `minScore`, `topN`, `cutoffLayers`, `overflow` ... Scores are normalized unless these say otherwise. */
  readonly options?: RerankOptions | undefined;
  /** Options of loading, when the model is given by name. */
  readonly load?: LoadOptions | undefined;
}

/**
 * Scores the rows that either search found, each once, and returns them best first with a column `_relevance_score`. The other
 * columns are kept; `_distance` and `_score` are null in rows that the search of that name did not find.
 *
 * @see Reranker of @lancedb/lancedb
 *
 * @example
 * const reranker = new BgeHybridReranker("BAAI/bge-reranker-v2-m3", { column: "body" });
 * const rows = await table.query().fullTextSearch(query).nearestTo(vector).rerank(reranker).limit(10).toArray();
 */
export class BgeHybridReranker {
  readonly #lazy: LazyReranker;
  readonly #column: string;
  readonly #options: RerankOptions;

  /** @param model - A loaded reranker, or the name or path of a model, loaded at the first call. */
  constructor(model: RerankerSource = "default", { column = "text", options, load }: BgeHybridOptions = {}) {
    this.#lazy = new LazyReranker(model, load);
    this.#column = column;
    this.#options = { normalize: true, ...options };
  }

  /** @throws {RerankerError} `IO` when a result has no such column: `select` has to name it. */
  async rerankHybrid<B extends ArrowBatch>(query: string, vecResults: B, ftsResults: B): Promise<B> {
    const batches = [vecResults, ftsResults].filter((batch) => batch !== null); // no rows may be no batch
    const rows = distinctRows(batches);
    const documents = rows.map(([place]) => this.#textOf(place as BatchRow<B>));
    const reranker = await this.#lazy.get();
    const results = await reranker.rerank(query, documents, this.#options);
    const fields = batches.flatMap(({ schema }) => schema.fields);
    const distinct = fields.filter(({ name }, i) => fields.findIndex((other) => other.name === name) === i);
    return batchOf(
      loadArrow(),
      distinct,
      results.map(({ index }) => rows[index] ?? []),
      { name: "_relevance_score", values: Float32Array.from(results, ({ score }) => score) },
    );
  }

  /** Frees a model that was loaded by name. */
  dispose(): Promise<void> {
    return this.#lazy.dispose();
  }

  #textOf<B extends ArrowBatch>({ batch, row }: BatchRow<B>): string {
    const column = batch.getChild(this.#column) as { get(row: number): unknown } | null;
    const text = column?.get(row);
    if (typeof text === "string") return text;
    if (column && text === null) return ""; // a row without a text is scored as an empty one
    const names = batch.schema.fields.map(({ name }) => name).join(", ");
    throw new RerankerError(
      "IO",
      `The results have no text column ${this.#column}, but ${names}. See the option \`column\`, and \`select\``,
    );
  }
}

/** Where each row is found; rows with the same id, as LanceDB numbers them, are one. */
function distinctRows<B extends ArrowBatch>(batches: readonly B[]): BatchRow<B>[][] {
  const rows: BatchRow<B>[][] = [];
  const byId = new Map<unknown, BatchRow<B>[]>();
  for (const batch of batches) {
    const ids = batch.getChild("_rowid") as { get(row: number): unknown } | null;
    for (let row = 0; row < batch.numRows; row++) {
      const id = ids?.get(row) ?? {}; // without an id, a row of its own
      const places = byId.get(id) ?? [];
      if (places.length === 0) rows.push(places);
      byId.set(id, places);
      places.push({ batch, row });
    }
  }
  return rows;
}

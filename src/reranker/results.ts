// What the calls of a reranker give.

import type { RerankDocument } from "./documents.js";
import type { TextSpan } from "./overflow.js";
import type { TokenWindow } from "./windows.js";

/** One ranked document. */
export interface RerankResult<D = RerankDocument> {
  /** Place in the documents given. */
  readonly index: number;
  /** The logit, or its sigmoid with `normalize`, or its probability with `calibration`. */
  readonly score: number;
  readonly logit: number;
  /** With a `calibration` that has a threshold: whether the logit reaches it. */
  readonly relevant?: boolean;
  readonly document: D;
  /** Tokens the model read for this document (with chunks: for the one that won), the query and special tokens included. */
  readonly tokens: number;
  /** Whether the model did not read all of the query or the document. */
  readonly truncated: boolean;
  readonly queryTruncated: boolean;
  /** With `overflow: "chunk"`: the window that won, as offsets into the text, and how many there were. */
  readonly chunk?: TextSpan & { readonly count: number };
  /** With `overflow: "window"`: the window that won, in tokens of the document, and how many there were. */
  readonly window?: TokenWindow & { readonly count: number };
}

/** What `rerankTop` read in its time. */
export interface RankedTop<D = RerankDocument> {
  /** The best hits read up to the cutoff layer, at most `keep`, best first. `index` is the hit's place in the first stage. */
  readonly results: RerankResult<D>[];
  /** Hits that were not read so far, best first: those read up to the early layer, then those not read at all. */
  readonly rest: D[];
  /** Hits that the model read, and those of them that it read up to the cutoff layer; the same for models without layers. */
  readonly read: number;
  readonly readDeeply: number;
  readonly elapsedMs: number;
}

/** What `computeScoreDetails` gives: all of it in the order of the pairs. */
export interface ScoreDetails {
  /** As `computeScore` returns them. */
  readonly scores: number[] | number[][];
  /** Tokens the model read of each pair, special tokens included. */
  readonly tokens: Int32Array;
  /** Whether the model did not read all of a pair's query or passage. */
  readonly truncated: readonly boolean[];
}

/** What the model is fed for a pair. */
export interface EncodedInput {
  readonly inputIds: Int32Array;
  readonly tokenTypeIds: Int32Array;
  /** Whether the query or the document was cut. */
  readonly truncated: boolean;
  readonly queryTruncated: boolean;
  readonly documentTruncated: boolean;
}

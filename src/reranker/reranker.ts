// Reranker: a loaded model, its calls, its end.

import type { EncodeSpec, NativeModel, ScoreResult } from "../addon/native.js";
import { show } from "../checks.js";
import { asRerankerError, RerankerError } from "../errors.js";
import { compileInstruction, type Instruct } from "./instruction.js";
import { type LoadedModel, openModel } from "./load.js";
import { describeLoaded, type RerankerModel } from "./model-description.js";
import type { EncodeOptions, LoadOptions, RerankOptions, ScoreOptions } from "./options.js";
import { bestChunks, type Chunk, chunkDocuments, type TextSpan } from "./overflow.js";
import { type LaidOutPair, layOut, planRerank, type RerankPlan } from "./plan.js";
import { type Pair, type RequestSettings, scorePairs } from "./scoring.js";
import {
  headOf,
  type RerankSettings,
  resolveEncodeOptions,
  resolveRerankOptions,
  resolveScoreOptions,
  type ScoreSettings,
} from "./settings.js";

/** A document to rank: its text, alone or in an object of yours, which comes back in the result. */
export type RerankDocument = string | { readonly text: string };

/** One ranked document. */
export interface RerankResult<D extends RerankDocument = RerankDocument> {
  /** Place in the documents given. */
  readonly index: number;
  /** The logit, or its sigmoid with `normalize`. */
  readonly score: number;
  readonly logit: number;
  readonly document: D;
  /** Tokens the model read for this document (with chunks: for the one that won), the query and special tokens included. */
  readonly tokens: number;
  /** Whether the model did not read all of the query or the document. */
  readonly truncated: boolean;
  readonly queryTruncated: boolean;
  /** With `overflow: "chunk"`: the window that won, as offsets into the text, and how many there were. */
  readonly chunk?: TextSpan & { readonly count: number };
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

const QUERY_CUT = 1;
const DOCUMENT_CUT = 2;

/** Options that ask for several cutoff layers, and so for a list of scores for each. */
type SeveralCutoffs = ScoreOptions & { readonly cutoffLayers: readonly [number, number, ...number[]] };
type OneCutoff = ScoreOptions & { readonly cutoffLayers?: number | readonly [number] | null | undefined };

/**
 * A loaded model of any class. Calls run off the event loop; calls made at the same time are computed together.
 *
 * @example
 * await using reranker = await Reranker.load("bge-reranker-v2-m3.gguf");
 * const [best] = await reranker.rerank("what is a panda?", ["hi", "The giant panda is a bear."]);
 */
export class Reranker implements AsyncDisposable {
  /** Facts of the model and of where it runs. */
  readonly model: RerankerModel;
  readonly #loaded: LoadedModel;
  readonly #asQuery: Instruct;
  readonly #asDocument: Instruct;
  #closing: Promise<void> | undefined;

  /**
   * Loads a model of whatever class the file holds.
   *
   * @param modelNameOrPath - A .gguf file, a Hugging Face checkpoint folder (converted on first use), a Hugging Face id (downloaded
   *   on first use), one file of a repository as `org/repo:file.gguf`, a short name such as `bge-reranker-v2-m3` or `v2-m3`, or
   *   `default`, the embedded model.
   * @throws {TypeError | RangeError} An option that does not exist, or that the model's class does not have.
   * @throws {RerankerError} `MODEL_NOT_FOUND`, `DOWNLOAD_FAILED`, `MODEL_INVALID`, `MODEL_UNSUPPORTED`, `DEVICE_NOT_FOUND`, `OUT_OF_MEMORY` ...
   */
  static async load(modelNameOrPath: string, options: LoadOptions = {}): Promise<Reranker> {
    return new Reranker(await openModel(modelNameOrPath, options));
  }

  /** @internal Use `load`. */
  constructor(loaded: LoadedModel) {
    const { facts, options } = loaded;
    this.#loaded = loaded;
    this.model = describeLoaded(loaded);
    this.#asQuery = compileInstruction(
      "queryInstructionFormat",
      options.queryInstructionFormat ?? "{}{}",
      options.queryInstructionForRerank === undefined ? facts.defaults.queryInstruction : options.queryInstructionForRerank,
    );
    this.#asDocument = compileInstruction(
      "passageInstructionFormat",
      options.passageInstructionFormat ?? "{}{}",
      options.passageInstructionForRerank === undefined ? facts.defaults.documentInstruction : options.passageInstructionForRerank,
    );
  }

  /**
   * Scores pairs of query and passage, in the order given.
   *
   * @param pairs - One pair `[query, passage]`, or many. Lone surrogates in a text count as U+FFFD.
   * @returns One score a pair, for one pair too: a logit, or 0 to 1 with `normalize`. With several `cutoffLayers` a list of
   *   scores for each layer, in ascending order of the layers, whatever order was asked; a layer named twice counts once.
   * @throws {TypeError} A pair that is not two strings.
   * @throws {RangeError} A cutoff layer that the model does not have.
   * @throws {RerankerError} `CLOSED` after `dispose()`, `INPUT_TOO_LONG` when a pair has more tokens than the model positions,
   *   `OUT_OF_MEMORY` when one pair does not fit the device.
   * @see FlagEmbedding `compute_score`
   */
  computeScore(pairs: Pair | readonly Pair[], options?: OneCutoff): Promise<number[]>;
  computeScore(pairs: Pair | readonly Pair[], options: SeveralCutoffs): Promise<number[][]>;
  computeScore(pairs: Pair | readonly Pair[], options: ScoreOptions): Promise<number[] | number[][]>;
  async computeScore(pairs: Pair | readonly Pair[], options: ScoreOptions = {}): Promise<number[] | number[][]> {
    const list = checkPairs(pairs);
    const settings = resolveScoreOptions(this.#loaded.facts, this.#loaded.options, options);
    const { logits } = await this.#score(list, settings);
    const scores = Array.from(logits, settings.normalize ? sigmoid : Number);
    if (settings.cutoffs.length < 2 || list.length === 0) return scores;
    return settings.cutoffs.map((_, c) => scores.slice(c * list.length, (c + 1) * list.length));
  }

  /**
   * Ranks documents for a query, best first; equal scores keep the order given.
   *
   * @param query - Cut to 3/4 of `maxLength` tokens, as the reference does.
   * @param documents - Texts, or objects with a `text`.
   * @returns One result a document, or the best `topN`.
   * @throws {RerankerError} As `computeScore`; `TRUNCATED` with `overflow: "error"` when a text does not fit.
   */
  async rerank<const D extends RerankDocument>(
    query: string,
    documents: readonly D[],
    options: RerankOptions = {},
  ): Promise<RerankResult<D>[]> {
    if (typeof query !== "string") throw new TypeError(`Expected \`query\` to be a string, got \`${show(query)}\``);
    const texts = checkDocuments(documents);
    const settings = resolveRerankOptions(this.#loaded.facts, this.#loaded.options, options);
    const ranked =
      settings.overflow === "chunk" ? await this.#scoreChunks(query, texts, settings) : await this.#scoreWhole(query, texts, settings);
    return ranked
      .sort((a, b) => b.logit - a.logit || a.index - b.index)
      .slice(0, settings.topN)
      .map((result) => ({
        index: result.index,
        score: settings.normalize ? sigmoid(result.logit) : result.logit,
        logit: result.logit,
        document: documents[result.index] as D,
        tokens: result.tokens,
        truncated: (result.cut & (QUERY_CUT | DOCUMENT_CUT)) !== 0,
        queryTruncated: (result.cut & QUERY_CUT) !== 0,
        ...(result.chunk && { chunk: result.chunk }),
      }));
  }

  /**
   * What `rerank` with the same arguments would compute, without computing it.
   *
   * @returns Tokens and cuts of each pair, the batches they go in, and the memory that takes. Calls made at the same time share
   *   batches, which a plan of one call does not know.
   * @throws As `rerank`, but for texts that are too long: those are told.
   */
  async plan(query: string, documents: readonly RerankDocument[], options: RerankOptions = {}): Promise<RerankPlan> {
    if (typeof query !== "string") throw new TypeError(`Expected \`query\` to be a string, got \`${show(query)}\``);
    const texts = checkDocuments(documents);
    const { facts, models } = this.#loaded;
    const settings = resolveRerankOptions(facts, this.#loaded.options, options);
    this.#throwIfClosed();
    const chunks = settings.overflow === "chunk" ? await this.#chunk(query, texts, settings) : undefined;
    const spec = this.#encodeSpec(settings);
    const lay = (text: string, index: number, chunk?: TextSpan): LaidOutPair => {
      const pair = this.#call((model) => model.encodePair(this.#asQuery(query), this.#asDocument(text), spec));
      return { index, tokens: pair.inputIds.length, queryTokens: pair.queryLength, cut: pair.truncated, ...(chunk && { chunk }) };
    };
    const pairs = chunks
      ? await layOut(chunks, ({ index, start, end }) => lay(texts[index]?.slice(start, end) ?? "", index, { start, end }), settings.signal)
      : await layOut([...texts.entries()], ([index, text]) => lay(text, index), settings.signal);
    const devices = (settings.cascade.length > 0 ? models.slice(0, 1) : models).map((model) => model.info);
    return planRerank(pairs, { ...settings, sharePrefix: facts.layout.kind === "prompt" }, facts, devices);
  }

  /** Token ids of a text as it stands: no instruction, no special tokens around it. */
  tokenize(text: string): Int32Array {
    if (typeof text !== "string") throw new TypeError(`Expected \`text\` to be a string, got \`${show(text)}\``);
    return this.#call((model) => model.encode(text, this.#loaded.options.parseSpecialTokens ?? true));
  }

  /** Exactly what the model is fed for a pair: instructions, special tokens, truncation and prompt included. */
  encodePair(query: string, passage: string, options: EncodeOptions = {}): EncodedInput {
    checkPairs([query, passage]);
    const settings = resolveEncodeOptions(this.#loaded.facts, this.#loaded.options, options);
    const pair = this.#call((model) => model.encodePair(this.#asQuery(query), this.#asDocument(passage), this.#encodeSpec(settings)));
    return {
      inputIds: pair.inputIds,
      tokenTypeIds: pair.tokenTypes,
      truncated: pair.truncated !== 0,
      queryTruncated: (pair.truncated & QUERY_CUT) !== 0,
      documentTruncated: (pair.truncated & DOCUMENT_CUT) !== 0,
    };
  }

  /** Frees the model once the calls in flight are done; later calls reject with `CLOSED`. Calling it again is fine. */
  dispose(): Promise<void> {
    this.#closing ??= Promise.all(this.#loaded.models.map((model) => model.close())).then(() => undefined);
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #scoreWhole(query: string, texts: readonly string[], settings: RerankSettings): Promise<RankedText[]> {
    const result = await this.#score(
      texts.map((text) => [query, text]),
      settings,
      settings,
    );
    const last = result.logits.length - texts.length; // the highest cutoff layer
    return texts
      .map((_, index) => ({
        index,
        logit: result.logits[last + index] ?? Number.NaN,
        tokens: result.tokens[index] ?? 0,
        cut: result.truncated[index] ?? 0,
      }))
      .filter(({ logit }) => !Number.isNaN(logit)); // what a cascade dropped
  }

  #chunk(query: string, texts: readonly string[], settings: RerankSettings): Promise<Chunk[]> {
    const spec = this.#encodeSpec(settings);
    const measure = {
      countTokens: (text: string) => this.#call((model) => model.encode(text, settings.parseSpecialTokens)).length,
      encodePair: (text: string) => {
        const pair = this.#call((model) => model.encodePair(this.#asQuery(query), this.#asDocument(text), spec));
        return { length: pair.inputIds.length, cut: (pair.truncated & DOCUMENT_CUT) !== 0 };
      },
    };
    return chunkDocuments(texts, measure, settings);
  }

  async #scoreChunks(query: string, texts: readonly string[], settings: RerankSettings): Promise<RankedText[]> {
    const chunks = await this.#chunk(query, texts, settings);
    const pairs = chunks.map(({ index, start, end }): Pair => [query, texts[index]?.slice(start, end) ?? ""]);
    const result = await this.#score(pairs, settings);
    return bestChunks(chunks, result).map((best) => ({ ...best, cut: best.unread ? best.cut | DOCUMENT_CUT : best.cut }));
  }

  async #score(pairs: readonly Pair[], settings: ScoreSettings, ranking?: RerankSettings): Promise<ScoreResult> {
    this.#throwIfClosed();
    settings.signal?.throwIfAborted();
    if (pairs.length === 0) return { logits: new Float32Array(), tokens: new Int32Array(), truncated: new Uint8Array() };
    const instructed = pairs.map(([query, document]): Pair => [this.#asQuery(query), this.#asDocument(document)]);
    const request = this.#requestSettings(settings, ranking);
    return scorePairs(this.#loaded.models, instructed, { settings: request, signal: settings.signal, onProgress: settings.onProgress });
  }

  #requestSettings(settings: ScoreSettings, ranking: RerankSettings | undefined): RequestSettings {
    const cascade = ranking?.cascade ?? [];
    // Every stage reads the head that a call with its layer alone would read.
    const stages = cascade.map(({ layer }) => ({ layer, head: headOf(this.#loaded.facts, settings.headSelection, layer, 0) }));
    const cutoffs = [...stages, ...settings.cutoffs];
    return {
      ...this.#encodeSpec(settings),
      cutoffLayers: Int32Array.from(cutoffs, ({ layer }) => layer),
      heads: Int32Array.from(cutoffs, ({ head }) => head),
      compressLayers: Int32Array.from(settings.compressLayers),
      compressRatio: settings.compressRatio,
      attentionSoftcap: settings.attentionSoftcap,
      sharePrefix: this.#loaded.facts.layout.kind === "prompt",
      maxBatchTokens: settings.maxBatchTokens,
      batchSize: settings.batchSize,
      failOnTruncation: ranking?.overflow === "error",
      cascade,
    };
  }

  #encodeSpec(settings: ScoreSettings): EncodeSpec {
    const { facts } = this.#loaded;
    const ids = (text: string) => (facts.layout.kind === "prompt" ? this.#call((model) => model.encode(text, true)) : new Int32Array());
    return {
      maxLength: settings.maxLength,
      queryMaxLength: settings.queryMaxLength,
      parseSpecial: settings.parseSpecialTokens,
      separator: ids(facts.defaults.separator),
      prompt: ids(settings.prompt),
    };
  }

  #call<T>(work: (model: NativeModel) => T): T {
    this.#throwIfClosed();
    try {
      return work(this.#loaded.models[0]);
    } catch (error) {
      throw asRerankerError(error, "COMPUTE_FAILED");
    }
  }

  #throwIfClosed(): void {
    if (this.#closing) throw new RerankerError("CLOSED", "This reranker was disposed of; load the model again");
  }
}

interface RankedText {
  readonly index: number;
  readonly logit: number;
  readonly tokens: number;
  readonly cut: number;
  readonly chunk?: TextSpan & { readonly count: number };
}

/** In double on the float32 logit, as the reference. A large exp() is Infinity here, so both ends are exact. */
function sigmoid(logit: number): number {
  return 1 / (1 + Math.exp(-logit));
}

function checkPairs(pairs: unknown): readonly Pair[] {
  if (!Array.isArray(pairs)) throw new TypeError(`Expected a pair [query, passage] or an array of pairs, got \`${show(pairs)}\``);
  const list: unknown[] = typeof pairs[0] === "string" ? [pairs] : pairs;
  for (const [i, pair] of list.entries()) {
    if (Array.isArray(pair) && pair.length === 2 && typeof pair[0] === "string" && typeof pair[1] === "string") continue;
    const where = list === pairs ? `pair ${i}` : "the pair";
    throw new TypeError(`Expected ${where} to be exactly [query, passage], two strings, got \`${show(pair)}\``);
  }
  return list as Pair[];
}

function checkDocuments(documents: unknown): string[] {
  if (!Array.isArray(documents)) throw new TypeError(`Expected \`documents\` to be an array, got \`${show(documents)}\``);
  return documents.map((document: unknown, i) => {
    const text = typeof document === "object" && document !== null && "text" in document ? document.text : document;
    if (typeof text === "string") return text;
    throw new TypeError(`Expected document ${i} to be a string or an object with a string \`text\`, got \`${show(document)}\``);
  });
}

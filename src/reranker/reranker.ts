// Reranker: a loaded model, its calls, its end.

import type { EncodedPair, EncodeSpec, NativeModel, NativeTemplatePart, ScoreResult } from "../addon/native.js";
import { show } from "../checks.js";
import { asRerankerError, RerankerError } from "../errors.js";
import type { ChatTemplate } from "../models/index.js";
import { reporting } from "../reporting.js";
import type { Progress } from "../sources/progress.js";
import { type CalibratedCall, calibratedScore } from "./calibration.js";
import { handOver } from "./crossing.js";
import { scoreDistinct } from "./distinct.js";
import { type RerankDocument, type TextOf, type TextSource, textOf, textsOf } from "./documents.js";
import { compileInstruction, type Instruct } from "./instruction.js";
import { Life } from "./life.js";
import { type LoadedModel, openModel } from "./load.js";
import { describeLoaded, type RerankerModel } from "./model-description.js";
import {
  checkInstructions,
  checkRerankOptions,
  checkTopOptions,
  type EncodeOptions,
  type InstructionOptions,
  type LoadOptions,
  type RerankOptions,
  type RerankTopOptions,
  type ScoreOptions,
  type StreamOptions,
} from "./options.js";
import { bestChunks, type Chunk, chunkDocuments, type TextSpan } from "./overflow.js";
import { Pace } from "./pace.js";
import { layOut, planRerank, type RerankPlan } from "./plan.js";
import { NO_CACHE } from "./score-cache.js";
import { type Pair, type RequestSettings, scorePairs, type WindowedPair } from "./scoring.js";
import {
  calibratedCall,
  headOf,
  type RerankSettings,
  resolveEncodeOptions,
  resolveRerankOptions,
  resolveScoreOptions,
  type ScoreSettings,
} from "./settings.js";
import { CallCounter, type RerankerStats } from "./stats.js";
import { scoreStream } from "./stream.js";
import { budgetLayers, readTop } from "./top.js";
import { bestWindows, type DocumentWindow, type TokenWindow, windowDocuments } from "./windows.js";

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
  readonly #calls = new CallCounter();
  #life = new Life();
  /** Of a view of another reranker's model: that its own use has ended. */
  #ended: Promise<void> | undefined;
  /** Whether another reranker owns the model. */
  #borrowed = false;

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
    return (await this.computeScoreDetails(pairs, options)).scores;
  }

  /** As `computeScore`, and what the model read of each pair. */
  async computeScoreDetails(pairs: Pair | readonly Pair[], options: ScoreOptions = {}): Promise<ScoreDetails> {
    const texts = checkPairs(pairs);
    const count = texts.length / 2;
    const settings = resolveScoreOptions(this.#loaded.facts, this.#loaded.options, options);
    return this.#run(async () => {
      const { logits, tokens, truncated } = await this.#score(count, (i) => [texts[2 * i] ?? "", texts[2 * i + 1] ?? ""], settings);
      const pace = new Pace(undefined);
      const toScore = scoreOf(settings);
      const scores: number[] = [];
      await pace.times(logits.length, (i) => scores.push(toScore(logits[i] as number)));
      const cut: boolean[] = [];
      await pace.times(count, (i) => cut.push(truncated[i] !== 0));
      const isOne = settings.cutoffs.length < 2 || count === 0;
      return {
        scores: isOne ? scores : settings.cutoffs.map((_, c) => scores.slice(c * count, (c + 1) * count)),
        tokens,
        truncated: cut,
      };
    });
  }

  /**
   * Ranks documents for a query, best first; equal scores keep the order given.
   *
   * @param query - Cut to 3/4 of `maxLength` tokens, as FlagEmbedding does, unless the model's `truncation` is another.
   * @param documents - Texts, objects with a `text`, or any objects with the option `field` or `text` that says where theirs is.
   * @returns One result a document, or the best `topN` that reach `minScore`.
   * @throws {RerankerError} As `computeScore`; `TRUNCATED` with `overflow: "error"` when a text does not fit.
   *
   * @example
   * await reranker.rerank(query, hits, { field: "pageContent", topN: 5 });
   * await reranker.rerank(query, rows, { text: (row) => `${row.title}\n${row.body}` });
   */
  rerank<const D>(query: string, documents: readonly D[], options: RerankOptions & TextOf<D>): Promise<RerankResult<D>[]>;
  /**
   * Scores documents as they arrive. Results come as they finish, in the order of the documents and not ranked; while a group is
   * computed the next is read, so that memory does not grow with the source.
   *
   * @example
   * for await (const { document, score } of reranker.rerank(query, cursor, { minScore: 0 })) show(document, score);
   */
  rerank<const D>(query: string, documents: AsyncIterable<D>, options: StreamOptions & TextOf<D>): AsyncGenerator<RerankResult<D>>;
  rerank<const D extends RerankDocument>(
    query: string,
    documents: AsyncIterable<D>,
    options?: StreamOptions,
  ): AsyncGenerator<RerankResult<D>>;
  rerank<const D extends RerankDocument>(query: string, documents: readonly D[], options?: RerankOptions): Promise<RerankResult<D>[]>;
  rerank<const D>(
    query: string,
    documents: readonly D[] | AsyncIterable<D>,
    options: RerankOptions & TextSource = {},
  ): Promise<RerankResult<D>[]> | AsyncGenerator<RerankResult<D>> {
    return isAsyncIterable(documents) ? this.#rerankStream(query, documents, options) : this.#rerankAll(query, documents, options);
  }

  /**
   * Spends a time budget on the hits of a first stage: scores them best first until the budget ends. Models with cutoff layers use
   * half of it to read hits up to an early layer, and the rest to read the best of them up to the cutoff layer.
   *
   * The first four hits are read whatever they take, so that there are results; after them, work that would end too late is not
   * begun or is cancelled.
   *
   * @param hits - Best first, as the first stage ranked them.
   * @throws As `rerank`.
   *
   * @example
   * const { results, rest, read } = await reranker.rerankTop(query, hits, { keep: 5, budgetMs: 200 });
   */
  rerankTop<const D>(query: string, hits: readonly D[], options: RerankTopOptions & TextOf<D>): Promise<RankedTop<D>>;
  rerankTop<const D extends RerankDocument>(query: string, hits: readonly D[], options: RerankTopOptions): Promise<RankedTop<D>>;
  async rerankTop<const D>(query: string, hits: readonly D[], options: RerankTopOptions & TextSource): Promise<RankedTop<D>> {
    const { keep, budgetMs, ...rest } = checkTopOptions(options);
    const settings = resolveRerankOptions(this.#loaded.facts, this.#loaded.options, rest);
    const texts = textsOf(hits, rest);
    const given = [...hits];
    const { field: _field, text: _text, minScore: _minScore, calibration: _calibration, ...scoring } = rest;
    const rerank = (documents: readonly string[], layer: number | undefined, signal: AbortSignal | undefined) =>
      this.#rerankAll(query, documents, { ...scoring, normalize: false, cutoffLayers: layer, signal });
    const layers = budgetLayers(this.#loaded.facts.cutoffLayers, settings.cutoffs.at(-1)?.layer);
    const { best, ...counts } = await readTop({ texts, layers, budgetMs, signal: settings.signal, rerank });
    const results = best.map((result) => ({ ...result, ...this.#judge(result.logit, settings), document: given[result.index] as D }));
    return {
      results: results.filter(({ score }) => score >= settings.minScore).slice(0, keep),
      ...counts,
      rest: counts.rest.map((hit) => given[hit] as D),
    };
  }

  async *#rerankStream<D>(
    query: string,
    documents: AsyncIterable<D>,
    options: RerankOptions & TextSource,
  ): AsyncGenerator<RerankResult<D>> {
    for (const name of ["topN", "cascade"] as const) {
      if ((options[name] ?? null) === null) continue;
      throw new TypeError(`\`${name}\` needs all documents at once: collect them in an array, or rank the results when all are there`);
    }
    const { field, text, onProgress, ...rest } = options;
    checkRerankOptions(options);
    const score = async (group: readonly D[], start: number) => {
      const texts = group.map((document, i) => textOf(document, start + i, { field, text }));
      const report = onProgress && (({ done }: Progress) => onProgress({ done: start + done, total: start + group.length }));
      const results = await this.#rerankAll(query, texts, { ...rest, onProgress: report });
      return results
        .sort((a, b) => a.index - b.index)
        .map((result) => ({ ...result, index: start + result.index, document: group[result.index] as D }));
    };
    yield* scoreStream(documents, score, options.signal ?? undefined);
  }

  #judge(logit: number, settings: ScoreSettings): Pick<RerankResult, "score" | "relevant"> {
    const threshold = settings.calibration?.threshold;
    return { score: scoreOf(settings)(logit), ...(threshold && { relevant: logit >= threshold.logit }) };
  }

  async #rerankAll<D>(query: string, documents: readonly D[], options: RerankOptions & TextSource): Promise<RerankResult<D>[]> {
    if (typeof query !== "string") throw new TypeError(`Expected \`query\` to be a string, got \`${show(query)}\``);
    const settings = resolveRerankOptions(this.#loaded.facts, this.#loaded.options, options);
    const texts = textsOf(documents, options);
    const given = documents.slice(); // the caller's array may change while the call runs
    return this.#run(async () => {
      const scored = await this.#scoreTexts(query, texts, settings);
      const pace = new Pace(undefined);
      const results: RerankResult<D>[] = [];
      const order = await rank(this.#loaded.models[0], scored.logits);
      await pace.times(order.length, (i) => {
        if (results.length >= settings.topN) return;
        const result = scored.at(order[i] as number);
        const { score, ...judged } = this.#judge(result.logit, settings);
        if (!(score >= settings.minScore)) return; // NaN: dropped by a cascade
        results.push({
          index: result.index,
          score,
          logit: result.logit,
          ...judged,
          document: given[result.index] as D,
          tokens: result.tokens,
          truncated: (result.cut & (QUERY_CUT | DOCUMENT_CUT)) !== 0,
          queryTruncated: (result.cut & QUERY_CUT) !== 0,
          ...(result.chunk && { chunk: result.chunk }),
          ...(result.window && { window: result.window }),
        });
      });
      return results;
    });
  }

  /**
   * What `rerank` with the same arguments would compute, without computing it.
   *
   * @returns Tokens and cuts of each pair, the batches they go in, and the memory that takes. Calls made at the same time share
   *   batches, which a plan of one call does not know.
   * @throws As `rerank`, but for texts that are too long: those are told.
   */
  plan(query: string, documents: readonly RerankDocument[], options?: RerankOptions): Promise<RerankPlan>;
  plan<const D>(query: string, documents: readonly D[], options: RerankOptions & TextOf<D>): Promise<RerankPlan>;
  async plan(query: string, documents: readonly unknown[], options: RerankOptions & TextSource = {}): Promise<RerankPlan> {
    if (typeof query !== "string") throw new TypeError(`Expected \`query\` to be a string, got \`${show(query)}\``);
    const { facts, models } = this.#loaded;
    const settings = resolveRerankOptions(facts, this.#loaded.options, options);
    const texts = textsOf(documents, options);
    return this.#run(async () => {
      if (settings.overflow === "window") {
        const { windows, around } = await this.#windows(query, texts, settings);
        const pairs = windows.map(({ index, start, end }) => ({ index, tokens: around + end - start, queryTokens: 0, cut: 0 }));
        const devices = models.map((model) => model.info);
        return planRerank(pairs, { ...settings, sharePrefix: false }, facts, devices, settings.signal);
      }
      const spec = this.#encodeSpec(settings);
      const chunks = settings.overflow === "chunk" ? await this.#chunk(query, texts, settings) : undefined;
      const itemOf = (text: string, index: number, chunk?: TextSpan) => ({
        index,
        pair: this.#instructed([query, text], settings),
        ...(chunk && { chunk }),
      });
      const items: ReturnType<typeof itemOf>[] = [];
      await new Pace(settings.signal).times(chunks?.length ?? texts.length, (i) => {
        const chunk = chunks?.[i];
        if (chunk)
          items.push(itemOf(texts[chunk.index]?.slice(chunk.start, chunk.end) ?? "", chunk.index, { start: chunk.start, end: chunk.end }));
        else items.push(itemOf(texts[i] ?? "", i));
      });
      const pairs = await this.#native((model) => layOut(model, items, spec, settings.signal));
      const devices = (settings.cascade.length > 0 ? models.slice(0, 1) : models).map((model) => model.info);
      return planRerank(pairs, { ...settings, sharePrefix: facts.layout.kind !== "pair" }, facts, devices, settings.signal);
    });
  }

  /**
   * Token ids of a text as it stands: no instruction, no special tokens around it. Runs on the JS thread, some 80 ms a megabyte:
   * `tokenizeAsync` is for large texts.
   */
  tokenize(text: string): Int32Array {
    if (typeof text !== "string") throw new TypeError(`Expected \`text\` to be a string, got \`${show(text)}\``);
    this.#throwIfClosed();
    return this.#call((model) => model.encode(text, this.#parseSpecial));
  }

  /** As `tokenize`, off the event loop. */
  async tokenizeAsync(text: string): Promise<Int32Array> {
    if (typeof text !== "string") throw new TypeError(`Expected \`text\` to be a string, got \`${show(text)}\``);
    return this.#run(() =>
      this.#native(async (model) => model.encodeAsync(await handOver(model, [text], new Pace(undefined)), this.#parseSpecial)),
    );
  }

  get #parseSpecial(): boolean {
    return this.#loaded.options.parseSpecialTokens ?? this.#loaded.facts.defaults.parseSpecialTokens;
  }

  /**
   * Exactly what the model is fed for a pair: instructions, special tokens, truncation and prompt included. Runs on the JS thread:
   * `encodePairAsync` is for large texts.
   */
  encodePair(query: string, passage: string, options: EncodeOptions = {}): EncodedInput {
    checkPairs([query, passage]);
    const settings = resolveEncodeOptions(this.#loaded.facts, this.#loaded.options, options);
    this.#throwIfClosed();
    return encodedInput(
      this.#call((model) => model.encodePair(...this.#instructed([query, passage], settings), this.#encodeSpec(settings))),
    );
  }

  /** As `encodePair`, off the event loop. */
  async encodePairAsync(query: string, passage: string, options: EncodeOptions = {}): Promise<EncodedInput> {
    checkPairs([query, passage]);
    const settings = resolveEncodeOptions(this.#loaded.facts, this.#loaded.options, options);
    return this.#run(async () => {
      const texts = this.#instructed([query, passage], settings);
      const spec = this.#encodeSpec(settings);
      return encodedInput(
        await this.#native(async (model) => model.encodePairAsync(await handOver(model, texts, new Pace(undefined)), spec)),
      );
    });
  }

  /** @internal What the logits of a `computeScore` call depend on, for `calibrate`. */
  calibratedCall(options: ScoreOptions): CalibratedCall {
    const { facts, options: atLoad } = this.#loaded;
    return calibratedCall(facts, resolveScoreOptions(facts, atLoad, options));
  }

  /** What waits and runs now, and what was done since loading. Cheap, and fine to read at any time, after `dispose()` too. */
  stats(): RerankerStats {
    const { models, cache } = this.#loaded;
    return { ...this.#calls.read(models.map((model) => model.stats())), ...(cache?.stats ?? NO_CACHE) };
  }

  /**
   * The same loaded model with other instructions. It shares weights, engine and cache and ends with this one; disposing of it
   * ends it alone.
   *
   * @throws {TypeError | RangeError} As `load`, for these options.
   */
  withInstructions(instructions: InstructionOptions): Reranker {
    checkInstructions(instructions);
    this.#throwIfClosed();
    const given = Object.entries(instructions).filter(([, value]) => value !== undefined);
    const view = new Reranker({ ...this.#loaded, options: { ...this.#loaded.options, ...Object.fromEntries(given) } });
    view.#borrowed = true;
    view.#life = this.#life;
    return view;
  }

  /** Frees the model once the calls in flight are done; later calls reject with `CLOSED`. Calling it again is fine. */
  dispose(): Promise<void> {
    if (this.#borrowed) {
      this.#ended ??= Promise.resolve();
      return this.#ended;
    }
    return this.#life.end(async () => {
      await Promise.all(this.#loaded.models.map((model) => model.close()));
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #scoreTexts(query: string, texts: readonly string[], settings: RerankSettings): Promise<ScoredTexts> {
    switch (settings.overflow) {
      case "chunk":
        return this.#scoreChunks(query, texts, settings);
      case "window":
        return this.#scoreWindows(query, texts, settings);
      case "truncate":
      case "error":
        return this.#scoreWhole(query, texts, settings);
      default:
        throw settings.overflow satisfies never;
    }
  }

  async #scoreWhole(query: string, texts: readonly string[], settings: RerankSettings): Promise<ScoredTexts> {
    const { logits, tokens, truncated } = await this.#score(texts.length, (i) => [query, texts[i] ?? ""], settings, settings);
    const last = logits.subarray(logits.length - texts.length); // of the highest cutoff layer
    return {
      logits: last,
      at: (index) => ({ index, logit: last[index] ?? Number.NaN, tokens: tokens[index] ?? 0, cut: truncated[index] ?? 0 }),
    };
  }

  #chunk(query: string, texts: readonly string[], settings: RerankSettings): Promise<Chunk[]> {
    const spec = this.#encodeSpec(settings);
    const measure = {
      countTokens: (text: string) => this.#call((model) => model.encode(text, settings.parseSpecialTokens)).length,
      encodePair: (text: string) => {
        const pair = this.#call((model) => model.encodePair(...this.#instructed([query, text], settings), spec));
        return { documentLength: pair.documentLength, cut: (pair.truncated & DOCUMENT_CUT) !== 0 };
      },
      encodeLarge: (text: string, pace: Pace) =>
        this.#native(async (model) => {
          const texts = await handOver(model, this.#instructed([query, text], settings), pace);
          const { documentLengths, truncated } = await model.measure({ ...spec, texts, pairs: Int32Array.of(0, 1) });
          return { documentLength: documentLengths[0] ?? 0, cut: ((truncated[0] ?? 0) & DOCUMENT_CUT) !== 0 };
        }),
    };
    return chunkDocuments(texts, measure, settings);
  }

  async #scoreChunks(query: string, texts: readonly string[], settings: RerankSettings): Promise<ScoredTexts> {
    const chunks = await this.#chunk(query, texts, settings);
    const pairOf = (i: number): Pair => {
      const { index, start, end } = chunks[i] as Chunk;
      return [query, texts[index]?.slice(start, end) ?? ""];
    };
    const best = bestChunks(chunks, await this.#score(chunks.length, pairOf, settings));
    return {
      logits: Float32Array.from(best, ({ logit }) => logit),
      at: (i) => {
        const { unread, ...text } = best[i] as (typeof best)[number];
        return { ...text, cut: unread ? text.cut | DOCUMENT_CUT : text.cut };
      },
    };
  }

  /** `around`: tokens of a pair beside the document. */
  async #windows(
    query: string,
    texts: readonly string[],
    settings: RerankSettings,
  ): Promise<{ windows: DocumentWindow[]; around: number }> {
    const count = (text: string) => this.#native(async (model) => (await model.encodeAsync([text], settings.parseSpecialTokens)).length);
    const [asRead] = this.#instructed([query, ""], settings);
    const { layout } = this.#loaded.facts;
    const specials = layout.kind === "pair" ? layout.before.length + layout.between.length + layout.after.length : 0;
    const around = specials + Math.min(await count(asRead), settings.queryMaxLength);
    const documents = texts.map((text) => this.#instructed([query, text], settings)[1]);
    return { windows: await windowDocuments(documents, count, settings.maxLength - around, settings), around };
  }

  async #scoreWindows(query: string, texts: readonly string[], settings: RerankSettings): Promise<ScoredTexts> {
    const { signal, onProgress } = settings;
    const { windows, around } = await this.#windows(query, texts, settings);
    if (windows.length === 0) return { logits: new Float32Array(), at: () => ({ index: 0, logit: Number.NaN, tokens: 0, cut: 0 }) };
    const request = this.#requestSettings(settings, settings);
    const tokens = windows.reduce((sum, { start, end }) => sum + around + end - start, 0);
    const result = await this.#calls.count(signal, { pairs: windows.length, tokens }, async (onSubmit) => {
      const pairs: WindowedPair[] = [];
      await new Pace(signal).times(windows.length, (i) => {
        const { index, start, end } = windows[i] as DocumentWindow;
        pairs.push([...this.#instructed([query, texts[index] ?? ""], settings), { start, end }]);
      });
      return scorePairs(this.#loaded.models, pairs, { settings: request, signal, onProgress, onSubmit });
    });
    const best = bestWindows(windows, result);
    return {
      logits: Float32Array.from(best, ({ logit }) => logit),
      at: (i) => {
        const { unread, ...text } = best[i] as (typeof best)[number];
        return { ...text, cut: unread ? text.cut | DOCUMENT_CUT : text.cut };
      },
    };
  }

  async #score(count: number, pairOf: (i: number) => Pair, settings: ScoreSettings, ranking?: RerankSettings): Promise<ScoreResult> {
    settings.signal?.throwIfAborted();
    if (count === 0) return { logits: new Float32Array(), tokens: new Int32Array(), truncated: new Uint8Array() };
    const request = this.#requestSettings(settings, ranking);
    const { models, cache } = this.#loaded;
    return reporting(settings, ({ signal, onProgress }) =>
      this.#calls.count(signal, { pairs: count, tokens: count * TOKENS_OF_A_PAIR }, async (onSubmit) => {
        const pairs: Pair[] = [];
        await new Pace(signal).times(count, (i) => pairs.push(this.#instructed(pairOf(i), settings)));
        return scoreDistinct(models, pairs, { settings: request, signal, onProgress, onSubmit }, cache);
      }),
    );
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
      sharePrefix: this.#loaded.facts.layout.kind !== "pair",
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
      truncation: settings.truncation,
      parseSpecial: settings.parseSpecialTokens,
      separator: ids(facts.defaults.separator),
      prompt: ids(settings.prompt),
      template: facts.template ? this.#template(facts.template, settings) : [],
    };
  }

  /** @throws {RangeError} A `maxLength` that leaves no room for the texts. */
  #template(template: ChatTemplate, { instruction, maxLength }: ScoreSettings): NativeTemplatePart[] {
    const parts = template.map((part): NativeTemplatePart => {
      if (typeof part === "string") return ["literal", part];
      return part.slot === "instruction" ? ["given", this.#strip(instruction ?? "")] : [part.slot, ""];
    });
    const lastText = template.findLastIndex((part) => typeof part !== "string");
    const closing = template.slice(lastText + 1).join("");
    const frame = this.#call((model) => model.encode(parts[0]?.[1] ?? "", true).length + model.encode(closing, true).length);
    if (maxLength > frame) return parts;
    throw new RangeError(`Expected \`maxLength\` to be above ${frame}, the tokens around the texts of a pair, got \`${maxLength}\``);
  }

  /** The texts of a pair as they are laid out. */
  #instructed([query, document]: Pair, { instruction }: ScoreSettings): Pair {
    const [before, after] = this.#loaded.facts.instructionFormat ?? [];
    const instructed = before !== undefined && instruction ? `${before}${instruction}${after}` : "";
    return [instructed + this.#strip(this.#asQuery(query)), this.#strip(this.#asDocument(document))];
  }

  #strip(text: string): string {
    return this.#loaded.facts.stripsTexts ? stripped(text) : text;
  }

  #call<T>(work: (model: NativeModel) => T): T {
    try {
      return work(this.#loaded.models[0]);
    } catch (error) {
      throw asRerankerError(error, "COMPUTE_FAILED");
    }
  }

  async #native<T>(work: (model: NativeModel) => Promise<T>): Promise<T> {
    try {
      return await work(this.#loaded.models[0]);
    } catch (error) {
      throw asRerankerError(error, "COMPUTE_FAILED");
    }
  }

  /** A call that dispose() waits for. */
  async #run<T>(call: () => Promise<T>): Promise<T> {
    this.#throwIfClosed();
    return this.#life.run(call);
  }

  #throwIfClosed(): void {
    if (this.#ended || this.#life.isEnding) throw new RerankerError("CLOSED", "This reranker was disposed of; load the model again");
  }
}

// For calls whose texts are not looked at yet.
const TOKENS_OF_A_PAIR = 128;

interface RankedText {
  readonly index: number;
  readonly logit: number;
  readonly tokens: number;
  readonly cut: number;
  readonly chunk?: TextSpan & { readonly count: number };
  readonly window?: TokenWindow & { readonly count: number };
}

/** Of texts in order, each one's logit, and what else there is of one when it is wanted. NaN: dropped by a cascade. */
interface ScoredTexts {
  readonly logits: Float32Array;
  readonly at: (i: number) => RankedText;
}

// Sorting more takes too long for the JS thread.
const SORTED_AT_ONCE = 10_000;

/** Places of the logits, best first; equal ones in order, NaN last. */
async function rank(model: NativeModel, logits: Float32Array): Promise<ArrayLike<number>> {
  if (logits.length > SORTED_AT_ONCE) return model.ranked(logits);
  const value = (i: number) => (Number.isNaN(logits[i]) ? Number.NEGATIVE_INFINITY : (logits[i] as number));
  return Array.from(logits, (_, i) => i).sort((a, b) => value(b) - value(a) || a - b);
}

function encodedInput(pair: EncodedPair): EncodedInput {
  return {
    inputIds: pair.inputIds,
    tokenTypeIds: pair.tokenTypes,
    truncated: pair.truncated !== 0,
    queryTruncated: (pair.truncated & QUERY_CUT) !== 0,
    documentTruncated: (pair.truncated & DOCUMENT_CUT) !== 0,
  };
}

function isAsyncIterable<D>(documents: readonly D[] | AsyncIterable<D>): documents is AsyncIterable<D> {
  return typeof (documents as Partial<AsyncIterable<D>> | null)?.[Symbol.asyncIterator] === "function";
}

// Python's str.isspace.
const WHITE_SPACE = new Set(
  "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000",
);

/** Python's str.strip(), which the templates of Jinja call. */
function stripped(text: string): string {
  let begin = 0;
  let end = text.length;
  while (begin < end && WHITE_SPACE.has(text.charAt(begin))) begin++;
  while (end > begin && WHITE_SPACE.has(text.charAt(end - 1))) end--;
  return text.slice(begin, end);
}

/** In double on the float32 logit, as the reference. A large exp() is Infinity here, so both ends are exact. */
function sigmoid(logit: number): number {
  return 1 / (1 + Math.exp(-logit));
}

function scoreOf({ normalize, calibration }: ScoreSettings): (logit: number) => number {
  if (calibration) return (logit) => calibratedScore(calibration, logit);
  return normalize ? sigmoid : Number;
}

/** @returns Query and passage of each pair, one after the other: a copy, since the caller's arrays may change while the call runs. */
function checkPairs(pairs: unknown): readonly string[] {
  if (!Array.isArray(pairs)) throw new TypeError(`Expected a pair [query, passage] or an array of pairs, got \`${show(pairs)}\``);
  const list: unknown[] = typeof pairs[0] === "string" ? [pairs] : pairs;
  const texts: string[] = [];
  for (let i = 0; i < list.length; i++) {
    const pair = list[i];
    if (Array.isArray(pair) && pair.length === 2) {
      const [query, passage] = pair;
      if (typeof query === "string" && typeof passage === "string") {
        texts.push(query, passage);
        continue;
      }
    }
    const where = list === pairs ? `pair ${i}` : "the pair";
    throw new TypeError(`Expected ${where} to be exactly [query, passage], two strings, got \`${show(pair)}\``);
  }
  return texts;
}

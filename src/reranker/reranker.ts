// Reranker: a loaded model, its calls, its end.

import type { EncodedPair, NativeModel } from "../addon/native.js";
import { show } from "../checks.js";
import { RerankerError } from "../errors.js";
import type { Progress } from "../sources/progress.js";
import { type CalibratedCall, calibratedScore } from "./calibration.js";
import { handOver } from "./crossing.js";
import { type RerankDocument, type TextOf, type TextSource, textOf, textsOf } from "./documents.js";
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
import type { TextSpan } from "./overflow.js";
import { Pace } from "./pace.js";
import { PairEncoder } from "./pair-encoder.js";
import { layOut, planRerank, type RerankPlan } from "./plan.js";
import type { EncodedInput, RankedTop, RerankResult, ScoreDetails } from "./results.js";
import { NO_CACHE } from "./score-cache.js";
import type { Pair } from "./scoring.js";
import { calibratedCall, resolveEncodeOptions, resolveRerankOptions, resolveScoreOptions, type ScoreSettings } from "./settings.js";
import { CallCounter, type RerankerStats } from "./stats.js";
import { scoreStream } from "./stream.js";
import { DOCUMENT_CUT, QUERY_CUT, TextScorer } from "./text-scorer.js";
import { budgetLayers, readTop } from "./top.js";

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
  readonly #calls = new CallCounter();
  readonly #pairs: PairEncoder;
  readonly #texts: TextScorer;
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
    this.#loaded = loaded;
    this.model = describeLoaded(loaded);
    this.#pairs = new PairEncoder(loaded);
    this.#texts = new TextScorer(loaded, this.#pairs, this.#calls);
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
      const { logits, tokens, truncated } = await this.#texts.scorePairs(
        count,
        (i) => [texts[2 * i] ?? "", texts[2 * i + 1] ?? ""],
        settings,
      );
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
      const scored = await this.#texts.score(query, texts, settings);
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
        const { windows, around } = await this.#texts.windows(query, texts, settings);
        const pairs = windows.map(({ index, start, end }) => ({ index, tokens: around + end - start, queryTokens: 0, cut: 0 }));
        const devices = models.map((model) => model.info);
        return planRerank(pairs, { ...settings, sharePrefix: false }, facts, devices, settings.signal);
      }
      const spec = this.#pairs.spec(settings);
      const chunks = settings.overflow === "chunk" ? await this.#texts.chunks(query, texts, settings) : undefined;
      const itemOf = (text: string, index: number, chunk?: TextSpan) => ({
        index,
        pair: this.#pairs.instructed([query, text], settings),
        ...(chunk && { chunk }),
      });
      const items: ReturnType<typeof itemOf>[] = [];
      await new Pace(settings.signal).times(chunks?.length ?? texts.length, (i) => {
        const chunk = chunks?.[i];
        if (chunk)
          items.push(itemOf(texts[chunk.index]?.slice(chunk.start, chunk.end) ?? "", chunk.index, { start: chunk.start, end: chunk.end }));
        else items.push(itemOf(texts[i] ?? "", i));
      });
      const pairs = await this.#pairs.native((model) => layOut(model, items, spec, settings.signal));
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
    return this.#pairs.call((model) => model.encode(text, this.#parseSpecial));
  }

  /** As `tokenize`, off the event loop. */
  async tokenizeAsync(text: string): Promise<Int32Array> {
    if (typeof text !== "string") throw new TypeError(`Expected \`text\` to be a string, got \`${show(text)}\``);
    return this.#run(() =>
      this.#pairs.native(async (model) => model.encodeAsync(await handOver(model, [text], new Pace(undefined)), this.#parseSpecial)),
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
      this.#pairs.call((model) => model.encodePair(...this.#pairs.instructed([query, passage], settings), this.#pairs.spec(settings))),
    );
  }

  /** As `encodePair`, off the event loop. */
  async encodePairAsync(query: string, passage: string, options: EncodeOptions = {}): Promise<EncodedInput> {
    checkPairs([query, passage]);
    const settings = resolveEncodeOptions(this.#loaded.facts, this.#loaded.options, options);
    return this.#run(async () => {
      const texts = this.#pairs.instructed([query, passage], settings);
      const spec = this.#pairs.spec(settings);
      return encodedInput(
        await this.#pairs.native(async (model) => model.encodePairAsync(await handOver(model, texts, new Pace(undefined)), spec)),
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

  /** A call that dispose() waits for. */
  async #run<T>(call: () => Promise<T>): Promise<T> {
    this.#throwIfClosed();
    return this.#life.run(call);
  }

  #throwIfClosed(): void {
    if (this.#ended || this.#life.isEnding) throw new RerankerError("CLOSED", "This reranker was disposed of; load the model again");
  }
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

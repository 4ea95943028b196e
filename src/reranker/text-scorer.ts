// From the texts of a call to their logits: whole, in chunks of text or in windows of tokens.

import type { ScoreResult } from "../addon/native.js";
import { reporting } from "../reporting.js";
import { handOver } from "./crossing.js";
import { scoreDistinct } from "./distinct.js";
import type { LoadedModel } from "./load.js";
import { bestChunks, type Chunk, chunkDocuments, type TextSpan } from "./overflow.js";
import { Pace } from "./pace.js";
import type { PairEncoder } from "./pair-encoder.js";
import { type Pair, type RequestSettings, scorePairs, type WindowedPair } from "./scoring.js";
import { headOf, type RerankSettings, type ScoreSettings } from "./settings.js";
import type { CallCounter } from "./stats.js";
import { bestWindows, type DocumentWindow, type TokenWindow, windowDocuments } from "./windows.js";

/** Bits that say what of a pair was cut. */
export const QUERY_CUT = 1;
export const DOCUMENT_CUT = 2;

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
export interface ScoredTexts {
  readonly logits: Float32Array;
  readonly at: (i: number) => RankedText;
}

export class TextScorer {
  readonly #loaded: LoadedModel;
  readonly #pairs: PairEncoder;
  readonly #calls: CallCounter;

  constructor(loaded: LoadedModel, pairs: PairEncoder, calls: CallCounter) {
    this.#loaded = loaded;
    this.#pairs = pairs;
    this.#calls = calls;
  }

  /** One score for each text, by the call's way with texts that are too long. */
  score(query: string, texts: readonly string[], settings: RerankSettings): Promise<ScoredTexts> {
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
    const { logits, tokens, truncated } = await this.scorePairs(texts.length, (i) => [query, texts[i] ?? ""], settings, settings);
    const last = logits.subarray(logits.length - texts.length); // of the highest cutoff layer
    return {
      logits: last,
      at: (index) => ({ index, logit: last[index] ?? Number.NaN, tokens: tokens[index] ?? 0, cut: truncated[index] ?? 0 }),
    };
  }

  chunks(query: string, texts: readonly string[], settings: RerankSettings): Promise<Chunk[]> {
    const spec = this.#pairs.spec(settings);
    const measure = {
      countTokens: (text: string) => this.#pairs.call((model) => model.encode(text, settings.parseSpecialTokens)).length,
      encodePair: (text: string) => {
        const pair = this.#pairs.call((model) => model.encodePair(...this.#pairs.instructed([query, text], settings), spec));
        return { documentLength: pair.documentLength, cut: (pair.truncated & DOCUMENT_CUT) !== 0 };
      },
      encodeLarge: (text: string, pace: Pace) =>
        this.#pairs.native(async (model) => {
          const texts = await handOver(model, this.#pairs.instructed([query, text], settings), pace);
          const { documentLengths, truncated } = await model.measure({ ...spec, texts, pairs: Int32Array.of(0, 1) });
          return { documentLength: documentLengths[0] ?? 0, cut: ((truncated[0] ?? 0) & DOCUMENT_CUT) !== 0 };
        }),
    };
    return chunkDocuments(texts, measure, settings);
  }

  async #scoreChunks(query: string, texts: readonly string[], settings: RerankSettings): Promise<ScoredTexts> {
    const chunks = await this.chunks(query, texts, settings);
    const pairOf = (i: number): Pair => {
      const { index, start, end } = chunks[i] as Chunk;
      return [query, texts[index]?.slice(start, end) ?? ""];
    };
    const best = bestChunks(chunks, await this.scorePairs(chunks.length, pairOf, settings));
    return {
      logits: Float32Array.from(best, ({ logit }) => logit),
      at: (i) => {
        const { unread, ...text } = best[i] as (typeof best)[number];
        return { ...text, cut: unread ? text.cut | DOCUMENT_CUT : text.cut };
      },
    };
  }

  /** `around`: tokens of a pair beside the document. */
  async windows(query: string, texts: readonly string[], settings: RerankSettings): Promise<{ windows: DocumentWindow[]; around: number }> {
    const count = (text: string) =>
      this.#pairs.native(async (model) => (await model.encodeAsync([text], settings.parseSpecialTokens)).length);
    const [asRead] = this.#pairs.instructed([query, ""], settings);
    const { layout } = this.#loaded.facts;
    const specials = layout.kind === "pair" ? layout.before.length + layout.between.length + layout.after.length : 0;
    const around = specials + Math.min(await count(asRead), settings.queryMaxLength);
    const documents = texts.map((text) => this.#pairs.instructed([query, text], settings)[1]);
    return { windows: await windowDocuments(documents, count, settings.maxLength - around, settings), around };
  }

  async #scoreWindows(query: string, texts: readonly string[], settings: RerankSettings): Promise<ScoredTexts> {
    const { signal, onProgress } = settings;
    const { windows, around } = await this.windows(query, texts, settings);
    if (windows.length === 0) return { logits: new Float32Array(), at: () => ({ index: 0, logit: Number.NaN, tokens: 0, cut: 0 }) };
    const request = this.#requestSettings(settings, settings);
    const tokens = windows.reduce((sum, { start, end }) => sum + around + end - start, 0);
    const result = await this.#calls.count(signal, { pairs: windows.length, tokens }, async (onSubmit) => {
      const pairs: WindowedPair[] = [];
      await new Pace(signal).times(windows.length, (i) => {
        const { index, start, end } = windows[i] as DocumentWindow;
        pairs.push([...this.#pairs.instructed([query, texts[index] ?? ""], settings), { start, end }]);
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

  /** Logits of pairs in order, [cutoff, pair]. */
  async scorePairs(count: number, pairOf: (i: number) => Pair, settings: ScoreSettings, ranking?: RerankSettings): Promise<ScoreResult> {
    settings.signal?.throwIfAborted();
    if (count === 0) return { logits: new Float32Array(), tokens: new Int32Array(), truncated: new Uint8Array() };
    const request = this.#requestSettings(settings, ranking);
    const { models, cache } = this.#loaded;
    return reporting(settings, ({ signal, onProgress }) =>
      this.#calls.count(signal, { pairs: count, tokens: count * TOKENS_OF_A_PAIR }, async (onSubmit) => {
        const pairs: Pair[] = [];
        await new Pace(signal).times(count, (i) => pairs.push(this.#pairs.instructed(pairOf(i), settings)));
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
      ...this.#pairs.spec(settings),
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
}

// A fake addon: models whose texts are one token per character and whose logit is a rule of the test's own.

import type {
  EncodeSpec,
  GgufHeader,
  GgufType,
  GgufValue,
  ModelSpec,
  NativeAddon,
  NativeModel,
  NativeStats,
  NativeTexts,
  ScoreRequest,
  ScoreResult,
} from "../../src/addon/native.js";
import type { Environment } from "../../src/reranker/load.js";

type Metadata = Record<string, readonly [GgufType, GgufValue]>;

const COMMON = (arch: string): Metadata => ({
  "general.architecture": ["string", arch],
  "reranker.model": ["string", `tiny-${arch}`],
  [`${arch}.block_count`]: ["u32", 8],
  [`${arch}.embedding_length`]: ["u32", 16],
  [`${arch}.attention.head_count`]: ["u32", 2],
  [`${arch}.context_length`]: ["u32", 64],
  "tokenizer.ggml.bos_token_id": ["u32", 1],
  "tokenizer.ggml.eos_token_id": ["u32", 2],
});

const HEADS: Metadata = { "reranker.head.start_layer": ["u32", 2], "reranker.head.layer_step": ["u32", 1] };

/** Metadata and tensors of one small model of each class. */
export const MODELS = {
  encoder: header(
    { ...COMMON("bert"), "reranker.class": ["string", "encoder-only-base"], "tokenizer.ggml.model": ["string", "t5"] },
    { "cls.weight": [16, 16], "cls.output.weight": [16, 1], "token_embd.weight": [16, 100] },
  ),
  llm: header(
    { ...COMMON("gemma"), "reranker.class": ["string", "decoder-only-base"], "reranker.token_id": ["u32", 7] },
    { "token_embd.weight": [16, 100] },
  ),
  layerwise: header(
    { ...COMMON("minicpm"), "reranker.class": ["string", "decoder-only-layerwise"], ...HEADS },
    { "reranker.head.weight": [16, 7] },
  ),
  lightweight: header(
    { ...COMMON("gemma2"), "reranker.class": ["string", "decoder-only-lightweight"], ...HEADS },
    { "reranker.head.weight": [16, 7] },
  ),
};

export function header(metadata: Metadata, tensors: Record<string, readonly number[]>): GgufHeader {
  return {
    version: 3,
    alignment: 32,
    dataOffset: 0,
    fileSizeBytes: 1234,
    metadata: Object.fromEntries(Object.entries(metadata).map(([key, [type, value]]) => [key, { type, value }])),
    tensors: Object.entries(tensors).map(([name, shape]) => ({ name, type: "F32", shape, offset: 0, sizeBytes: 4 })),
  };
}

/** The header with keys changed, or removed where the value is undefined. */
export function withMetadata(base: GgufHeader, changes: Record<string, readonly [GgufType, GgufValue] | undefined>): GgufHeader {
  const metadata = { ...base.metadata };
  for (const [key, change] of Object.entries(changes)) {
    if (change) metadata[key] = { type: change[0], value: change[1] };
    else delete metadata[key];
  }
  return { ...base, metadata };
}

export interface FakeOptions {
  readonly header?: GgufHeader;
  /** Logit of a pair after a cutoff layer. Default: characters the two texts share. */
  readonly logit?: (query: string, document: string, layer: number) => number;
  readonly devices?: readonly string[];
  /** Holds back every answer until it resolves. */
  readonly gate?: Promise<void>;
  readonly failWith?: { readonly code: string; readonly message: string };
  readonly encode?: (text: string) => number[];
  readonly stats?: Partial<NativeStats>;
}

export type FakeRequest = ScoreRequest & { readonly texts: readonly string[] };

/** What reached the native side. */
export interface FakeNative {
  readonly environment: Environment;
  readonly requests: FakeRequest[];
  readonly specs: ModelSpec[];
  readonly closed: string[];
  readonly cancelled: string[];
}

export function fakeNative(options: FakeOptions = {}): FakeNative {
  const calls = { requests: [] as FakeRequest[], specs: [] as ModelSpec[], closed: [] as string[], cancelled: [] as string[] };
  const addon = {
    readGguf: () => options.header ?? MODELS.encoder,
    readLeanGguf: async () => options.header ?? MODELS.encoder,
    cpu: () => ({ isa: "avx2", physicalCores: 4 }),
    loadModel: async (_: string, spec: ModelSpec) => {
      calls.specs.push(spec);
      return fakeModel(spec, options, calls);
    },
  } as Partial<NativeAddon> as NativeAddon;
  const environment: Environment = {
    addon: () => addon,
    openDevice: (name) => {
      const device = name ?? "cpu";
      if (!(options.devices ?? ["cpu"]).includes(device))
        throw Object.assign(new Error(`No device ${device}`), { code: "DEVICE_NOT_FOUND" });
      return device;
    },
    tokenizerSpec: () => ({ model: "unigram", normalizer: [], preTokenizer: [], addedTokens: [], options: [] }),
    convert: async () => {
      throw new Error("not in this test");
    },
  };
  return { environment, ...calls };
}

type Calls = Pick<FakeNative, "requests" | "closed" | "cancelled">;

const NO_STATS: NativeStats = {
  queuedCalls: 0,
  queuedPairs: 0,
  queuedTokens: 0,
  runningCalls: 0,
  runningPairs: 0,
  runningTokens: 0,
  computedPairs: 0,
  computedTokens: 0,
  batches: 0,
  truncatedPairs: 0,
  computeMs: 0,
  prefixHits: 0,
  prefixMisses: 0,
  prefixTokens: 0,
  prefixBytes: 0,
};

class FakeTexts implements NativeTexts {
  readonly all: string[] = [];
  add(texts: readonly string[]): void {
    this.all.push(...texts);
  }
  append(part: string): void {
    this.all.push((this.all.pop() ?? "") + part);
  }
}

const taken = (texts: readonly string[] | NativeTexts): readonly string[] => (texts instanceof FakeTexts ? texts.all : (texts as string[]));

function fakeModel(spec: ModelSpec, options: FakeOptions, calls: Calls): NativeModel {
  const encode = (text: string) => Int32Array.from(options.encode?.(text) ?? Array.from(text, (c) => c.codePointAt(0) ?? 0));
  return {
    info: {
      architecture: "fake",
      device: spec.device,
      isa: "avx2",
      layerCount: 8,
      hiddenSize: 16,
      headCount: 2,
      vocabularySize: 100,
      contextLength: 64,
      maxGraphTokens: spec.maxGraphTokens,
      maxPrefixBytes: spec.maxPrefixBytes,
      weightsSizeBytes: 1000,
      weightsLoaded: true,
    },
    encode,
    encodePair: (query, document, limits) => joinPair(spec, encode(query), encode(document), limits),
    texts: () => new FakeTexts(),
    encodeAsync: async (texts) => encode(taken(texts)[0] ?? ""),
    encodePairAsync: async (texts, limits) => {
      const [query = "", document = ""] = taken(texts);
      return joinPair(spec, encode(query), encode(document), limits);
    },
    measure: async ({ texts, pairs, ...limits }) => {
      const all = taken(texts);
      const sizes = Array.from({ length: pairs.length / 2 }, (_, i) =>
        joinPair(spec, encode(all[pairs[2 * i] ?? 0] ?? ""), encode(all[pairs[2 * i + 1] ?? 0] ?? ""), limits),
      );
      return {
        tokens: Int32Array.from(sizes, ({ inputIds }) => inputIds.length),
        queryLengths: Int32Array.from(sizes, ({ queryLength }) => queryLength),
        documentLengths: Int32Array.from(sizes, ({ documentLength }) => documentLength),
        truncated: Uint8Array.from(sizes, ({ truncated }) => truncated),
      };
    },
    importance: () => ({}),
    ranked: async (values) => Int32Array.from(values.keys()).sort((a, b) => (values[b] ?? 0) - (values[a] ?? 0) || a - b),
    score: (handedOver, onProgress) => {
      const request = { ...handedOver, texts: taken(handedOver.texts) };
      calls.requests.push(request);
      let cancelled = false;
      const promise = (options.gate ?? Promise.resolve()).then(() => {
        if (cancelled) throw Object.assign(new Error("cancelled"), { code: "CANCELLED" });
        if (options.failWith) throw Object.assign(new Error(options.failWith.message), { code: options.failWith.code });
        const result = fakeScores(spec, request, options, encode);
        onProgress?.(result.tokens.length, result.tokens.length);
        return result;
      });
      const cancel = () => {
        cancelled = true;
        calls.cancelled.push(spec.device);
      };
      return { promise, cancel };
    },
    stats: () => ({ ...NO_STATS, ...options.stats }),
    close: async () => {
      await options.gate;
      calls.closed.push(spec.device);
    },
  };
}

function joinPair(spec: ModelSpec, query: Int32Array, document: Int32Array, limits: EncodeSpec) {
  const around =
    spec.layout.kind === "pair"
      ? spec.layout.before.length + spec.layout.between.length + spec.layout.after.length
      : (spec.layout.kind === "prompt" ? spec.layout.bos.length : 0) + 2 * limits.separator.length + limits.prompt.length;
  const q = query.subarray(0, limits.queryMaxLength);
  const room = Math.max(
    1,
    limits.maxLength + (spec.layout.kind === "pair" ? 0 : limits.separator.length + limits.prompt.length) - around - q.length,
  );
  const d = document.subarray(0, room);
  const inputIds = new Int32Array(around + q.length + d.length);
  const truncated = (q.length < query.length ? 1 : 0) | (d.length < document.length ? 2 : 0);
  return {
    inputIds,
    tokenTypes: new Int32Array(inputIds.length),
    truncated,
    queryLength: q.length,
    documentLength: d.length,
    promptLength: limits.prompt.length,
  };
}

function fakeScores(spec: ModelSpec, request: FakeRequest, options: FakeOptions, encode: (text: string) => Int32Array): ScoreResult {
  const logit = options.logit ?? ((query, document) => new Set([...document].filter((c) => query.includes(c))).size);
  const count = request.pairs.length / 2;
  const layers = request.cutoffLayers.length > 0 ? [...request.cutoffLayers] : [0];
  const logits = new Float32Array(layers.length * count);
  const tokens = new Int32Array(count);
  const truncated = new Uint8Array(count);
  const texts = (p: number) =>
    [request.texts[request.pairs[2 * p] ?? 0] ?? "", request.texts[request.pairs[2 * p + 1] ?? 0] ?? ""] as const;
  let alive = Array.from({ length: count }, (_, p) => p);
  for (const [c, layer] of layers.entries()) {
    logits.fill(Number.NaN, c * count, (c + 1) * count);
    for (const p of alive) logits[c * count + p] = logit(...texts(p), layer);
    const stage = request.cascade.find((each) => each.layer === layer);
    if (stage) alive = alive.sort((a, b) => (logits[c * count + b] ?? 0) - (logits[c * count + a] ?? 0)).slice(0, stage.keep);
  }
  for (let p = 0; p < count; p++) {
    const [query, document] = texts(p);
    const pair = joinPair(spec, encode(query), encode(document), request);
    tokens[p] = pair.inputIds.length;
    truncated[p] = pair.truncated;
    if (request.failOnTruncation && pair.truncated) throw Object.assign(new Error(`Pair ${p} does not fit`), { code: "TRUNCATED" });
  }
  return { logits, tokens, truncated };
}

// Finds and loads the addon and the prebuilt ggml libraries it runs on. The types here are the edge between
// TypeScript and native/binding/: change both together.
import { existsSync } from "node:fs";
import path from "node:path";
import { RerankerError, type RerankerErrorCode } from "../errors.js";
import { localAddon, ownCachedAddon, prebuiltAddon, whyNotPrebuilt } from "./addon-files.js";
import { findGgml, type GgmlLibraries, modulesIn, onDisk } from "./ggml-libraries.js";
import { canIsolate, inPlace, type Placement, privateCopies, privateRoots } from "./isolate.js";
import { ownFile, requireFrom, throwIfBundled } from "./own-folder.js";
import { ggmlPrebuilt, ggmlVersion, packageVersion } from "./versions.js";

export { ggmlPrebuilt, packageVersion } from "./versions.js";

/** A ggml tensor type by its own name in capitals: F32, F16, BF16, Q8_0, Q4_K ... */
export type TensorType = string;

/** A value type of GGUF metadata. */
export type GgufType =
  | "u8" | "i8" | "u16" | "i16" | "u32" | "i32" | "u64" | "i64" | "f32" | "f64" | "bool" | "string"
  | "string[]" | "f32[]" | "i32[]" | "u32[]" | "u8[]" | "i8[]" | "bool[]" | "u16[]" | "i16[]" | "u64[]" | "i64[]" | "f64[]"; // biome-ignore format: one table

export type GgufValue = string | number | bigint | boolean | readonly string[] | ArrayLike<number> | readonly bigint[] | readonly boolean[];

export interface GgufTensor {
  readonly name: string;
  readonly type: TensorType;
  /** ggml order: fastest dimension first. */
  readonly shape: readonly number[];
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface GgufHeader {
  readonly version: number;
  readonly alignment: number;
  /** Where tensor data begins, bytes from the start of the file. */
  readonly dataOffset: number;
  readonly fileSizeBytes: number;
  readonly metadata: Readonly<Record<string, { readonly type: GgufType; readonly value: GgufValue }>>;
  readonly tensors: readonly GgufTensor[];
}

export interface TensorTypeInfo {
  readonly name: TensorType;
  /** Elements in one block, and the bytes the block takes. */
  readonly blockSize: number;
  readonly blockBytes: number;
  readonly quantized: boolean;
  /** Whether ggml_quantize_chunk makes it without an importance matrix. */
  readonly writable: boolean;
}

export interface NativeDevice {
  readonly name: string;
  readonly description: string;
  /** gpu: with memory of its own; igpu: integrated; software: a GPU's interface, computed by the CPU. */
  readonly kind: "cpu" | "gpu" | "igpu" | "accel" | "software";
  readonly memoryFreeBytes: number;
  readonly memoryTotalBytes: number;
}

/** What the tokenizer does around its vocabulary, compiled from tokenizer.json by tokenizer-spec.ts. */
export interface TokenizerSpec {
  readonly model: "unigram" | "bpe" | "wordpiece";
  /** Steps in order, each a name and its arguments, such as ["replace", " {2,}", "▁"]. */
  readonly normalizer: readonly (readonly string[])[];
  readonly preTokenizer: readonly (readonly string[])[];
  readonly addedTokens: readonly AddedToken[];
  /** Model settings as name and value strings, such as ["continuing_subword_prefix", "##"]. */
  readonly options: readonly (readonly string[])[];
}

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly normalized: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly singleWord: boolean;
}

/** Which ids stand before, between and after the two texts. */
export type InputLayout =
  | {
      readonly kind: "pair"; // before query between document after
      readonly before: readonly number[];
      readonly between: readonly number[];
      readonly after: readonly number[];
      /** Token type of everything from the document on: 1 for BERT, 0 for XLM-R. */
      readonly documentTokenType: 0 | 1;
      /** Id that is not read where pairs end with it; -1: none. */
      readonly padding: number;
    }
  | {
      readonly kind: "prompt"; // bos query separator document separator prompt
      readonly bos: readonly number[];
      /** Only query, separator and document count towards `maxLength`. */
      readonly frameOnTop: boolean;
    }
  | { readonly kind: "chat" }; // EncodeSpec.template

export interface ModelSpec {
  readonly device: string;
  readonly threads: number;
  readonly tokenizer: TokenizerSpec;
  readonly layout: InputLayout;
  /** Layers above this one are neither loaded nor run; 0 = all. */
  readonly maxLayer: number;
  /** Vocabulary id whose logit is the score (token-logit models), else -1. */
  readonly tokenId: number;
  /** The score is this sum of the labels' logits (causal decoders with labels), else empty. */
  readonly labelWeights: readonly number[];
  /** "native" keeps the file's precision; "fast" and "row-int8" are coarser opt-ins of the CPU kernels. */
  readonly weightMode: "native" | "fast" | "row-int8";
  /** Most tokens computed at once, a lone pair's too; 0 = as many as the engine likes. */
  readonly maxGraphTokens: number;
  /** Most bytes of hidden states that a cascade keeps; 0 = the engine's own limit. */
  readonly maxStateBytes: number;
  /** Most bytes of keys and values kept of what pairs begin with (causal models on our CPU kernels); 0 = none. */
  readonly maxPrefixBytes: number;
  /** Time without calls after which the weights are released until the next one; -1 = never. */
  readonly keepAliveMs: number;
  /** Keeps what `importance()` gives; on the CPU, where ggml's own kernels compute then. */
  readonly watched?: boolean;
}

export interface NativeModelInfo {
  readonly architecture: string;
  readonly device: string;
  /** Name of the CPU kernel level in use, or "" on other devices. */
  readonly isa: string;
  readonly layerCount: number;
  readonly hiddenSize: number;
  readonly headCount: number;
  readonly vocabularySize: number;
  /** Most tokens one pair may have; 0 = no hard limit. */
  readonly contextLength: number;
  /** As in ModelSpec. */
  readonly maxGraphTokens: number;
  /** As in ModelSpec; 0 where none are kept. */
  readonly maxPrefixBytes: number;
  /** Loaded or not. */
  readonly weightsSizeBytes: number;
  /** false: released after `keepAliveMs`, to be read again by the next call. */
  readonly weightsLoaded: boolean;
}

/** Literal text, whose special tokens are meant; text that the caller gives, such as an instruction; or one of the two texts. */
export type NativeTemplatePart = readonly [kind: "literal" | "given" | "query" | "document", text: string];

export interface EncodeSpec {
  readonly maxLength: number;
  readonly queryMaxLength: number;
  /** Pair layouts only. */
  readonly truncation: "only_second" | "longest_first";
  /** Texts that are cut lose their beginning. */
  readonly keepEnd: boolean;
  /** false: special tokens spelled in the texts are plain text. */
  readonly parseSpecial: boolean;
  /** Prompt layouts only. */
  readonly separator: Int32Array;
  readonly prompt: Int32Array;
  /** Chat layouts only: what a pair is made of, in order. */
  readonly template: readonly NativeTemplatePart[];
}

export interface ScoreRequest extends EncodeSpec {
  /** Distinct texts, instructions already applied. */
  readonly texts: readonly string[] | NativeTexts;
  /** [query, document] indices into `texts`, two per pair. */
  readonly pairs: Int32Array;
  /** Tokens of the document that are read, first and end: two per pair. Absent: all of every document. Encoders. */
  readonly windows?: Int32Array;
  /** Ascending, without duplicates; empty = the last layer. */
  readonly cutoffLayers: Int32Array;
  /** Row of the head matrix read after each cutoff layer; same length as cutoffLayers. */
  readonly heads: Int32Array;
  readonly compressLayers: Int32Array;
  readonly compressRatio: number;
  readonly attentionSoftcap: boolean;
  /** Share the tokens of equal queries inside a batch (causal models). */
  readonly sharePrefix: boolean;
  /** Most tokens in one graph; 0 = chosen from the request. */
  readonly maxBatchTokens: number;
  /** Most pairs in one graph; 0 = no limit. */
  readonly batchSize: number;
  /** true: reject with TRUNCATED, before computing, when a text would be cut. */
  readonly failOnTruncation: boolean;
  /** Cascade: after stage i only the best `keep` pairs of this request go on to the next cutoff layer. */
  readonly cascade: readonly { readonly layer: number; readonly keep: number }[];
}

export interface ScoreResult {
  /** [cutoff][pair] packed: logits[c * nPairs + p]; NaN for a pair that a cascade dropped before that cutoff. */
  readonly logits: Float32Array;
  /** Tokens of each pair as fed to the model. */
  readonly tokens: Int32Array;
  /** Per pair, bit 0: the query was cut, bit 1: the document was cut. */
  readonly truncated: Uint8Array;
}

export interface EncodedPair {
  readonly inputIds: Int32Array;
  readonly tokenTypes: Int32Array;
  readonly truncated: number;
  readonly queryLength: number;
  /** Tokens of the document that are left. */
  readonly documentLength: number;
  readonly promptLength: number;
}

/** Of one engine; reranker/stats.ts says what each means. */
export interface NativeStats {
  readonly queuedCalls: number;
  readonly queuedPairs: number;
  readonly queuedTokens: number;
  readonly runningCalls: number;
  readonly runningPairs: number;
  readonly runningTokens: number;
  readonly computedPairs: number;
  readonly computedTokens: number;
  readonly batches: number;
  readonly truncatedPairs: number;
  readonly computeMs: number;
  readonly prefixHits: number;
  readonly prefixMisses: number;
  readonly prefixTokens: number;
  readonly prefixBytes: number;
}

/** Texts handed over in steps, so that large ones do not hold the JS thread. Whoever takes them leaves it empty. */
export interface NativeTexts {
  /** Whole texts. */
  add(texts: readonly string[]): void;
  /** What the last text goes on with. A part must not end between two surrogates. */
  append(part: string): void;
}

/** One entry a pair. */
export interface PairSizes {
  readonly tokens: Int32Array;
  readonly queryLengths: Int32Array;
  readonly documentLengths: Int32Array;
  /** As in ScoreResult. */
  readonly truncated: Uint8Array;
}

export interface NativeTokenizer {
  encode(text: string, parseSpecial: boolean): Int32Array;
}

export interface NativeModel {
  readonly info: NativeModelInfo;
  encode(text: string, parseSpecial: boolean): Int32Array;
  encodePair(query: string, document: string, spec: EncodeSpec): EncodedPair;
  texts(): NativeTexts;
  /** As `encode` of one text and `encodePair` of two, off the event loop. */
  encodeAsync(text: readonly string[] | NativeTexts, parseSpecial: boolean): Promise<Int32Array>;
  encodePairAsync(texts: readonly string[] | NativeTexts, spec: EncodeSpec): Promise<EncodedPair>;
  /** What `encodePair` would give for each pair, without its ids. */
  measure(request: EncodeSpec & Pick<ScoreRequest, "texts" | "pairs">): Promise<PairSizes>;
  /** Places of the values, the largest first and equal ones in order. */
  ranked(values: Float32Array): Promise<Int32Array>;
  /** `onProgress(donePairs, totalPairs)` runs after each batch. Returns the job; `cancel` drops what has not started. */
  score(
    request: ScoreRequest,
    onProgress?: (done: number, total: number) => void,
  ): { readonly promise: Promise<ScoreResult>; cancel(): void };
  /** After `close()` too. */
  stats(): NativeStats;
  /** Of a model loaded `watched`: mean squares of what went into each weight matrix so far, one an input, by its GGUF name. */
  importance(): Record<string, Float32Array>;
  /** Waits for work in flight, then frees the weights. Idempotent. */
  close(): Promise<void>;
}

export interface NativeAddon {
  /** true: ggml is compiled in and there are no libraries to open. */
  readonly builtin: boolean;
  /** The libggml-base that a library loaded now would be bound to by its name; `ours`: the one that `open` chose. */
  held(base: string): { readonly version: string; readonly from: string; readonly ours: boolean } | undefined;
  /** Opens the ggml libraries; throws Error with `code` GGML_NOT_FOUND or GGML_VERSION. Idempotent. */
  open(libraries: { readonly base: string; readonly ggml: string; readonly version: string }): {
    readonly version: string;
    readonly commit: string;
    readonly from: string;
    readonly shared: boolean;
  };
  /** Score of a backend module on this machine (0 = unsupported), or the reason it does not load. */
  probe(path: string): { readonly path: string; readonly score: number; readonly error?: string };
  /** Maps a library that modules need, for good; returns why it does not load, or "". A bare name is left to the system. */
  preload(path: string): string;
  /** Registers a backend module; returns the names of its devices. */
  loadModule(path: string): string[];
  devices(): NativeDevice[];
  /** Our own CPU kernels: the instruction set in use and the cores counted. */
  cpu(): { readonly isa: string; readonly physicalCores: number };
  tensorTypes(): TensorTypeInfo[];
  readGguf(path: string): GgufHeader;
  /**
   * The same off the JS thread, and with what a load needs: of more than a thousand tokens only unknown, control and user defined ones
   * have their text, other long lists of texts are empty slots of the right number.
   */
  readLeanGguf(path: string): Promise<GgufHeader>;
  /** Writes magic, metadata and tensor table to a new file; the caller then writes each tensor's bytes at its offset. */
  writeGgufHeader(
    path: string,
    metadata: readonly (readonly [key: string, type: GgufType, value: GgufValue])[],
    tensors: readonly { readonly name: string; readonly type: TensorType; readonly shape: readonly number[] }[],
  ): GgufHeader;
  /**
   * Converts whole rows from one tensor type to another, off the event loop.
   * @param columns - elements per row; must be a multiple of the target type's block size.
   * @param importance - one a column: by what quantisers weigh errors.
   */
  convertRows(
    source: Uint8Array,
    sourceType: TensorType,
    targetType: TensorType,
    columns: number,
    importance?: Float32Array,
  ): Promise<Uint8Array>;
  loadTokenizer(ggufPath: string, spec: TokenizerSpec): NativeTokenizer;
  loadModel(ggufPath: string, spec: ModelSpec): Promise<NativeModel>;
}

interface Loaded {
  readonly addon: NativeAddon;
  readonly folder: string | undefined;
  readonly placement: Placement | undefined;
}

let loaded: Loaded | undefined;

function requireAddon(): NativeAddon {
  throwIfBundled();
  const remedy = "Run `npx bge-reranker build` to compile one on this machine (in a checkout: npm run build).";
  const found = findAddon(remedy);
  if (!found) {
    throw new RerankerError("ADDON_NOT_FOUND", `This package has no prebuilt addon for ${process.platform}-${process.arch}. ${remedy}`);
  }
  try {
    return requireFrom(ownFile ?? found)(found) as NativeAddon;
  } catch (cause) {
    const unfit = whyNotPrebuilt();
    const why = unfit ? `the prebuilt files do not run here: ${unfit}` : (cause as Error).message;
    throw new RerankerError("ADDON_NOT_FOUND", `The addon ${found} does not load: ${why}. ${remedy}`, { cause });
  }
}

/** A local build is there because somebody made it, so it comes first. */
function findAddon(remedy: string): string | undefined {
  if (existsSync(onDisk(localAddon))) return onDisk(localAddon);
  try {
    return ownCachedAddon(packageVersion) ?? [onDisk(prebuiltAddon)].find((file) => existsSync(file));
  } catch (cause) {
    throw new RerankerError("ADDON_NOT_FOUND", `${(cause as Error).message} ${remedy}`, { cause });
  }
}

/**
 * Opens the libraries under private names, unless the process already holds the same version: then that one is shared.
 * Private even when nobody else has ggml, since who comes later would run on our version of it.
 */
function openGgml(addon: NativeAddon, libraries: GgmlLibraries): Placement {
  const version = ggmlVersion;
  const open = (placement: Placement) => {
    addon.open({ base: placement.base, ggml: placement.ggml, version });
    return placement;
  };
  const held = addon.held(libraries.base);
  if (held?.ours) {
    const isPrivate = path.basename(held.from) !== path.basename(libraries.base);
    return open(isPrivate ? privateCopies(libraries, path.resolve(held.from, "..", "..")) : inPlace(libraries));
  }
  if (!canIsolate || held?.version === version) return open(inPlace(libraries));
  const reasons: string[] = [];
  for (const root of privateRoots()) {
    try {
      const placement = privateCopies(libraries, root);
      for (const file of modulesIn(libraries.folder, "cpu")) placement.module(file); // before the step without return
      return open(placement);
    } catch (error) {
      reasons.push(`${root}: ${(error as Error).message}`);
    }
  }
  if (!held) return open(inPlace(libraries));
  throw new RerankerError(
    "GGML_VERSION",
    `This process holds ggml ${held.version} from ${held.from}, and this package needs ggml ${version} beside it under a private name, ` +
      `but found no place for the copies. ${reasons.join("; ")}. Point XDG_CACHE_HOME or TMPDIR to a folder of this user's own on a file system that ` +
      `may run programs, or run the reranker in a child process.`,
  );
}

/** Registers the CPU module that rates itself highest on this processor. */
function loadCpuModule(addon: NativeAddon, folder: string, placement: Placement): void {
  const rated = modulesIn(folder, "cpu").map((file) => addon.probe(placement.module(file)));
  const best = rated.filter((m) => m.score > 0).sort((a, b) => b.score - a.score)[0];
  if (!best) {
    const reasons = rated.map((m) => `${path.basename(m.path)}: ${m.error ?? "needs instructions this processor lacks"}`);
    throw new RerankerError("GGML_NOT_FOUND", `No CPU backend in ${folder} fits this machine. ${reasons.join("; ")}`);
  }
  addon.loadModule(best.path);
}

function asRerankerError(error: unknown): RerankerError {
  if (error instanceof RerankerError) return error;
  const { code, message } = error as { code?: RerankerErrorCode; message: string };
  return new RerankerError(code ?? "GGML_NOT_FOUND", message, { cause: error });
}

/**
 * Loads the addon and the ggml libraries, once per process.
 *
 * @throws {RerankerError} `ADDON_NOT_FOUND`, `GGML_NOT_FOUND` or `GGML_VERSION`, each saying what to install.
 */
export function loadNative(): NativeAddon {
  if (loaded) return loaded.addon;
  const addon = requireAddon();
  try {
    if (addon.builtin) {
      addon.open({ base: "", ggml: "", version: ggmlVersion });
      loaded = { addon, folder: undefined, placement: undefined };
    } else {
      const libraries = findGgml(ggmlPrebuilt);
      const placement = openGgml(addon, libraries);
      if (!addon.devices().some((d) => d.kind === "cpu")) loadCpuModule(addon, libraries.folder, placement);
      loaded = { addon, folder: libraries.folder, placement };
    }
  } catch (error) {
    throw asRerankerError(error);
  }
  return loaded.addon;
}

/** Where the ggml libraries came from, once loadNative() has run: for further modules of the same build. */
export function openedLibraries(): { readonly folder: string | undefined; readonly placement: Placement | undefined } {
  return { folder: loaded?.folder, placement: loaded?.placement };
}

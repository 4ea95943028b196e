// Finds and loads the addon and the prebuilt ggml libraries it runs on. The types here are the edge between
// TypeScript and native/binding.cpp: change both together.

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
  readonly kind: "cpu" | "gpu" | "igpu" | "accel";
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
    }
  | {
      readonly kind: "prompt"; // bos query separator document separator prompt
      readonly bos: readonly number[];
    };

export interface ModelSpec {
  readonly device: string;
  readonly threads: number;
  readonly tokenizer: TokenizerSpec;
  readonly layout: InputLayout;
  /** Layers above this one are neither loaded nor run; 0 = all. */
  readonly maxLayer: number;
  /** Vocabulary id whose logit is the score (token-logit models), else -1. */
  readonly tokenId: number;
  /** "native" keeps the file's precision; "row-int8" is the faster opt-in of the CPU kernels. */
  readonly weightMode: "native" | "row-int8";
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
  readonly weightsSizeBytes: number;
}

export interface EncodeSpec {
  readonly maxLength: number;
  readonly queryMaxLength: number;
  /** false: special tokens spelled in the texts are plain text. */
  readonly parseSpecial: boolean;
  /** Prompt layouts only. */
  readonly separator: Int32Array;
  readonly prompt: Int32Array;
}

export interface ScoreRequest extends EncodeSpec {
  /** Distinct texts, instructions already applied. */
  readonly texts: readonly string[];
  /** [query, document] indices into `texts`, two per pair. */
  readonly pairs: Int32Array;
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
  readonly promptLength: number;
}

export interface NativeTokenizer {
  encode(text: string, parseSpecial: boolean): Int32Array;
}

export interface NativeModel {
  readonly info: NativeModelInfo;
  encode(text: string, parseSpecial: boolean): Int32Array;
  encodePair(query: string, document: string, spec: EncodeSpec): EncodedPair;
  /** `onProgress(donePairs, totalPairs)` runs after each batch. Returns the job; `cancel` drops what has not started. */
  score(request: ScoreRequest, onProgress?: (done: number, total: number) => void): { readonly promise: Promise<ScoreResult>; cancel(): void };
  /** Waits for work in flight, then frees the weights. Idempotent. */
  close(): Promise<void>;
}

export interface NativeAddon {
  /** Opens the ggml libraries; throws Error with `code` GGML_NOT_FOUND or GGML_VERSION. Idempotent. */
  open(libraries: { readonly base: string; readonly ggml: string; readonly version: string }): {
    readonly version: string;
    readonly commit: string;
    readonly from: string;
    readonly shared: boolean;
  };
  /** Score of a backend module on this machine (0 = unsupported), or the reason it does not load. */
  probe(path: string): { readonly path: string; readonly score: number; readonly error?: string };
  /** Registers a backend module; returns the names of its devices. */
  loadModule(path: string): string[];
  devices(): NativeDevice[];
  /** Our own CPU kernels: the instruction set in use and the cores counted. */
  cpu(): { readonly isa: string; readonly physicalCores: number };
  tensorTypes(): TensorTypeInfo[];
  readGguf(path: string): GgufHeader;
  /** Writes magic, metadata and tensor table to a new file; the caller then writes each tensor's bytes at its offset. */
  writeGgufHeader(
    path: string,
    metadata: readonly (readonly [key: string, type: GgufType, value: GgufValue])[],
    tensors: readonly { readonly name: string; readonly type: TensorType; readonly shape: readonly number[] }[],
  ): GgufHeader;
  /**
   * Converts whole rows from one tensor type to another, off the event loop.
   * @param columns - elements per row; must be a multiple of the target type's block size.
   */
  convertRows(source: Uint8Array, sourceType: TensorType, targetType: TensorType, columns: number): Promise<Uint8Array>;
  loadTokenizer(ggufPath: string, spec: TokenizerSpec): NativeTokenizer;
  loadModel(ggufPath: string, spec: ModelSpec): Promise<NativeModel>;
}

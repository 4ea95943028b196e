// What a conversion is asked for, and what it says of its work.

import type { TensorType } from "../addon/native.js";
import type { RerankClass } from "../models/index.js";
import type { TensorPlan } from "./tensor-plan.js";
import type { TypeFallback } from "./tensor-type.js";

export interface ConvertProgress {
  /** Bytes of weights read so far, and in all. */
  readonly done: number;
  readonly total: number;
  /** GGUF name of the tensor that was worked on last. */
  readonly tensor: string;
}

export interface ConvertOptions {
  /** Path of the new file. Default: `<name>-<OUTTYPE>.gguf` in the source folder. */
  readonly output?: string | undefined;
  /**
   * Type of the weight matrices: f32, f16, bf16, q8_0, q6_k, q4_k ... Norms, biases, score heads and small tables stay F32.
   *
   * Default f16: half the size of the published F32 weights, with 11 significant bits per weight where bf16 has 8, so that
   * scores move in the third or fourth decimal only.
   */
  readonly outtype?: string | undefined;
  /**
   * Weight matrices of another type: `{ "blk\\.[01]\\.attn_": "f16" }` gives those whose GGUF name the regular expression matches
   * that type. The first that matches decides.
   */
  readonly tensorTypes?: Readonly<Record<string, string>> | undefined;
  /** Folder of a peft LoRA adapter to merge. */
  readonly lora?: string | undefined;
  /**
   * Use of a language model: `decoder-only-base` for fine-tunes of FlagEmbedding's FlagLLMReranker on Qwen, whose checkpoints look
   * like those of Qwen3-Reranker and mxbai-rerank v2.
   *
   * Default: what the checkpoint's files say, else the architecture's own.
   */
  readonly class?: RerankClass | undefined;
  /** Name stored in the file. Default: the folder's, or the repository's in the Hugging Face cache. */
  readonly name?: string | undefined;
  /** Replace an existing file; without it that is an error. */
  readonly overwrite?: boolean | undefined;
  readonly onProgress?: ((progress: ConvertProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ConvertResult {
  readonly path: string;
  readonly name: string;
  readonly architecture: string;
  readonly class: RerankClass;
  /** How a language model is used: `qwen3-reranker`, `zerank`, `mxbai-v2`, `flag-llm`; null for the others. */
  readonly form: string | null;
  readonly outtype: TensorType;
  readonly sizeBytes: number;
  readonly tensorCount: number;
  readonly parameterCount: number;
  /** SHA-256 of the source's weight files, one after the other in name order. */
  readonly sourceSha256: string;
  /** Source tensors left out, with the reason. */
  readonly dropped: TensorPlan["dropped"];
  /** Names of weight files read, and of an index beside a single file, which is of an earlier save and was not. */
  readonly files: readonly string[];
  readonly ignoredFiles: readonly string[];
  /** Tensors that could not have the type asked for. */
  readonly fallbacks: readonly TypeFallback[];
  /** Tensors changed by the LoRA adapter. */
  readonly adapted: readonly string[];
}

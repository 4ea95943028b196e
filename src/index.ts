// What users may import, and nothing else.
export { RerankerError, type RerankerErrorCode } from "./errors.js";
export {
  type AutoOptions,
  FlagAutoReranker,
  FlagLLMReranker,
  FlagReranker,
  LayerWiseFlagLLMReranker,
  LightWeightFlagLLMReranker,
} from "./flag-rerankers.js";
export type { RerankerModel } from "./model-description.js";
export type { RerankClass } from "./models/index.js";
export {
  type CascadeStage,
  type EncodeOptions,
  type LoadOptions,
  type Progress,
  RERANK_PROMPTS,
  type RerankOptions,
  type ScoreOptions,
} from "./options.js";
export type { TextSpan } from "./overflow.js";
export { type EncodedInput, type RerankDocument, Reranker, type RerankResult } from "./reranker.js";
export type { Pair } from "./scoring.js";

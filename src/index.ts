// What users may import, and nothing else.
export { type ConvertOptions, type ConvertProgress, type ConvertResult, convert } from "./convert.js";
export { RerankerError, type RerankerErrorCode } from "./errors.js";
export * from "./eval.js";
export {
  type AutoOptions,
  FlagAutoReranker,
  FlagLLMReranker,
  FlagReranker,
  LayerWiseFlagLLMReranker,
  LightWeightFlagLLMReranker,
} from "./flag-rerankers.js";
export { type DeviceList, inspectModel, listDevices, type MemoryEstimate, type ModelFile } from "./inspect.js";
export type { RerankerModel } from "./model-description.js";
export { type KnownModel, type LocalModel, listModels, type ModelList } from "./model-list.js";
export { type FindOptions, findCheckpoint } from "./model-source.js";
export type { RerankClass } from "./models/index.js";
export { packageVersion as version } from "./native.js";
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
export type { PlannedBatch, PlannedPair, RerankPlan } from "./plan.js";
export { type PullOptions, pullModel } from "./pull.js";
export { type QuantizeOptions, type QuantizeResult, quantize } from "./quantize.js";
export { type EncodedInput, type RerankDocument, Reranker, type RerankResult } from "./reranker.js";
export type { Pair } from "./scoring.js";
export { type Verification, type VerifyCheck, type VerifyOptions, verifyModel } from "./verify.js";

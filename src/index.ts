// What users may import, and nothing else.

export { packageVersion as version } from "./addon/native.js";
export { convert } from "./convert/convert.js";
export type { Importance } from "./convert/importance.js";
export type { ConvertOptions, ConvertProgress, ConvertResult } from "./convert/options.js";
export { type QuantizeOptions, type QuantizeResult, quantize } from "./convert/quantize.js";
export { RerankerError, type RerankerErrorCode } from "./errors.js";
export * from "./eval/index.js";
export { type DeviceList, inspectModel, listDevices, type MemoryEstimate, type ModelFile } from "./gguf/inspect.js";
export type { RerankClass } from "./models/index.js";
export {
  type Calibration,
  type CalibrationCurve,
  type CalibrationThreshold,
  calibratedScore,
  parseCalibration,
} from "./reranker/calibration.js";
export type { RerankDocument, TextOf } from "./reranker/documents.js";
export {
  type AutoOptions,
  FlagAutoReranker,
  FlagLLMReranker,
  FlagReranker,
  LayerWiseFlagLLMReranker,
  LightWeightFlagLLMReranker,
} from "./reranker/flag-rerankers.js";
export { type FusedHit, type FuseOptions, fuse } from "./reranker/fuse.js";
export { type ImportanceOptions, measureImportance } from "./reranker/importance.js";
export type { RerankerModel } from "./reranker/model-description.js";
export {
  type CascadeStage,
  type EncodeOptions,
  type InstructionOptions,
  type LoadOptions,
  RERANK_PROMPTS,
  type RerankOptions,
  type RerankTopOptions,
  type ScoreOptions,
  type StreamOptions,
} from "./reranker/options.js";
export type { TextSpan } from "./reranker/overflow.js";
export type { PlannedBatch, PlannedPair, RerankPlan } from "./reranker/plan.js";
export { Reranker } from "./reranker/reranker.js";
export type { EncodedInput, RankedTop, RerankResult, ScoreDetails } from "./reranker/results.js";
export type { CacheOptions, CacheStats } from "./reranker/score-cache.js";
export type { Pair } from "./reranker/scoring.js";
export type { RerankerStats } from "./reranker/stats.js";
export { type KnownModel, type LocalModel, listModels, type ModelList } from "./sources/model-list.js";
export { type FindOptions, findCheckpoint } from "./sources/model-source.js";
export type { Progress } from "./sources/progress.js";
export { type PullOptions, pullModel } from "./sources/pull.js";
export { type Verification, type VerifyCheck, type VerifyOptions, verifyModel } from "./verify/verify.js";

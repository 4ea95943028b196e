// Evaluation of rerankers on retrieval data sets: what users may import of it.
export { Bm25, type Bm25Options } from "./bm25.js";
export {
  type CalibrateOptions,
  type CalibrationSource,
  calibrate,
  type FitOptions,
  fitCalibration,
  type LabelledPair,
} from "./calibrate.js";
export { type Dataset, type DatasetOptions, type DatasetProblems, type DatasetQuery, loadDataset } from "./dataset.js";
export { type EvaluateOptions, type Evaluation, evaluate, type Figures, type Gain, rank } from "./metrics.js";
export { type RerankDatasetOptions, type RerankedDataset, rerankDataset } from "./rerank.js";
export { formatRun, type Qrels, type Ranked, type Run } from "./run.js";
export { type LabelledLogit, type ThresholdFigures, thresholdFigures } from "./thresholds.js";

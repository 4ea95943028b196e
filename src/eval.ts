// Evaluation of rerankers on retrieval data sets: what users may import of it.
export { Bm25, type Bm25Options } from "./eval/bm25.js";
export { type Dataset, type DatasetOptions, type DatasetProblems, type DatasetQuery, loadDataset } from "./eval/dataset.js";
export { type EvaluateOptions, type Evaluation, evaluate, type Figures, type Gain, rank } from "./eval/metrics.js";
export { type RerankDatasetOptions, type RerankedDataset, rerankDataset } from "./eval/rerank.js";
export { formatRun, type Qrels, type Ranked, type Run } from "./eval/run.js";

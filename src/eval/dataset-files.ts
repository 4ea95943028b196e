// Where a data set's folder keeps its corpus, queries, judgements and run: BEIR's names, or those of the Parquet copies on the hub.
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { RerankerError } from "../errors.js";
import { findFirst, findTexts } from "../records/index.js";

export interface DatasetFiles {
  readonly corpus: readonly string[];
  readonly queries: readonly string[];
  readonly qrels: readonly string[];
  /** undefined: the built-in BM25. */
  readonly run: string | undefined;
}

export interface Wanted {
  readonly run?: string | undefined;
  readonly bm25?: boolean | undefined;
  readonly qrels?: string | undefined;
}

// Of several, the first that is there. MTEB keeps judgements of the split in the configuration `data` or `default`.
const QRELS = [
  "qrels.tsv",
  "qrels.txt",
  "qrels/test.tsv",
  "qrels/test.jsonl",
  "qrels.parquet",
  "qrels/test*.parquet",
  "data/test*.parquet",
  "default/test*.parquet",
];

/** @throws {RerankerError} `IO`: naming what the folder lacks. */
export async function findFiles(folder: string, wanted: Wanted): Promise<DatasetFiles> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    throw new RerankerError("IO", `Cannot read the folder ${folder}: ${error.message}`, { cause: error });
  });
  return {
    corpus: await findTexts(folder, "corpus"),
    queries: await findTexts(folder, "queries"),
    qrels: wanted.qrels ? [wanted.qrels] : await findFirst(folder, QRELS),
    run: wanted.bm25 ? undefined : (wanted.run ?? findRun(folder, names)),
  };
}

function findRun(folder: string, names: readonly string[]): string | undefined {
  const runs = names.filter((name) => /^bm25.*\.jsonl(\.gz|\.zst)?$|\.(run|trec)(\.gz|\.zst)?$/.test(name));
  if (runs.length > 1) throw new RerankerError("IO", `The folder ${folder} has several runs: ${runs.join(", ")}. Name one`);
  return runs[0] === undefined ? undefined : join(folder, runs[0]);
}

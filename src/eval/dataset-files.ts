// Where a data set's folder keeps its corpus, queries, judgements and run: BEIR's names, or those of the Parquet copies on the hub.
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { RerankerError } from "../errors.js";
import { expandFiles } from "../records/index.js";

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
const TEXTS = (name: string) => [`${name}.jsonl`, `${name}.parquet`, `${name}/*.parquet`, `${name}/*.jsonl`];
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
    corpus: await find(folder, TEXTS("corpus")),
    queries: await find(folder, TEXTS("queries")),
    qrels: wanted.qrels ? [wanted.qrels] : await find(folder, QRELS),
    run: wanted.bm25 ? undefined : (wanted.run ?? findRun(folder, names)),
  };
}

async function find(folder: string, wanted: readonly string[]): Promise<readonly string[]> {
  for (const name of wanted.flatMap(withPacked)) {
    if (!name.includes("*")) {
      if ((await stat(join(folder, name)).catch(() => undefined))?.isFile()) return [join(folder, name)];
      continue;
    }
    const [parent = "", pattern = ""] = name.split("/");
    const files = await expandFiles([join(folder, parent, pattern)]).catch(() => []);
    if (files.length > 0) return files;
  }
  throw new RerankerError("IO", `The folder ${folder} has no ${wanted.join(" or ")} (text files may also end in .gz or .zst)`);
}

function withPacked(name: string): readonly string[] {
  return name.endsWith(".parquet") ? [name] : [name, `${name}.gz`, `${name}.zst`];
}

function findRun(folder: string, names: readonly string[]): string | undefined {
  const runs = names.filter((name) => /^bm25.*\.jsonl(\.gz|\.zst)?$|\.(run|trec)(\.gz|\.zst)?$/.test(name));
  if (runs.length > 1) throw new RerankerError("IO", `The folder ${folder} has several runs: ${runs.join(", ")}. Name one`);
  return runs[0] === undefined ? undefined : join(folder, runs[0]);
}

// A file of reference cases in the format of test/golden: cases.json, or tokenization.json.
import { RerankerError } from "../errors.js";
import { type JsonObject, parseJsonObject } from "../files/json.js";
import { openRegular } from "../files/regular-file.js";
import { badLine, formatOf, readRows } from "../records/index.js";
import type { LoadOptions, ScoreOptions } from "../reranker/options.js";
import type { Pair } from "../reranker/scoring.js";

/** One case of the file. */
export interface GivenCase {
  readonly id: string;
  readonly atLoad: LoadOptions;
  readonly call: ScoreOptions;
  readonly pairs: readonly Pair[];
  /** Absent in cases of token ids. */
  readonly scores: readonly number[] | undefined;
  readonly counts: readonly number[] | undefined;
  readonly inputIds: readonly number[] | undefined;
  readonly gate: number;
  readonly skip: string | undefined;
}

const MAX_CASES_BYTES = 256 * 1024 * 1024;

/** A case file in the golden format, or a table of `query`, `passage` and `score`: JSONL, CSV, TSV or Parquet. */
export async function readCases(path: string): Promise<readonly GivenCase[]> {
  if (formatOf(path)) return readScoredPairs(path);
  const file = await openRegular(path, path);
  if (!file) throw new RerankerError("IO", `Cannot read ${path}: there is no such file`);
  try {
    if ((await file.stat()).size > MAX_CASES_BYTES) throw new RerankerError("IO", `${path} is too long for a file of cases`);
    const json = parseJsonObject(await file.readFile(), path);
    const list = json.cases ?? json.model_inputs;
    if (!Array.isArray(list))
      throw new RerankerError("IO", `${path} has neither \`cases\` nor \`model_inputs\`; see test/golden/README.md`);
    return list.map((each: unknown, i) => parseCase(each as JsonObject, `${path}, case ${i}`));
  } finally {
    await file.close();
  }
}

// One call each.
const PAIRS_A_CASE = 256;

async function readScoredPairs(path: string): Promise<readonly GivenCase[]> {
  const pairs: Pair[] = [];
  const scores: number[] = [];
  for await (const row of readRows(path, { columns: ["query", "passage", "document", "score"] })) {
    const { query, passage, document, score } = row.values;
    const text = passage ?? document;
    const number = typeof score === "string" && score.trim() !== "" ? Number(score) : score;
    if (typeof query !== "string" || typeof text !== "string" || typeof number !== "number" || !Number.isFinite(number)) {
      throw badLine(row, 'needs "query" and "passage", two strings, and "score", a number');
    }
    pairs.push([query, text]);
    scores.push(number);
  }
  const starts = Array.from({ length: Math.ceil(pairs.length / PAIRS_A_CASE) }, (_, i) => i * PAIRS_A_CASE);
  return starts.map((start) => ({
    id: `${start + 1}-${Math.min(start + PAIRS_A_CASE, pairs.length)}`,
    atLoad: {},
    call: {},
    pairs: pairs.slice(start, start + PAIRS_A_CASE),
    scores: scores.slice(start, start + PAIRS_A_CASE),
    counts: undefined,
    inputIds: undefined,
    gate: 1e-4,
    skip: undefined,
  }));
}

function parseCase(json: JsonObject, where: string): GivenCase {
  const object = (value: unknown) => (typeof value === "object" && value !== null ? (value as JsonObject) : {});
  const pairs = (json.pairs ?? (json.pair ? [json.pair] : undefined)) as readonly Pair[] | undefined;
  const isPair = (pair: unknown) => Array.isArray(pair) && pair.length === 2 && pair.every((text) => typeof text === "string");
  if (!Array.isArray(pairs) || !pairs.every(isPair)) throw new RerankerError("IO", `${where}: \`pairs\` must hold pairs of two strings`);
  const scores = numbersOf(json.scores, `${where}: \`scores\``);
  const inputIds = numbersOf(json.input_ids, `${where}: \`input_ids\``);
  if (!scores && !inputIds) throw new RerankerError("IO", `${where} has neither \`scores\` nor \`input_ids\``);
  const atLoad = camel(object(Object.hasOwn(json, "constructor") ? json.constructor : undefined));
  // Python's None switches an instruction off; here null is the default and an empty text switches off.
  for (const key of ["queryInstructionForRerank", "passageInstructionForRerank"]) if (atLoad[key] === null) atLoad[key] = "";
  const { normalize: _, ...call } = camel(object(json.compute_score)); // `scores` are logits
  const layers = call.cutoffLayers;
  const noise = typeof json.fp32_noise === "number" ? json.fp32_noise : 0;
  return {
    id: typeof json.id === "string" ? json.id : "tokens",
    atLoad,
    call,
    pairs,
    scores,
    counts: numbersOf(json.n_tokens, `${where}: \`n_tokens\``),
    inputIds,
    gate: Math.max(1e-4, 10 * noise), // ten times what float32 itself costs
    skip:
      Array.isArray(layers) && layers.some((layer, i) => i > 0 && layer < layers[i - 1])
        ? "unsorted cutoff layers mix heads in the reference"
        : undefined,
  };
}

function camel(options: JsonObject): Record<string, unknown> {
  const name = (key: string) => key.replace(/_(\w)/g, (_, c: string) => c.toUpperCase());
  return Object.fromEntries(Object.entries(options).map(([key, value]) => [name(key), value]));
}

function numbersOf(value: unknown, what: string): readonly number[] | undefined {
  if (value === undefined) return undefined;
  const flat = Array.isArray(value) ? value.flat() : [undefined];
  if (flat.every((item) => typeof item === "number")) return flat;
  throw new RerankerError("IO", `${what} must hold numbers`);
}

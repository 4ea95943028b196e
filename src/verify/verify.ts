// Does a file give the scores it should? Against published numbers of the known models, or cases in the golden format.

import * as is from "../checks.js";
import { RerankerError } from "../errors.js";
import { FlagAutoReranker } from "../reranker/flag-rerankers.js";
import type { LoadOptions, ScoreOptions } from "../reranker/options.js";
import type { Reranker } from "../reranker/reranker.js";
import type { Pair } from "../reranker/scoring.js";
import { FLOAT32_GATE, type ReferenceModel, type ReferenceTokens, referenceModels } from "./reference-cases.js";
import { type GivenCase, readCases } from "./verify-cases.js";

export interface VerifyOptions {
  /**
   * File of cases: `cases.json` or `tokenization.json` in the format of test/golden, or a JSONL, CSV, TSV or Parquet file of `query`,
   * `passage` and `score`.
   * @default the published numbers
   */
  readonly cases?: string | undefined;
  /** Differences up to this pass too, where the cases' own gate is narrower. */
  readonly tolerance?: number | undefined;
  readonly devices?: LoadOptions["devices"];
  readonly threads?: number | undefined;
  readonly revision?: string | undefined;
  readonly cacheDir?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: LoadOptions["onProgress"];
}

const optionChecks = {
  cases: is.name,
  tolerance: is.finite,
  devices: is.names,
  threads: is.integer(1),
  revision: is.name,
  cacheDir: is.name,
  signal: is.abortSignal,
  onProgress: is.callback,
} as const satisfies Record<keyof VerifyOptions, unknown>;

/** One comparison. */
export interface VerifyCheck {
  readonly id: string;
  readonly kind: "tokens" | "score";
  readonly pair: Pair;
  /** Scores, or how many token ids there are. */
  readonly expected: number;
  readonly got: number;
  /** Of the scores; of token ids, how many differ. */
  readonly difference: number;
  readonly gate: number;
  readonly ok: boolean;
}

export interface Verification {
  readonly model: string | null;
  readonly path: string;
  /** What it was compared with. */
  readonly against: string;
  readonly checks: readonly VerifyCheck[];
  /** Cases where this package differs from the reference on purpose, with the reason. */
  readonly skipped: readonly { readonly id: string; readonly why: string }[];
  readonly ok: boolean;
}

/**
 * Compares a model's token ids and scores with reference cases.
 *
 * @throws {RerankerError} `MODEL_NOT_FOUND` when there are no cases for the model, `IO` when the file of cases is not one.
 */
export async function verifyModel(modelNameOrPath: string, options: VerifyOptions = {}): Promise<Verification> {
  is.name("modelNameOrPath", modelNameOrPath);
  is.checkOptions("verifyModel", options, optionChecks, () => undefined);
  const { cases, devices, threads, revision, cacheDir, signal, onProgress } = options;
  const load = (more: LoadOptions = {}) =>
    FlagAutoReranker.fromFinetuned(modelNameOrPath, { devices, threads, revision, cacheDir, signal, onProgress, ...more });
  const given = cases === undefined ? undefined : await readCases(cases);
  const plain = await load();
  const { name, path } = plain.model;
  const found: Found = { checks: [], skipped: [] };
  try {
    if (given) await checkGiven(given, plain, load, options, found);
    else await checkPublished(referenceOf(name, path), plain, options, found);
  } finally {
    await plain.dispose();
  }
  const ok = found.checks.length > 0 && found.checks.every((check) => check.ok);
  return { model: name, path, against: cases ?? "published scores", ...found, ok };
}

interface Found {
  readonly checks: VerifyCheck[];
  readonly skipped: { readonly id: string; readonly why: string }[];
}

type Load = (options?: LoadOptions) => Promise<Reranker>;

// --- published numbers

function referenceOf(name: string | null, path: string): ReferenceModel {
  const reference = name !== null && Object.hasOwn(referenceModels, name) ? referenceModels[name] : undefined;
  if (reference) return reference;
  throw new RerankerError(
    "MODEL_NOT_FOUND",
    `No scores are published for ${path}, which calls itself ${is.show(name)}. Known: ${Object.keys(referenceModels).join(", ")}. Give a file of cases`,
  );
}

async function checkPublished(reference: ReferenceModel, reranker: Reranker, options: VerifyOptions, { checks }: Found): Promise<void> {
  const tokens = fittingTokens(reference.tokens, reranker);
  for (const pair of knownPairs(reference)) checks.push(compareTokens("tokens", pair, idsOf(tokens, pair), reranker));
  const isFloat32 = Object.keys(reranker.model.tensorTypes).every((type) => type === "F32");
  for (const { id, pairs, options: wanted, scores, float32 } of reference.cases) {
    const gate = Math.max(options.tolerance ?? 0, float32 && isFloat32 ? FLOAT32_GATE : reference.gate);
    const got = await reranker.computeScore([...pairs], { ...wanted, signal: options.signal } as ScoreOptions);
    compareScores(id, pairs, scores, got.flat(), gate, checks);
  }
}

/** Pairs of the cases whose ids are known; for a model without published scores, two that are. */
function knownPairs({ cases, tokens: [tokens] }: ReferenceModel): readonly Pair[] {
  const texts = Object.keys(tokens?.texts ?? {});
  const pairs =
    cases.length > 0
      ? cases.flatMap((each) => each.pairs)
      : ([
          [texts[0], texts[1]],
          [texts[2], texts[3]],
        ] as Pair[]);
  const known = pairs.filter((pair) => pair.every((text) => texts.includes(text)));
  return [...new Map(known.map((pair) => [JSON.stringify(pair), pair])).values()];
}

function idsOf({ before, between, after, texts }: ReferenceTokens, [query, document]: Pair): readonly number[] {
  return [...before, ...(texts[query] ?? []), ...between, ...(texts[document] ?? []), ...after];
}

/** The alternative that agrees on the first pair, else the first. */
function fittingTokens(alternatives: readonly ReferenceTokens[], reranker: Reranker): ReferenceTokens {
  const fits = (tokens: ReferenceTokens) => {
    const [query = "", document = ""] = Object.keys(tokens.texts);
    return compareTokens("", [query, document], idsOf(tokens, [query, document]), reranker).ok;
  };
  return (alternatives.find(fits) ?? alternatives[0]) as ReferenceTokens;
}

// --- a file of cases

async function checkGiven(cases: readonly GivenCase[], plain: Reranker, load: Load, options: VerifyOptions, found: Found): Promise<void> {
  const byOptions = new Map<string, GivenCase[]>();
  for (const each of cases) {
    const key = JSON.stringify(each.atLoad);
    byOptions.set(key, [...(byOptions.get(key) ?? []), each]);
  }
  for (const group of byOptions.values()) {
    const atLoad = group[0]?.atLoad ?? {};
    const reranker = Object.keys(atLoad).length === 0 ? plain : await load({ ...atLoad, normalize: false });
    try {
      for (const each of group) await checkCase(each, reranker, options, found);
    } finally {
      if (reranker !== plain) await reranker.dispose();
    }
  }
}

async function checkCase(each: GivenCase, reranker: Reranker, options: VerifyOptions, found: Found): Promise<void> {
  const layers = reranker.model.cutoffLayers;
  const asked = [each.call.cutoffLayers ?? each.atLoad.cutoffLayers ?? []].flat();
  const illegal = asked.some((layer) => !layers.includes(layer)) ? "the reference drops cutoff layers that do not exist" : undefined;
  const why = each.skip ?? illegal;
  if (why) {
    found.skipped.push({ id: each.id, why });
    return;
  }
  const { maxLength, queryMaxLength, prompt, instruction } = each.call;
  const lengths = { maxLength, queryMaxLength, prompt, instruction };
  for (const [i, pair] of each.pairs.entries()) {
    if (each.inputIds) found.checks.push(compareTokens(each.id, pair, each.inputIds, reranker, lengths));
    else if (each.counts) found.checks.push(compareCount(each.id, pair, each.counts[i] ?? 0, reranker, lengths));
  }
  if (!each.scores) return;
  const got = await reranker.computeScore([...each.pairs], { ...each.call, normalize: false, signal: options.signal });
  compareScores(each.id, each.pairs, each.scores, got.flat(), Math.max(options.tolerance ?? 0, each.gate), found.checks);
}

// --- comparing

type Lengths = Pick<ScoreOptions, "maxLength" | "queryMaxLength" | "prompt" | "instruction">;

function encode(reranker: Reranker, [query, document]: Pair, options: Lengths): Int32Array {
  // An option of another class is an error even as undefined's neighbour, so only what is set is given.
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  return reranker.encodePair(query, document, given).inputIds;
}

function compareTokens(id: string, pair: Pair, expected: readonly number[], reranker: Reranker, options: Lengths = {}): VerifyCheck {
  const got = encode(reranker, pair, options);
  let difference = Math.abs(got.length - expected.length);
  for (let i = 0; i < Math.min(got.length, expected.length); i++) if (got[i] !== expected[i]) difference++;
  return { id, kind: "tokens", pair, expected: expected.length, got: got.length, difference, gate: 0, ok: difference === 0 };
}

function compareCount(id: string, pair: Pair, expected: number, reranker: Reranker, options: Lengths): VerifyCheck {
  const got = encode(reranker, pair, options).length;
  return { id, kind: "tokens", pair, expected, got, difference: Math.abs(got - expected), gate: 0, ok: got === expected };
}

/** Scores of several layers stand one layer after the other. */
function compareScores(
  id: string,
  pairs: readonly Pair[],
  expected: readonly number[],
  got: readonly number[],
  gate: number,
  checks: VerifyCheck[],
): void {
  for (let i = 0; i < Math.max(expected.length, got.length); i++) {
    const [wanted, score] = [expected[i] ?? Number.NaN, got[i] ?? Number.NaN];
    const difference = Math.abs(score - wanted);
    const pair = pairs[i % pairs.length] as Pair;
    checks.push({ id, kind: "score", pair, expected: wanted, got: score, difference, gate, ok: difference <= gate });
  }
}

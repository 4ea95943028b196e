// What `eval --compare` sets beside the model as it is: earlier cutoff layers, cascades, other files.
import {
  type Dataset,
  type Figures,
  FlagAutoReranker,
  type LoadOptions,
  type RerankedDataset,
  type Reranker,
  rerankDataset,
} from "../../index.js";
import { UsageError } from "../arguments.js";

/** One setting, measured. */
export interface Comparison {
  readonly name: string;
  readonly means: Figures;
  readonly msPerQuery: number;
  readonly pairsPerSecond: number;
  readonly weightsBytes: number;
  /** Of the scores of a whole model, from the first model's; null for layers and cascades, whose scores are others. */
  readonly error: { readonly rms: number; readonly largest: number } | null;
}

type Setting =
  | { readonly kind: "layer"; readonly layer: number }
  | { readonly kind: "cascade"; readonly layer: number; readonly keep: number }
  | { readonly kind: "model"; readonly model: string };

/** `16` is a cutoff layer, `16:20` a cascade that goes on with the best 20 after layer 16, anything else a model. */
export function parseComparisons(text: string): Setting[] {
  return text.split(",").map((part): Setting => {
    const [, layer, keep] = /^(\d+)(?::(\d+))?$/.exec(part.trim()) ?? [];
    if (part.trim() === "") throw new UsageError("--compare has an empty entry");
    if (layer === undefined) return { kind: "model", model: part.trim() };
    return keep === undefined ? { kind: "layer", layer: Number(layer) } : { kind: "cascade", layer: Number(layer), keep: Number(keep) };
  });
}

/** @throws {UsageError} A layer that the model does not have: told before the work, not after it. */
export function checkComparisons(settings: readonly Setting[], { model }: Pick<Reranker, "model">): void {
  for (const setting of settings) {
    if (setting.kind === "model" || model.cutoffLayers.includes(setting.layer)) continue;
    const layers = model.cutoffLayers.length > 0 ? `has ${model.cutoffLayers[0]} to ${model.cutoffLayers.at(-1)}` : "has no cutoff layers";
    throw new UsageError(`--compare names layer ${setting.layer}; ${model.name ?? model.path} ${layers}`);
  }
}

export interface ComparisonWork {
  readonly dataset: Dataset;
  readonly reranker: Reranker;
  readonly load: LoadOptions;
  /** The model as it is. */
  readonly work: RerankedDataset;
  readonly measure: (run: RerankedDataset["run"]) => Figures;
  readonly signal: AbortSignal;
  readonly onStart: (name: string) => void;
}

/** @returns The model as it is, then each setting. */
export async function compare(settings: readonly Setting[], on: ComparisonWork): Promise<Comparison[]> {
  const { model } = on.reranker;
  const base = comparisonOf(labelOf(model), on.work, on, { model, error: { rms: 0, largest: 0 } });
  const others: Comparison[] = [];
  for (const setting of settings)
    others.push(setting.kind === "model" ? await compareModel(setting.model, on) : await compareLayer(setting, on));
  return [base, ...others];
}

async function compareLayer(setting: Exclude<Setting, { kind: "model" }>, on: ComparisonWork): Promise<Comparison> {
  const { reranker, dataset, signal } = on;
  const isLayer = setting.kind === "layer";
  const name = isLayer ? `layer ${setting.layer}` : `best ${setting.keep} after layer ${setting.layer}`;
  on.onStart(name);
  const options = isLayer ? { cutoffLayers: setting.layer } : { cascade: [{ layer: setting.layer, keep: setting.keep }] };
  const work = await rerankDataset(reranker, dataset, { rerank: options, signal });
  return comparisonOf(name, { ...work, run: withDropped(work.run, dataset) }, on, { model: reranker.model, error: null });
}

async function compareModel(path: string, on: ComparisonWork): Promise<Comparison> {
  on.onStart(path);
  await using reranker = await FlagAutoReranker.fromFinetuned(path, { ...on.load, signal: on.signal });
  const work = await rerankDataset(reranker, on.dataset, { signal: on.signal });
  return comparisonOf(labelOf(reranker.model), work, on, { model: reranker.model, error: errorOf(work.run, on.work.run) });
}

/** Name and most frequent type of the weights: what tells two files of a model apart. */
function labelOf({ name, path, tensorTypes }: Reranker["model"]): string {
  const types = Object.entries(tensorTypes).filter(([type]) => type !== "F32");
  const [type = "F32"] = types.sort(([, a], [, b]) => b - a)[0] ?? [];
  return `${name ?? path.split(/[\\/]/).at(-1)} ${type}`;
}

function comparisonOf(
  name: string,
  work: RerankedDataset,
  { dataset, measure }: ComparisonWork,
  { model, error }: { readonly model: Reranker["model"]; readonly error: Comparison["error"] },
): Comparison {
  const { seconds, pairs, run } = work;
  const msPerQuery = (1000 * seconds) / dataset.queries.length;
  return { name, means: measure(run), msPerQuery, pairsPerSecond: pairs / seconds, weightsBytes: model.weightsSizeBytes, error };
}

/** What a cascade dropped keeps the first stage's order, after what it kept. */
function withDropped(run: RerankedDataset["run"], dataset: Dataset): RerankedDataset["run"] {
  return new Map(
    dataset.queries.map(({ id, candidates }) => {
      const scores = new Map(run.get(id) ?? []);
      const lowest = Math.min(0, ...scores.values());
      for (const [i, candidate] of candidates.entries()) if (!scores.has(candidate)) scores.set(candidate, lowest - 1 - i);
      return [id, scores];
    }),
  );
}

function errorOf(run: RerankedDataset["run"], reference: RerankedDataset["run"]): NonNullable<Comparison["error"]> {
  let [sum, count, largest] = [0, 0, 0];
  for (const [query, scores] of run) {
    for (const [document, score] of scores) {
      const difference = Math.abs(score - (reference.get(query)?.get(document) ?? Number.NaN));
      sum += difference ** 2;
      count++;
      largest = Math.max(largest, difference);
    }
  }
  return { rms: Math.sqrt(sum / count), largest };
}

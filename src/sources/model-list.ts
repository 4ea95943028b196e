// The models this package knows by name, and which of them are on this disk.
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { name } from "../checks.js";
import { findCached } from "./hub/hub.js";
import { HUB_IDS } from "./hub/names.js";
import { hubCache } from "./hub/settings.js";
import { defaultCacheDir, embeddedModelPath } from "./model-source.js";

export interface KnownModel {
  readonly name: string;
  /** Repository on the Hugging Face hub. */
  readonly id: string;
  readonly parameterCount: number;
  /** What the weights take in memory, by the type they are converted to. */
  readonly memoryBytes: { readonly f32: number; readonly f16: number; readonly q8_0: number };
  /** Its folder in the Hugging Face cache; null when it is not there. */
  readonly snapshot: string | null;
  /** Bytes of that folder; null when it is not there. */
  readonly snapshotSizeBytes: number | null;
}

export interface LocalModel {
  readonly path: string;
  readonly sizeBytes: number;
}

export interface ModelList {
  readonly known: readonly KnownModel[];
  /** Files made when a checkpoint was loaded for the first time. Their size is also what they take in memory. */
  readonly converted: readonly LocalModel[];
  /** The model of this package; null in a build without one. */
  readonly embedded: LocalModel | null;
}

/** Millions of parameters, from the shapes of the architectures. */
const MILLIONS: Readonly<Record<string, number>> = {
  "bge-reranker-base": 278,
  "bge-reranker-large": 560,
  "bge-reranker-v2-m3": 568,
  "bge-reranker-v2-gemma": 2506,
  "bge-reranker-v2-minicpm-layerwise": 2725,
  "bge-reranker-v2.5-gemma2-lightweight": 9242,
  "qwen3-reranker-0.6b": 596,
  "qwen3-reranker-4b": 4022,
  "qwen3-reranker-8b": 7568, // without the output head, of which two rows are kept
  "mxbai-rerank-base-v2": 494,
  "mxbai-rerank-large-v2": 1544,
  "zerank-1-small": 1721,
  "zerank-1": 4022,
  "zerank-2": 4022,
  "gte-reranker-modernbert-base": 150,
  "gte-multilingual-reranker-base": 306,
  "ettin-reranker-17m-v1": 17,
  "ettin-reranker-32m-v1": 32,
  "ettin-reranker-68m-v1": 68,
  "ettin-reranker-150m-v1": 150,
  "ettin-reranker-400m-v1": 396,
  "ettin-reranker-1b-v1": 1031,
  "ms-marco-tinybert-l2-v2": 4,
  "ms-marco-minilm-l6-v2": 23,
  "ms-marco-minilm-l12-v2": 33,
  "ms-marco-electra-base": 109,
  "mxbai-rerank-xsmall-v1": 71,
  "mxbai-rerank-base-v1": 184,
  "mxbai-rerank-large-v1": 435,
  "bce-reranker-base_v1": 278,
};

/** @param cacheDir - Folder of converted models, as given at load. */
export async function listModels(cacheDir: string = defaultCacheDir()): Promise<ModelList> {
  name("cacheDir", cacheDir);
  const known = Object.entries(HUB_IDS).map(([name, id]) => knownModel(name, id));
  const files = (await readdir(cacheDir).catch((): string[] => []))
    .filter((file) => file.endsWith(".gguf") && !file.startsWith("."))
    .sort();
  const converted = await Promise.all(files.map((file) => localModel(join(cacheDir, file))));
  return {
    known: await Promise.all(known),
    converted: converted.filter((model) => model !== null),
    embedded: await localModel(embeddedModelPath),
  };
}

async function knownModel(name: string, id: string): Promise<KnownModel> {
  const parameterCount = (MILLIONS[name] ?? 0) * 1e6;
  const cached = await findCached(hubCache(), { id, file: undefined });
  return {
    name,
    id,
    parameterCount,
    // A block of Q8_0 is 34 bytes for 32 weights.
    memoryBytes: { f32: parameterCount * 4, f16: parameterCount * 2, q8_0: (parameterCount * 34) / 32 },
    snapshot: cached?.folder ?? null,
    snapshotSizeBytes: cached ? await folderSize(cached.folder) : null,
  };
}

async function folderSize(folder: string): Promise<number> {
  const files = await readdir(folder);
  const sizes = await Promise.all(files.map(async (file) => (await stat(join(folder, file)).catch(() => undefined))?.size ?? 0));
  return sizes.reduce((sum, size) => sum + size, 0);
}

async function localModel(path: string): Promise<LocalModel | null> {
  const stats = await stat(path).catch(() => undefined);
  return stats?.isFile() ? { path, sizeBytes: stats.size } : null;
}

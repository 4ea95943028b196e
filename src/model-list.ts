// The models this package knows by name, and which of them are on this disk.
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { defaultCacheDir, embeddedModelPath, findSnapshot, HUB_IDS } from "./model-source.js";

export interface KnownModel {
  readonly name: string;
  /** Repository on the Hugging Face hub. */
  readonly id: string;
  /** Its folder in the Hugging Face cache; null when it is not there. */
  readonly snapshot: string | null;
}

export interface LocalModel {
  readonly path: string;
  readonly sizeBytes: number;
}

export interface ModelList {
  readonly known: readonly KnownModel[];
  /** Files made when a folder was loaded for the first time. */
  readonly converted: readonly LocalModel[];
  /** The model of this package; null in a build without one. */
  readonly embedded: LocalModel | null;
}

/** @param cacheDir - Folder of converted models, as given at load. */
export async function listModels(cacheDir: string = defaultCacheDir()): Promise<ModelList> {
  const known = Object.entries(HUB_IDS).map(async ([name, id]) => ({ name, id, snapshot: (await findSnapshot(id)) ?? null }));
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

async function localModel(path: string): Promise<LocalModel | null> {
  const stats = await stat(path).catch(() => undefined);
  return stats?.isFile() ? { path, sizeBytes: stats.size } : null;
}

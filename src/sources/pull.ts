// Getting a model ahead of its first use: downloaded, converted, ready to load.
import * as is from "../checks.js";
import { reporting } from "../reporting.js";
import { convertForCache } from "./convert-for-cache.js";
import { resolveModelSource } from "./model-source.js";
import type { Progress } from "./progress.js";

export interface PullOptions {
  /** Type of the weights when a checkpoint is converted. @default "f32" */
  readonly outtype?: string | undefined;
  /** Branch, tag or commit. @default "main" */
  readonly revision?: string | undefined;
  /** Folder for converted models, as given at load. */
  readonly cacheDir?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/**
 * Downloads a model from the hub and converts it, or does what is left of that. Loading it then needs no network.
 * The hub is asked for the newest commit, where loading takes what the cache has.
 *
 * @returns Path of the GGUF file.
 * @throws {RerankerError} `MODEL_NOT_FOUND`, `DOWNLOAD_FAILED`, `CONVERT_FAILED`, `IO`
 */
export async function pullModel(name: string, options: PullOptions = {}): Promise<string> {
  if (typeof name !== "string" || name === "") throw new TypeError(`Expected \`name\` to be a model's name, got \`${is.show(name)}\``);
  is.checkOptions("pullModel", options, optionChecks, () => undefined);
  const { outtype, revision, cacheDir } = options;
  options.signal?.throwIfAborted();
  const given = { outtype: outtype ?? undefined, revision: revision ?? undefined, cacheDir: cacheDir ?? undefined };
  return reporting(options, (guarded) =>
    resolveModelSource(name, { ...given, lora: undefined, refresh: true, ...guarded }, convertForCache),
  );
}

const optionChecks = {
  outtype: is.string,
  revision: is.name,
  cacheDir: is.name,
  signal: is.abortSignal,
  onProgress: is.callback,
} as const satisfies Record<keyof PullOptions, unknown>;

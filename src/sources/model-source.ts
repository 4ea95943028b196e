// From what the user names - a file, a folder, a hub id, a short name, "default" - to a GGUF file on this disk.
import { createHash } from "node:crypto";
import { mkdir, readdir, realpath, rm, stat } from "node:fs/promises";
import { basename, dirname, join, sep } from "node:path";
import { packageVersion } from "../addon/native.js";
import { packageRoot, throwIfBundled } from "../addon/own-folder.js";
import * as is from "../checks.js";
import type { ArrivingWeights } from "../convert/weight-file.js";
import { RerankerError } from "../errors.js";
import { absolute } from "../files/absolute.js";
import { userCacheFolder } from "../files/cache-folder.js";
import { readJsonObject } from "../files/json.js";
import { kindOfFile } from "../files/regular-file.js";
import type { RerankClass } from "../models/index.js";
import { reporting } from "../reporting.js";
import type { WeightConsumer } from "./hub/download.js";
import { asFileError } from "./hub/download-file.js";
import { fetchModel, type HubOptions, type Snapshot } from "./hub/hub.js";
import { withLock } from "./hub/lock.js";
import { HUB_IDS, type HubName, parseHubName } from "./hub/names.js";
import type { Progress } from "./progress.js";

export interface ConvertRequest {
  readonly output: string;
  readonly outtype: string;
  readonly lora: string | undefined;
  readonly class?: RerankClass | undefined;
  /** Weights that are still downloaded; undefined when they are in the folder. */
  readonly arriving: ArrivingWeights | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
}

/** Writes `request.output` whole or not at all. */
export type Converter = (folder: string, request: ConvertRequest) => Promise<void>;

export interface SourceOptions {
  readonly outtype: string | undefined;
  readonly cacheDir: string | undefined;
  readonly lora: string | undefined;
  /** Class that a checkpoint is converted for, where its architecture has several uses. */
  readonly class?: RerankClass | undefined;
  /** Of a repository on the hub; undefined is main. */
  readonly revision?: string | undefined;
  /** Ask the hub for the newest commit, though the cache has one. */
  readonly refresh?: boolean;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
}

/**
 * @returns Path of a GGUF file.
 * @throws {RerankerError} `MODEL_NOT_FOUND` saying what is missing, `DOWNLOAD_FAILED`, `IO`
 */
export async function resolveModelSource(modelNameOrPath: string, options: SourceOptions, convert: Converter): Promise<string> {
  if (modelNameOrPath === "default") return embeddedModel(options);
  const kind = await kindOf(modelNameOrPath);
  if (kind !== undefined && options.revision !== undefined) {
    throw new TypeError(`\`revision\` is for models on the hub; ${is.show(modelNameOrPath)} is a ${kind} here`);
  }
  if (kind === "file") {
    const part = /\.(safetensors|bin|json|onnx|pt|pth|model)$/i.test(modelNameOrPath);
    if (part)
      throw new RerankerError(
        "MODEL_NOT_FOUND",
        `${is.show(modelNameOrPath)} is one file of a checkpoint; give its folder ${is.show(dirname(modelNameOrPath))}`,
      );
    return ggufFile(modelNameOrPath, options);
  }
  if (kind === "folder") return fromFolder(modelNameOrPath, options, convert);
  const name = hubName(modelNameOrPath);
  if (name.file !== undefined) ggufFile(modelNameOrPath, options); // before it is downloaded
  // Weights that must be downloaded are converted while they arrive; those in the cache, below.
  const consume: WeightConsumer = async (checkpoint, signal) => {
    await convertCached(checkpoint.folder, { ...options, signal }, convert, checkpoint, checkpoint.weights);
  };
  const snapshot = await fetchModel(name, { ...hubOptions(options), consume });
  return snapshot.gguf === undefined ? convertCached(snapshot.folder, options, convert, snapshot) : ggufFile(snapshot.gguf, options);
}

/** Options of `findCheckpoint`. */
export interface FindOptions {
  /** Branch, tag or commit of a repository on the hub. @default "main" */
  readonly revision?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/**
 * A checkpoint folder as it is, or a repository of the hub in the Hugging Face cache, downloaded if it is not there.
 *
 * @throws {RerankerError} `MODEL_NOT_FOUND` saying what is missing, `DOWNLOAD_FAILED`, `IO`
 */
export async function findCheckpoint(folderOrId: string, options: FindOptions = {}): Promise<string> {
  is.name("folderOrId", folderOrId);
  is.checkOptions("findCheckpoint", options, findChecks, () => undefined);
  if ((await kindOf(folderOrId)) === "folder") return folderOrId;
  const snapshot = await reporting(options, (guarded) => fetchModel(hubName(folderOrId), hubOptions({ ...options, ...guarded })));
  if (snapshot.gguf === undefined) return snapshot.folder;
  throw new RerankerError("MODEL_NOT_FOUND", `${snapshot.id} holds a GGUF file already: ${snapshot.gguf}`);
}

const findChecks = { revision: is.name, signal: is.abortSignal, onProgress: is.callback } as const satisfies Record<
  keyof FindOptions,
  unknown
>;

function hubName(name: string): HubName {
  const parsed = parseHubName(name);
  if (parsed) return parsed;
  const known = Object.keys(HUB_IDS).join(", ");
  throw new RerankerError(
    "MODEL_NOT_FOUND",
    `There is no file or folder ${is.show(name)}, nor a model known by that name. Known: ${known}; others as organisation/name`,
  );
}

function hubOptions({ revision, refresh, signal, onProgress }: FindOptions & { readonly refresh?: boolean | undefined }): HubOptions {
  return { revision, signal, onProgress, ...(refresh && { refresh }) };
}

/** The model that comes with this package. */
export const embeddedModelPath = join(packageRoot, "models", "default.gguf");

async function embeddedModel(options: SourceOptions): Promise<string> {
  if ((await kindOf(embeddedModelPath)) === "file") return ggufFile(embeddedModelPath, options);
  throwIfBundled();
  throw new RerankerError(
    "MODEL_NOT_FOUND",
    "This build has no embedded default model (models/default.gguf). Name a model: a .gguf file, a checkpoint folder or a Hugging Face id",
  );
}

/** A GGUF has its weights and type already, so options about converting would be ignored. */
function ggufFile(path: string, options: SourceOptions): string {
  const given = options.outtype !== undefined ? "outtype" : options.lora !== undefined ? "peftPath" : undefined;
  if (given) throw new TypeError(`\`${given}\` applies when a checkpoint is converted; ${is.show(path)} is a GGUF file already`);
  return path;
}

async function fromFolder(folder: string, options: SourceOptions, convert: Converter): Promise<string> {
  const files = await readdir(folder).catch((cause: Error) => {
    throw new RerankerError("IO", `Cannot read the folder ${is.show(folder)}: ${cause.message}`, { cause });
  });
  if (files.includes("config.json")) return convertCached(folder, options, convert);
  const ggufs = files.filter((file) => file.endsWith(".gguf"));
  if (ggufs.length === 1) return ggufFile(join(folder, ggufs[0] ?? ""), options);
  throw new RerankerError("MODEL_NOT_FOUND", await whyNoModel(folder, files));
}

/** What a folder is that people take for a model, and the call that works. */
async function whyNoModel(folder: string, files: readonly string[]): Promise<string> {
  const ggufs = files.filter((file) => file.endsWith(".gguf"));
  if (ggufs.length > 1) return `Folder ${is.show(folder)} has several .gguf files: ${ggufs.join(", ")}; name one`;
  if (files.includes("adapter_config.json")) {
    const config = await readJsonObject(join(folder, "adapter_config.json")).catch(() => undefined);
    const base = config?.["base_model_name_or_path"];
    return `Folder ${is.show(folder)} holds a LoRA adapter, not a model: load ${typeof base === "string" && base !== "" ? is.show(base) : "its base model"} with \`peftPath\` set to this folder (\`convert --lora\`)`;
  }
  const repository = /^models--(.+?)--(.+)$/.exec(basename(absolute(folder)));
  if (repository) {
    const snapshots = await readdir(join(folder, "snapshots")).catch((): string[] => []);
    const [first] = snapshots;
    const path = first === undefined ? "" : `, or ${is.show(join(folder, "snapshots", first))}`;
    return `Folder ${is.show(folder)} is where the Hugging Face cache keeps a repository: name it ${is.show(`${repository[1]}/${repository[2]}`)}${path}`;
  }
  const cached = files.filter((file) => file.startsWith("models--"));
  if (cached.length > 0)
    return `Folder ${is.show(folder)} is a Hugging Face cache; name one of its models: ${cached
      .slice(0, 10)
      .map((file) => file.slice(8).replace("--", "/"))
      .join(", ")}`;
  return `Folder ${is.show(folder)} has neither config.json nor a .gguf file`;
}

/**
 * Converts on first use. A killed conversion leaves nothing that is trusted: the next one begins again, from the weights on the
 * disk, which takes a small part of the time of their download. The file's name holds a digest of all that its content depends on.
 */
async function convertCached(
  folder: string,
  options: SourceOptions,
  convert: Converter,
  snapshot?: Pick<Snapshot, "id" | "commit">,
  arriving?: ArrivingWeights,
): Promise<string> {
  const outtype = options.outtype ?? "f32";
  const source = snapshot ? [snapshot.id, snapshot.commit] : await fingerprint(folder);
  const digest = createHash("sha256").update(JSON.stringify([packageVersion, outtype]));
  digest.update(JSON.stringify(source));
  if (options.class === "decoder-only-base") digest.update(JSON.stringify(options.class));
  if (options.lora !== undefined) digest.update(JSON.stringify(await fingerprint(options.lora)));
  const cache = options.cacheDir ?? defaultCacheDir();
  const name = modelKey(snapshot?.id ?? (await realpath(folder))).replace(/[^\w.-]/g, "_");
  const output = join(cache, `${name}-${outtype.replace(/\W/g, "_")}-${digest.digest("hex").slice(0, 16)}.gguf`);
  if ((await kindOf(output)) === "file") return output;
  try {
    await mkdir(cache, { recursive: true });
    // A process that downloads holds the repository's lock already. Nobody takes the two in the other order.
    return await withLock(`${output}.lock`, options.signal, async () => {
      if ((await kindOf(output)) === "file") return output; // another process made it while we waited
      await removeLeftovers(output);
      const { lora, signal, onProgress } = options;
      const wanted = options.class === undefined ? {} : { class: options.class };
      await convert(folder, { output, outtype, lora, ...wanted, arriving, signal, onProgress });
      return output;
    });
  } catch (error) {
    throw asFileError(error, cache, "`cacheDir` or BGE_RERANKER_CACHE");
  }
}

/** What a killed conversion left. Nobody writes there now: we hold the lock. */
async function removeLeftovers(output: string): Promise<void> {
  const folder = dirname(output);
  const left = (await readdir(folder)).filter((file) => file.startsWith(`.${basename(output)}.`));
  await Promise.all(left.map((file) => rm(join(folder, file), { force: true })));
}

/** Its own, and those of the folders of sentence-transformers' modules: `1_LogitScore/config.json`. */
async function filesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder);
  const modules = names.filter((name) => /^\d+_\w+$/.test(name));
  const inner = modules.map(async (module) =>
    (await readdir(join(folder, module)).catch((): string[] => [])).map((name) => join(module, name)),
  );
  return [...names, ...(await Promise.all(inner)).flat()];
}

async function fingerprint(folder: string): Promise<unknown> {
  const files = (await filesIn(folder)).filter((file) => /\.(json|safetensors|bin|model|txt|jinja)$/.test(file)).sort();
  const facts = files.map(async (file) => {
    const { size, mtimeMs } = await stat(join(folder, file));
    return [file, size, mtimeMs];
  });
  return [await realpath(folder), await Promise.all(facts)];
}

/** Folder for converted models, unless the caller names one. */
export function defaultCacheDir(): string {
  const { BGE_RERANKER_CACHE } = process.env;
  return BGE_RERANKER_CACHE ? absolute(BGE_RERANKER_CACHE) : userCacheFolder();
}

/** The part of a path that names the model: as the reference, the last component, or the one before `checkpoint-*`. */
export function modelKey(path: string): string {
  const parts = path.split(sep === "\\" ? /[\\/]/ : "/").filter((part) => part !== "");
  const last = basename(parts.at(-1) ?? "", ".gguf");
  return last.startsWith("checkpoint-") ? (parts.at(-2) ?? last) : last;
}

async function kindOf(path: string): Promise<"file" | "folder" | undefined> {
  const stats = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR" || error.code === "ENAMETOOLONG" || error.code === "ERR_INVALID_ARG_VALUE")
      return undefined;
    throw new RerankerError("IO", `Cannot read ${is.show(path)}: ${error.message}`, { cause: error });
  });
  if (!stats || stats.isFile()) return stats && "file";
  if (stats.isDirectory()) return "folder";
  throw new RerankerError("IO", `Cannot read ${is.show(path)}: it is ${kindOfFile(stats)}, no regular file`);
}

// From what the user names - a file, a folder, a hub id, a short name, "default" - to a GGUF file on this disk.
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, realpath, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { basename, join, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { RerankerError } from "./errors.js";
import { packageVersion } from "./native.js";
import { show } from "./option-checks.js";
import type { Progress } from "./options.js";

export interface ConvertRequest {
  readonly output: string;
  readonly outtype: string;
  readonly lora: string | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
}

/** Writes `request.output` whole or not at all. */
export type Converter = (folder: string, request: ConvertRequest) => Promise<void>;

export interface SourceOptions {
  readonly outtype: string | undefined;
  readonly cacheDir: string | undefined;
  readonly lora: string | undefined;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: Progress) => void) | undefined;
}

/** Repositories of the six models, by the short names people use. */
export const HUB_IDS: Readonly<Record<string, string>> = {
  "bge-reranker-base": "BAAI/bge-reranker-base",
  "bge-reranker-large": "BAAI/bge-reranker-large",
  "bge-reranker-v2-m3": "BAAI/bge-reranker-v2-m3",
  "bge-reranker-v2-gemma": "BAAI/bge-reranker-v2-gemma",
  "bge-reranker-v2-minicpm-layerwise": "BAAI/bge-reranker-v2-minicpm-layerwise",
  "bge-reranker-v2.5-gemma2-lightweight": "BAAI/bge-reranker-v2.5-gemma2-lightweight",
};

/**
 * @returns Path of a GGUF file.
 * @throws {RerankerError} `MODEL_NOT_FOUND` saying how to get the model.
 */
export async function resolveModelSource(modelNameOrPath: string, options: SourceOptions, convert: Converter): Promise<string> {
  if (modelNameOrPath === "default") return embeddedModel(options);
  const kind = await kindOf(modelNameOrPath);
  if (kind === "file") return ggufFile(modelNameOrPath, options);
  if (kind === "folder") return fromFolder(modelNameOrPath, options, convert);
  if (!looksLikeName(modelNameOrPath)) {
    throw new RerankerError("MODEL_NOT_FOUND", `There is no file or folder ${show(modelNameOrPath)}`);
  }
  const id = hubId(modelNameOrPath);
  const snapshot = await findSnapshot(id);
  if (snapshot) return fromFolder(snapshot, options, convert);
  throw new RerankerError(
    "MODEL_NOT_FOUND",
    `${show(modelNameOrPath)} is neither a file or folder nor in the Hugging Face cache (${hubCache()}). Get it with \`hf download ${id}\`, or give the path of a .gguf file or checkpoint folder`,
  );
}

/**
 * A checkpoint folder as it is, or the snapshot of a repository in the Hugging Face cache.
 *
 * @throws {RerankerError} `MODEL_NOT_FOUND` saying how to get it.
 */
export async function findCheckpoint(folderOrId: string): Promise<string> {
  if ((await kindOf(folderOrId)) === "folder") return folderOrId;
  if (!looksLikeName(folderOrId)) throw new RerankerError("MODEL_NOT_FOUND", `There is no folder ${show(folderOrId)}`);
  const id = hubId(folderOrId);
  const snapshot = await findSnapshot(id);
  if (snapshot) return snapshot;
  throw new RerankerError(
    "MODEL_NOT_FOUND",
    `${show(folderOrId)} is neither a folder nor in the Hugging Face cache (${hubCache()}). Get it with \`hf download ${id}\``,
  );
}

/** The model that comes with this package. */
export const embeddedModelPath = fileURLToPath(new URL("../models/default.gguf", import.meta.url));

async function embeddedModel(options: SourceOptions): Promise<string> {
  if ((await kindOf(embeddedModelPath)) === "file") return ggufFile(embeddedModelPath, options);
  throw new RerankerError(
    "MODEL_NOT_FOUND",
    "This build has no embedded default model (models/default.gguf). Name a model: a .gguf file, a checkpoint folder or a Hugging Face id",
  );
}

/** A GGUF has its weights and type already, so options about converting would be ignored. */
function ggufFile(path: string, options: SourceOptions): string {
  const given = options.outtype !== undefined ? "outtype" : options.lora !== undefined ? "peftPath" : undefined;
  if (given) throw new TypeError(`\`${given}\` applies when a checkpoint folder is converted; ${show(path)} is a GGUF file already`);
  return path;
}

async function fromFolder(folder: string, options: SourceOptions, convert: Converter): Promise<string> {
  const files = await readdir(folder);
  if (files.includes("config.json")) return convertCached(folder, options, convert);
  const ggufs = files.filter((file) => file.endsWith(".gguf"));
  if (ggufs.length === 1) return ggufFile(join(folder, ggufs[0] ?? ""), options);
  const why = ggufs.length > 1 ? `several .gguf files: ${ggufs.join(", ")}; name one` : "neither config.json nor a .gguf file";
  throw new RerankerError("MODEL_NOT_FOUND", `Folder ${show(folder)} has ${why}`);
}

/** Converts on first use. The file's name holds a digest of all that its content depends on. */
async function convertCached(folder: string, options: SourceOptions, convert: Converter): Promise<string> {
  const outtype = options.outtype ?? "f32";
  const digest = createHash("sha256").update(JSON.stringify([packageVersion, outtype]));
  for (const source of [folder, options.lora]) {
    if (source !== undefined) digest.update(JSON.stringify(await fingerprint(source)));
  }
  const cache = options.cacheDir ?? defaultCacheDir();
  const name = modelKey(await realpath(folder)).replace(/[^\w.-]/g, "_");
  const output = join(cache, `${name}-${outtype.replace(/\W/g, "_")}-${digest.digest("hex").slice(0, 16)}.gguf`);
  if ((await kindOf(output)) === "file") return output;
  await mkdir(cache, { recursive: true });
  await convert(folder, { output, outtype, lora: options.lora, signal: options.signal, onProgress: options.onProgress });
  return output;
}

async function fingerprint(folder: string): Promise<unknown> {
  const files = (await readdir(folder)).filter((file) => /\.(json|safetensors|bin|model|txt)$/.test(file)).sort();
  const facts = files.map(async (file) => {
    const { size, mtimeMs } = await stat(join(folder, file));
    return [file, size, mtimeMs];
  });
  return [await realpath(folder), await Promise.all(facts)];
}

/** Folder for converted models, unless the caller names one. */
export function defaultCacheDir(): string {
  const { BGE_RERANKER_CACHE, LOCALAPPDATA, XDG_CACHE_HOME } = process.env;
  if (BGE_RERANKER_CACHE) return resolve(BGE_RERANKER_CACHE);
  if (process.platform === "darwin") return join(homedir(), "Library", "Caches", "bge-reranker");
  if (process.platform === "win32" && LOCALAPPDATA) return join(LOCALAPPDATA, "bge-reranker", "Cache");
  return join(XDG_CACHE_HOME || join(homedir(), ".cache"), "bge-reranker");
}

/** Where huggingface_hub and the `hf` command keep downloads. */
function hubCache(): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME } = process.env;
  const home = HF_HOME || join(XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface");
  return HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE || join(home, "hub");
}

/** Folder of a repository in the Hugging Face cache, at its main branch. */
export async function findSnapshot(id: string): Promise<string | undefined> {
  const repository = join(hubCache(), `models--${id.replaceAll("/", "--")}`);
  const commit = await readFile(join(repository, "refs", "main"), "utf8").catch(() => undefined);
  if (commit === undefined || !/^[0-9a-f]{40}\s*$/.test(commit)) return undefined;
  const snapshot = join(repository, "snapshots", commit.trim());
  return (await kindOf(snapshot)) === "folder" ? snapshot : undefined;
}

function looksLikeName(name: string): boolean {
  return /^[A-Za-z0-9][\w.-]*(\/[A-Za-z0-9][\w.-]*)?$/.test(name) && !name.endsWith(".gguf");
}

function hubId(name: string): string {
  return Object.hasOwn(HUB_IDS, name) ? (HUB_IDS[name] ?? name) : name;
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
    throw new RerankerError("IO", `Cannot read ${show(path)}: ${error.message}`, { cause: error });
  });
  return stats?.isDirectory() ? "folder" : stats ? "file" : undefined;
}

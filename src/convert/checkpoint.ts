// A checkpoint folder, read as far as its tables go: config.json, the tensors' places, and what becomes of each.
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { RerankerError } from "../errors.js";
import { readJsonObject } from "../files/json.js";
import { type CheckpointConfig, readConfig } from "./config.js";
import { type LoraAdapter, readLora } from "./lora.js";
import { readSafetensorsFiles, readSafetensorsFolder, type SafeTensor, type SafeTensorSet } from "./safetensors.js";
import { planTensors, type TensorPlan } from "./tensor-plan.js";
import { hashInto, type WeightFile } from "./weight-file.js";

export interface Checkpoint {
  readonly config: CheckpointConfig;
  readonly name: string;
  readonly weights: SafeTensorSet;
  readonly plan: TensorPlan;
  readonly lora: LoraAdapter | undefined;
  /** A stored head and the table that it must equal: see `throwIfUntied`. */
  readonly storedHead: { readonly head: SafeTensor; readonly table: SafeTensor } | undefined;
}

export interface CheckpointOptions {
  /** What to call the model. Default: the folder's name. */
  readonly name?: string | undefined;
  /** Folder of a LoRA adapter that must fit the checkpoint. */
  readonly lora?: string | undefined;
  /** Weight files that are not, or not whole, in the folder. */
  readonly files?: readonly WeightFile[] | undefined;
}

export async function readCheckpoint(source: string, options: CheckpointOptions = {}): Promise<Checkpoint> {
  const isFolder = await stat(source).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
  if (!isFolder) throw new RerankerError("MODEL_NOT_FOUND", `\`${source}\` is no folder; give the folder of a Hugging Face checkpoint.`);
  const json = await readJsonObject(join(source, "config.json"));
  if (!json) {
    throw new RerankerError("MODEL_NOT_FOUND", `\`${source}\` has no config.json; give the folder of a complete Hugging Face checkpoint.`);
  }
  const config = readConfig(json);
  const weights = options.files ? await readSafetensorsFiles(options.files) : await readSafetensorsFolder(source);
  const plan = planTensors(config, weights.tensors);
  const storedHead = findStoredHead(config, weights);
  const lora = options.lora === undefined ? undefined : await readLora(options.lora);
  const shapes = new Map(plan.tensors.flatMap((tensor) => tensor.parts.map((part) => [part.source.name, part.source.shape])));
  lora?.check((tensor) => shapes.get(tensor));
  return { config, name: options.name ?? checkpointName(resolve(source)), weights, plan, lora, storedHead };
}

/** The folder's name, or the repository's when the folder is a snapshot in the Hugging Face cache. */
function checkpointName(folder: string): string {
  const parts = folder.split(/[\\/]/);
  const repository = parts.at(-2) === "snapshots" ? /^models--(?:.+--)?(.+)$/.exec(parts.at(-3) ?? "")?.[1] : undefined;
  return repository ?? (basename(folder) || "model");
}

/** transformers ignores a stored head when config.json ties it; otherwise the head counts, and only an equal one is the same model. */
function findStoredHead(config: CheckpointConfig, { tensors }: SafeTensorSet): Checkpoint["storedHead"] {
  const { checkpoint, tiedEmbeddings } = config;
  if (!checkpoint.tied || tiedEmbeddings) return undefined;
  const head = tensors.get(checkpoint.tied.name);
  const table = tensors.get(checkpoint.tied.to);
  if (head && table && head.dtype === table.dtype && head.sizeBytes === table.sizeBytes) return { head, table };
  throw untied(config, head ? "differs from" : "is missing beside");
}

/** @throws {RerankerError} `CONVERT_FAILED` when the stored head has other bytes than the table. */
export async function throwIfUntied({ config, storedHead }: Checkpoint, signal?: AbortSignal): Promise<void> {
  if (!storedHead) return;
  if ((await hashOf(storedHead.head, signal)) !== (await hashOf(storedHead.table, signal))) throw untied(config, "differs from");
}

function untied({ checkpoint: { tied }, name }: CheckpointConfig, what: string): RerankerError {
  return new RerankerError(
    "CONVERT_FAILED",
    `config.json says \`tie_word_embeddings: false\`, and \`${tied?.name}\` ${what} \`${tied?.to}\`. ` +
      `${name} rerankers score with the embedding table; a head of its own is not supported.`,
  );
}

async function hashOf({ file, offset, sizeBytes }: SafeTensor, signal: AbortSignal | undefined): Promise<string> {
  const hash = createHash("sha256");
  await hashInto(hash, file, { offset, sizeBytes, signal });
  return hash.digest("hex");
}

export function countParameters(plan: TensorPlan): number {
  return plan.tensors.reduce((sum, tensor) => sum + tensor.shape.reduce((product, n) => product * n, 1), 0);
}

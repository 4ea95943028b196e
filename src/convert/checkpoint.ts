// A checkpoint folder, read as far as its tables go: config.json, the tensors' places, and what becomes of each.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { RerankerError } from "../errors.js";
import { type LoraAdapter, readLora } from "../lora.js";
import { readSafetensorsFolder, type SafeTensorSet } from "../safetensors.js";
import { type CheckpointConfig, readConfig } from "./config.js";
import { readJsonObject } from "./json.js";
import { planTensors, type TensorPlan } from "./tensor-plan.js";

export interface Checkpoint {
  readonly config: CheckpointConfig;
  readonly name: string;
  readonly weights: SafeTensorSet;
  readonly plan: TensorPlan;
  readonly lora: LoraAdapter | undefined;
}

/**
 * @param name - What to call the model; undefined takes the folder's name.
 * @param adapter - Folder of a LoRA adapter that must fit the checkpoint.
 */
export async function readCheckpoint(source: string, name?: string, adapter?: string): Promise<Checkpoint> {
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
  const weights = await readSafetensorsFolder(source);
  const plan = planTensors(config, weights.tensors);
  await throwIfUntied(config, weights);
  const lora = adapter === undefined ? undefined : await readLora(adapter);
  const shapes = new Map(plan.tensors.flatMap((tensor) => tensor.parts.map((part) => [part.source.name, part.source.shape])));
  lora?.check((tensor) => shapes.get(tensor));
  return { config, name: name ?? checkpointName(resolve(source)), weights, plan, lora };
}

/** The folder's name, or the repository's when the folder is a snapshot in the Hugging Face cache. */
function checkpointName(folder: string): string {
  const parts = folder.split(/[\\/]/);
  const repository = parts.at(-2) === "snapshots" ? /^models--(?:.+--)?(.+)$/.exec(parts.at(-3) ?? "")?.[1] : undefined;
  return repository ?? (basename(folder) || "model");
}

/** transformers ignores a stored head when config.json ties it; otherwise the head counts, and only an equal one is the same model. */
async function throwIfUntied({ checkpoint, tiedEmbeddings, name }: CheckpointConfig, { tensors }: SafeTensorSet): Promise<void> {
  if (!checkpoint.tied || tiedEmbeddings) return;
  const head = tensors.get(checkpoint.tied.name);
  const table = tensors.get(checkpoint.tied.to);
  const sameKind = head && table && head.dtype === table.dtype && head.sizeBytes === table.sizeBytes;
  if (sameKind && (await hashOf(head)) === (await hashOf(table))) return;
  throw new RerankerError(
    "CONVERT_FAILED",
    `config.json says \`tie_word_embeddings: false\`, and \`${checkpoint.tied.name}\` ${head ? "differs from" : "is missing beside"} \`${checkpoint.tied.to}\`. ` +
      `${name} rerankers score with the embedding table; a head of its own is not supported.`,
  );
}

async function hashOf({
  path,
  offset,
  sizeBytes,
}: {
  readonly path: string;
  readonly offset: number;
  readonly sizeBytes: number;
}): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(path, { start: offset, end: offset + sizeBytes - 1 })) hash.update(piece as Buffer);
  return hash.digest("hex");
}

export function countParameters(plan: TensorPlan): number {
  return plan.tensors.reduce((sum, tensor) => sum + tensor.shape.reduce((product, n) => product * n, 1), 0);
}

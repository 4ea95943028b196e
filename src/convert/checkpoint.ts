// A checkpoint folder, read as far as its tables go: config.json, the tensors' places, and what becomes of each.
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { RerankerError } from "../errors.js";
import { absolute } from "../files/absolute.js";
import { readJsonObject } from "../files/json.js";
import type { RerankClass } from "../models/index.js";
import { type CheckpointConfig, readConfig } from "./config.js";
import { type CheckpointForm, readForm } from "./form.js";
import { type LoraAdapter, readLora } from "./lora.js";
import { moduleFields, readModules, throwIfOtherModules, withModuleTensors } from "./modules.js";
import { readSafetensorsFiles, readSafetensorsFolder, type SafeTensor, type SafeTensorSet } from "./safetensors.js";
import { type OwnHead, planTensors, type TensorPlan } from "./tensor-plan.js";
import { hashInto, type WeightFile } from "./weight-file.js";

export interface Checkpoint {
  readonly config: CheckpointConfig;
  readonly name: string;
  readonly weights: SafeTensorSet;
  readonly plan: TensorPlan;
  readonly lora: LoraAdapter | undefined;
  /** A stored head and the table that it must equal: see `throwIfHeadDiffers`. */
  readonly storedHead: { readonly head: SafeTensor; readonly table: SafeTensor } | undefined;
  readonly ownHead: OwnHead | undefined;
  readonly form: CheckpointForm;
}

export interface CheckpointOptions {
  /** What to call the model. Default: the folder's name. */
  readonly name?: string | undefined;
  /** Folder of a LoRA adapter that must fit the checkpoint. */
  readonly lora?: string | undefined;
  /** Class that the model is wanted for, where its architecture has several uses. */
  readonly class?: RerankClass | undefined;
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
  await throwIfAdapterInside(source);
  const modules = await readModules(source);
  const config = readConfig(modules ? { ...json, ...moduleFields(modules) } : json);
  if (config.profile.score.kind === "cls" && config.profile.layout.kind === "pair")
    throwIfOtherModules(config.name, config.checkpoint.modules, modules);
  const transformer = options.files ? await readSafetensorsFiles(options.files) : await readSafetensorsFolder(source);
  const weights = modules && config.checkpoint.modules ? await withModuleTensors(transformer, modules) : transformer;
  const plan = planTensors(config, weights.tensors);
  const storedHead = findStoredHead(config, weights);
  const lora = options.lora === undefined ? undefined : await readLora(options.lora);
  const shapes = new Map(plan.tensors.flatMap((tensor) => tensor.parts.map((part) => [part.source.name, part.source.shape])));
  const { tied } = config.checkpoint;
  const tableShape = tied && shapes.get(tied.to);
  if (tied && tableShape) shapes.set(tied.name, tableShape);
  lora?.check((tensor) => shapes.get(tensor));
  const ownHead = findOwnHead(config, weights, lora);
  if (tied && config.tiedEmbeddings && !ownHead) lora?.tie(tied.to, tied.name);
  const scored = ownHead ?? (config.profile.score.kind === "labels" ? tableAsHead(config, weights) : undefined);
  const name = options.name ?? checkpointName(absolute(source));
  const form = await readForm(source, config, name, options.class);
  return { config, name, form, weights, plan, lora, storedHead, ownHead: scored };
}

/** transformers would load the adapter's base model and merge it, whatever weights are beside it. */
async function throwIfAdapterInside(source: string): Promise<void> {
  const adapter = await stat(join(source, "adapter_config.json")).catch(() => undefined);
  if (!adapter) return;
  throw new RerankerError(
    "CONVERT_FAILED",
    `\`${source}\` holds a LoRA adapter (adapter_config.json) beside a model, and transformers would merge it. Move the adapter's files to a folder of their own, and give that as \`lora\` (\`peftPath\` on loading) with the base model.`,
  );
}

/** The folder's name, or the repository's when the folder is a snapshot in the Hugging Face cache. */
function checkpointName(folder: string): string {
  const parts = folder.split(/[\\/]/);
  const repository = parts.at(-2) === "snapshots" ? /^models--(?:.+--)?(.+)$/.exec(parts.at(-3) ?? "")?.[1] : undefined;
  return repository ?? (basename(folder) || "model");
}

/**
 * The head of a model that scores by a token's logit, where it is not the embedding table: stored beside it, or made of the
 * table by an adapter that was trained on one of the two alone. peft leaves the other one as it was.
 */
function findOwnHead(
  { checkpoint: { tied }, tiedEmbeddings, name }: CheckpointConfig,
  { tensors }: SafeTensorSet,
  lora: LoraAdapter | undefined,
): OwnHead | undefined {
  if (!tied) return undefined;
  const head = tensors.get(tied.name);
  const table = tensors.get(tied.to);
  if (!tiedEmbeddings) {
    if (head) return { source: head, adaptedAs: tied.name };
    throw new RerankerError(
      "CONVERT_FAILED",
      `config.json says \`tie_word_embeddings: false\`, and \`${tied.name}\`, the head that then scores, is missing beside \`${tied.to}\`. ` +
        `Download all weights; if ${name} was trained with the two tied, say so in config.json.`,
    );
  }
  if (!table) return undefined; // the plan says what is missing
  if (lora?.replaces(tied.name)) return { source: table, adaptedAs: tied.name };
  if (!lora?.replaces(tied.to)) return undefined;
  lora.throwIfChanged(tied.name, `\`${tied.to}\` is saved whole, and the two are tied in the base model`);
  return { source: table, adaptedAs: null };
}

/** A sum of logits has its rows in a tensor of its own, tied or not. */
function tableAsHead({ checkpoint: { tied } }: CheckpointConfig, { tensors }: SafeTensorSet): OwnHead | undefined {
  const source = tied && tensors.get(tied.to);
  return source && { source };
}

/** Where config.json ties head and table and both are stored, transformers 4 scores with the table, 5 with the head. */
function findStoredHead({ checkpoint: { tied }, tiedEmbeddings }: CheckpointConfig, { tensors }: SafeTensorSet): Checkpoint["storedHead"] {
  const head = tied && tiedEmbeddings ? tensors.get(tied.name) : undefined;
  const table = tied && tensors.get(tied.to);
  if (!tied || !head || !table) return undefined;
  if (head.dtype === table.dtype && head.sizeBytes === table.sizeBytes) return { head, table };
  throw ambiguousHead(tied);
}

/** @throws {RerankerError} `CONVERT_FAILED` when the stored head has other bytes than the table. */
export async function throwIfHeadDiffers({ config, storedHead }: Checkpoint, signal?: AbortSignal): Promise<void> {
  const { tied } = config.checkpoint;
  if (!storedHead || !tied) return;
  if ((await hashOf(storedHead.head, signal)) !== (await hashOf(storedHead.table, signal))) throw ambiguousHead(tied);
}

function ambiguousHead({ name, to }: NonNullable<CheckpointConfig["checkpoint"]["tied"]>): RerankerError {
  return new RerankerError(
    "CONVERT_FAILED",
    `\`${name}\` differs from \`${to}\`, and config.json ties the two: transformers 4 scores with the table, 5 with the head. ` +
      `Say \`"tie_word_embeddings": false\` in config.json to score with the head, or save the weights without \`${name}\` to score with the table.`,
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

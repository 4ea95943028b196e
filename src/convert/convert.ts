// Hugging Face checkpoint folder -> GGUF, driven by the tables in models/. Every tensor is accounted for, and the file
// appears only when it is whole.

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { loadNative } from "../addon/native.js";
import * as is from "../checks.js";
import { absolute } from "../files/absolute.js";
import { createOutput, outputError, throwIfInput } from "../files/output-file.js";
import { reporting } from "../reporting.js";
import { readVocabulary } from "../tokenizer/vocabulary.js";
import { type Checkpoint, readCheckpoint } from "./checkpoint.js";
import { quantity } from "./config.js";
import { type Cutting, readCutting } from "./cutting.js";
import { emptyPadPosition } from "./late-metadata.js";
import { buildMetadata, padVocabulary } from "./metadata.js";
import type { ConvertOptions, ConvertResult } from "./options.js";
import { proveTokenizer } from "./own-tokenizer.js";
import { withHead } from "./tensor-plan.js";
import { writableType } from "./tensor-type.js";
import type { ArrivingWeights } from "./weight-file.js";
import { writeModel } from "./write-model.js";

/**
 * Converts a Hugging Face checkpoint folder to one GGUF file.
 *
 * @throws {RangeError} An `outtype` that does not exist or cannot be written, or `tensorTypes` that match nothing.
 * @throws {RerankerError} `CONVERT_FAILED` naming the tensor or the field of config.json, `IO` when the file exists, the disk
 *   is full or writing fails. Nothing is left behind then, nor after an abort.
 */
export async function convert(source: string, options: ConvertOptions = {}): Promise<ConvertResult> {
  is.name("source", source);
  is.checkOptions("convert", options, optionChecks, () => undefined);
  const own = { ...options, ...(options.tensorTypes && { tensorTypes: { ...options.tensorTypes } }) };
  return reporting(own, (guarded) => convertCheckpoint(source, undefined, { ...own, ...guarded }));
}

const optionChecks = {
  output: is.name,
  outtype: is.string,
  tensorTypes: is.texts,
  lora: is.name,
  class: is.string,
  name: is.name,
  overwrite: is.boolean,
  onProgress: is.callback,
  signal: is.abortSignal,
} as const satisfies Record<keyof ConvertOptions, unknown>;

/**
 * Converts a checkpoint while its weights arrive. The file is that which `convert` writes.
 *
 * @param source - Folder with config.json and the tokenizer, but not yet the weights.
 */
export async function convertArriving(source: string, weights: ArrivingWeights, options: ConvertOptions): Promise<ConvertResult> {
  return convertCheckpoint(source, weights, options);
}

async function convertCheckpoint(source: string, arriving: ArrivingWeights | undefined, options: ConvertOptions): Promise<ConvertResult> {
  options.signal?.throwIfAborted();
  const addon = await loadNative();
  const types = addon.tensorTypes();
  const wanted = writableType(options.outtype ?? "f16", types);
  const checkpoint = await readCheckpoint(source, {
    name: options.name,
    lora: options.lora,
    class: options.class,
    files: arriving?.files,
  });
  const output = absolute(options.output ?? join(source, `${checkpoint.name}-${wanted.name}.gguf`));

  await throwIfInput(output, await filesOf(source, options.lora));
  const file = await createOutput(output, options.overwrite ?? false);
  try {
    const vocabulary = await readVocabulary(source, checkpoint.config.json);
    const padded = padVocabulary(vocabulary.metadata, quantity(checkpoint.config, "n_vocab"));
    const promptIds = await proveTokenizer(
      addon,
      checkpoint.config,
      checkpoint.form,
      vocabulary,
      padded,
      `${file.temporaryPath}.vocabulary`,
    );
    const cutting = await cuttingOf(source, checkpoint);
    const padPosition = emptyPadPosition(checkpoint.config);
    const metadata = buildMetadata({ ...checkpoint, type: wanted.name, vocabulary: padded, promptIds, padPosition, cutting });
    const planned = async (sizeBytes: number) => arriving?.planned(output, sizeBytes);
    const { ownHead, plan } = checkpoint;
    const headName = promptIds?.labelIds ? "cls.output.weight" : "reranker.head.weight";
    const scored = promptIds?.labelIds ?? [promptIds?.tokenId ?? 0];
    const whole = ownHead ? { ...checkpoint, plan: withHead(plan, ownHead, headName, scored) } : checkpoint;
    const written = await writeModel(addon, whole, metadata, wanted, types, file.temporaryPath, options, planned);
    await file.commit();
    return { path: output, ...written };
  } catch (error) {
    throw outputError(error, options.signal);
  } finally {
    await file.discard();
  }
}

/** Files of the checkpoint and its adapter; a GGUF among them is an earlier output. */
async function filesOf(...folders: readonly (string | undefined)[]): Promise<string[]> {
  const lists = folders
    .filter((folder) => folder !== undefined)
    .map(async (folder) =>
      (await readdir(folder).catch((): string[] => [])).filter((name) => !name.endsWith(".gguf")).map((name) => join(folder, name)),
    );
  return (await Promise.all(lists)).flat();
}

/** Prompt and chat layouts have a rule of their own. */
async function cuttingOf(source: string, { config, name, form }: Checkpoint): Promise<Cutting> {
  if (form.form.layout.kind === "pair") return readCutting(source, config, name);
  return { truncation: "only_second", maxLength: undefined };
}

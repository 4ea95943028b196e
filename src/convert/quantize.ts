// GGUF -> GGUF in another tensor type, by the same rules as convert.

import { type FileHandle, open } from "node:fs/promises";
import { type GgufHeader, type GgufTensor, loadNative, type NativeAddon, type TensorType, type TensorTypeInfo } from "../addon/native.js";
import * as is from "../checks.js";
import { asRerankerError, RerankerError } from "../errors.js";
import { absolute } from "../files/absolute.js";
import { createOutput, outputError, throwIfDiskFull, throwIfInput } from "../files/output-file.js";
import { throwUnlessRegular } from "../files/regular-file.js";
import type { MetadataEntry } from "../gguf/metadata-entry.js";
import { findProfile, type ModelProfile } from "../models/index.js";
import { reporting } from "../reporting.js";
import { checkImportance, type Importance, importanceEntries, weightsOf } from "./importance.js";
import { quantizationEntries } from "./metadata.js";
import { type RowJob, streamRows } from "./row-stream.js";
import { keepsF32, rowBytes, type TypeFallback, tensorTypeChooser, typeExceptions, writableType } from "./tensor-type.js";
import { localFile, type WeightReader } from "./weight-file.js";

export interface QuantizeOptions {
  /** Of the inputs of weight matrices, by `measureImportance`: types of less than 8 bits err less where it matters. */
  readonly importance?: Importance | undefined;
  /** Weight matrices of another type, as `convert` takes them. */
  readonly tensorTypes?: Readonly<Record<string, string>> | undefined;
  /** Replace an existing file; without it that is an error. */
  readonly overwrite?: boolean | undefined;
  /** Bytes of weights read so far, and in all; the GGUF name of the tensor worked on last. */
  readonly onProgress?: ((progress: { readonly done: number; readonly total: number; readonly tensor: string }) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface QuantizeResult {
  readonly path: string;
  readonly type: TensorType;
  readonly sizeBytes: number;
  readonly inputSizeBytes: number;
  readonly tensorCount: number;
  /** Tensors that could not have the type asked for. */
  readonly fallbacks: readonly TypeFallback[];
}

/**
 * Writes a copy of a GGUF whose weight matrices have another type. Norms, biases, score heads and small tables stay as they are.
 *
 * @param type - Such as `q8_0`, `q6_k`, `q4_k`.
 * @throws {RangeError} A type that does not exist or cannot be written.
 * @throws {RerankerError} `MODEL_UNSUPPORTED` for a file that is quantised already or of an unknown architecture; `IO` when the
 *   output exists, the disk is full or writing fails. Nothing is left behind then, nor after an abort.
 */
export async function quantize(input: string, output: string, type: string, options: QuantizeOptions = {}): Promise<QuantizeResult> {
  for (const [name, value] of Object.entries({ input, output, type })) is.name(name, value);
  is.checkOptions("quantize", options, optionChecks, () => undefined);
  const own = { ...options };
  return reporting(own, (guarded) => quantizeFile(input, output, type, { ...own, ...guarded }));
}

const optionChecks = {
  importance: checkImportance,
  tensorTypes: is.texts,
  overwrite: is.boolean,
  onProgress: is.callback,
  signal: is.abortSignal,
} as const satisfies Record<keyof QuantizeOptions, unknown>;

async function quantizeFile(input: string, output: string, type: string, options: QuantizeOptions): Promise<QuantizeResult> {
  options.signal?.throwIfAborted();
  const addon = await loadNative();
  const types = addon.tensorTypes();
  const wanted = writableType(type, types);
  await throwUnlessRegular(input);
  const source = readHeader(addon, input);
  throwIfForeign(source, options.importance);
  const path = absolute(output);
  const { chosen, fallbacks } = chooseTypes(source, profileOf(source, input), wanted, types, options.tensorTypes ?? {});

  await throwIfInput(path, [input]);
  const file = await createOutput(path, options.overwrite ?? false);
  try {
    const header = addon.writeGgufHeader(file.temporaryPath, retyped(source, wanted.name, options.importance), chosen);
    const sizeBytes = header.fileSizeBytes;
    await throwIfDiskFull(path, sizeBytes);
    await writeTensors(addon, { source, input, header, output: file.temporaryPath, types, sizeBytes }, options);
    await file.commit();
    return { path, type: wanted.name, sizeBytes, inputSizeBytes: source.fileSizeBytes, tensorCount: chosen.length, fallbacks };
  } catch (error) {
    throw outputError(error, options.signal);
  } finally {
    await file.discard();
  }
}

function throwIfForeign({ tensors }: GgufHeader, importance: Importance | undefined): void {
  if (importance === undefined || tensors.some(({ name }) => importance.inputs.has(name))) return;
  throw new RangeError("Expected `importance` to be of this model, but it names none of its weights");
}

function readHeader(addon: NativeAddon, input: string): GgufHeader {
  try {
    return addon.readGguf(input);
  } catch (error) {
    throw asRerankerError(error, "MODEL_INVALID");
  }
}

function profileOf(source: GgufHeader, input: string): ModelProfile {
  const architecture = source.metadata["general.architecture"]?.value;
  const profile = typeof architecture === "string" ? findProfile(architecture) : undefined;
  if (profile) return profile;
  throw new RerankerError(
    "MODEL_UNSUPPORTED",
    `\`${input}\` has architecture ${JSON.stringify(architecture) ?? "missing"}, which is none of ours; its tensors cannot be told apart.`,
  );
}

function chooseTypes(
  source: GgufHeader,
  profile: ModelProfile,
  wanted: TensorTypeInfo,
  types: readonly TensorTypeInfo[],
  exceptions: Readonly<Record<string, string>>,
) {
  const chooser = tensorTypeChooser(profile, wanted, types, typeExceptions(exceptions, types));
  const chosen = source.tensors.map((tensor) => {
    const { name, shape } = tensor;
    // A small table that the file has in half precision gains nothing from F32.
    if (isPlain(tensor)) return { name, shape, type: keepsF32(profile, name) ? tensor.type : chooser.choose(name, shape) };
    if (tensor.type === wanted.name) return { name, shape, type: tensor.type };
    // F32 holds every value of the others: a reference for what rounding did.
    if (wanted.name === "F32") return { name, shape, type: wanted.name };
    throw new RerankerError(
      "MODEL_UNSUPPORTED",
      `Tensor \`${name}\` is ${tensor.type} already, and rounding twice loses more than rounding once. Quantise from the F32, F16 or BF16 file; only f32 can be made of this one.`,
    );
  });
  chooser.throwIfUnused();
  return { chosen, fallbacks: chooser.fallbacks };
}

function isPlain({ type }: GgufTensor): boolean {
  return type === "F32" || type === "F16" || type === "BF16";
}

function retyped(source: GgufHeader, type: TensorType, importance: Importance | undefined): MetadataEntry[] {
  const replaced = [...quantizationEntries(type), ...(importance ? importanceEntries(importance) : [])];
  const kept = Object.entries(source.metadata).filter(([key]) => !replaced.some(([name]) => name === key));
  const entries = kept.map(([key, { type: valueType, value }]): MetadataEntry => [key, valueType, value]);
  // After general.architecture and general.name, where readers look for them.
  return [...entries.slice(0, 1), ...replaced, ...entries.slice(1)];
}

interface Copy {
  readonly source: GgufHeader;
  readonly input: string;
  readonly header: GgufHeader;
  readonly output: string;
  readonly types: readonly TensorTypeInfo[];
  readonly sizeBytes: number;
}

async function writeTensors(addon: NativeAddon, copy: Copy, options: QuantizeOptions): Promise<void> {
  const from = await localFile(copy.input).open();
  const to = await open(copy.output, "r+");
  try {
    const total = copy.source.tensors.reduce((sum, tensor) => sum + tensor.sizeBytes, 0);
    let done = 0;
    const onBytes = (bytes: number, tensor: string) => {
      done += bytes;
      options.onProgress?.({ done, total, tensor });
    };
    await streamRows(addon, rowJobs(copy, from, to, options.importance), { signal: options.signal, onBytes });
    await to.truncate(copy.sizeBytes);
    await to.sync();
  } finally {
    await Promise.allSettled([from.close(), to.close()]);
  }
}

async function* rowJobs(
  { source, header, types }: Copy,
  from: WeightReader,
  to: FileHandle,
  importance: Importance | undefined,
): AsyncGenerator<RowJob> {
  for (const [i, tensor] of source.tensors.entries()) {
    const target = header.tensors[i] as GgufTensor;
    const columns = tensor.shape[0] ?? 1;
    yield {
      tensor: tensor.name,
      source: from,
      sourceOffset: tensor.offset,
      sourceType: tensor.type,
      sourceRowBytes: rowBytes(tensor.type, columns, types),
      target: to,
      targetOffset: target.offset,
      targetType: target.type,
      targetRowBytes: rowBytes(target.type, columns, types),
      rows: tensor.shape.slice(1).reduce((product, n) => product * n, 1),
      columns,
      importance: importance && weightsOf(importance, tensor.name),
      firstRow: 0,
      edits: [],
    };
  }
}

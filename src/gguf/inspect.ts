// What a GGUF holds and what this machine computes on, for people and for the command line.

import { bestOf, loadGpuModules, type MissingDevice, missingDevices } from "../addon/gpu-modules.js";
import { type GgufHeader, type GgufTensor, type GgufType, type GgufValue, loadNative, type NativeDevice } from "../addon/native.js";
import * as is from "../checks.js";
import { asRerankerError, RerankerError } from "../errors.js";
import { throwUnlessRegular } from "../files/regular-file.js";
import { residentBytes, workBytes } from "./memory.js";
import { describeModel, type ModelFacts } from "./model-facts.js";

/** A GGUF file, described without loading its weights. */
export interface ModelFile {
  readonly path: string;
  readonly sizeBytes: number;
  /** Bytes of the tensors in the file. */
  readonly weightsSizeBytes: number;
  /** Estimate for this machine's CPU, as `maxMemory` counts; null when it cannot be scored. */
  readonly memory: MemoryEstimate | null;
  readonly parameterCount: number;
  /** What the reranker in it is; null when it cannot be scored, and `problem` says why. */
  readonly reranker: Omit<ModelFacts, "layout" | "sizeBytes"> | null;
  readonly problem: string | null;
  readonly metadata: Readonly<Record<string, { readonly type: GgufType; readonly value: GgufValue }>>;
  readonly tensors: readonly GgufTensor[];
}

/** Bytes while a model is loaded, and those to compute a pair of `pairTokens` tokens, the model's usual limit. */
export interface MemoryEstimate {
  readonly weightsBytes: number;
  readonly tokenizerBytes: number;
  readonly workBytes: number;
  readonly pairTokens: number;
}

/** @throws {RerankerError} `MODEL_NOT_FOUND`, `MODEL_INVALID` when it is no sound GGUF file. */
export async function inspectModel(path: string): Promise<ModelFile> {
  is.name("path", path);
  await throwUnlessRegular(path);
  try {
    const addon = loadNative();
    const header = addon.readGguf(path);
    const described = describe(() => describeModel(header, path));
    return {
      path,
      sizeBytes: header.fileSizeBytes,
      weightsSizeBytes: header.tensors.reduce((sum, tensor) => sum + tensor.sizeBytes, 0),
      parameterCount: header.tensors.reduce((sum, tensor) => sum + tensor.shape.reduce((product, n) => product * n, 1), 0),
      ...described,
      memory: described.reranker && estimate(header, described.reranker, addon.cpu().isa !== "plain"),
      metadata: header.metadata,
      tensors: header.tensors,
    };
  } catch (error) {
    throw asRerankerError(error, "MODEL_INVALID");
  }
}

function estimate(header: GgufHeader, facts: Omit<ModelFacts, "layout" | "sizeBytes">, kernels: boolean): MemoryEstimate {
  const { weights, tokenizer } = residentBytes(header, { kernels, weightMode: "native", maxLayer: 0 });
  const pairTokens = facts.defaults.maxLength;
  return { weightsBytes: weights, tokenizerBytes: tokenizer, workBytes: workBytes(pairTokens, pairTokens, facts, kernels), pairTokens };
}

function describe(read: () => ModelFacts): Pick<ModelFile, "reranker" | "problem"> {
  try {
    const { layout: _, sizeBytes: __, ...reranker } = read();
    return { reranker, problem: null };
  } catch (error) {
    if (error instanceof RerankerError) return { reranker: null, problem: error.message };
    throw error;
  }
}

/** Devices that a model can be loaded on, and those looked for in vain. */
export interface DeviceList {
  readonly devices: readonly NativeDevice[];
  readonly missing: readonly MissingDevice[];
  /** What a load uses that names no device. */
  readonly defaultDevice: string;
  /** Our CPU kernels: the instruction set in use, and the physical cores. */
  readonly cpu: { readonly isa: string; readonly physicalCores: number };
}

export async function listDevices(): Promise<DeviceList> {
  const addon = await loadGpuModules();
  const devices = addon.devices();
  return { devices, missing: missingDevices(), defaultDevice: bestOf(devices), cpu: addon.cpu() };
}

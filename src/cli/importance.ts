// --calibrate of convert and quantize: an importance matrix from pairs of the user's own.
import { mkdtemp, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import {
  type ConvertOptions,
  type ConvertResult,
  type Importance,
  measureImportance,
  type Pair,
  quantize,
  RerankerError,
} from "../index.js";
import { readLines } from "../records/index.js";
import { UsageError } from "./arguments.js";
import { pairOf } from "./pairs.js";
import { formatBytes, progressLine } from "./terminal.js";

interface Options {
  readonly calibrate?: string;
  readonly tensorType?: Record<string, string>;
  readonly force?: true;
  readonly quiet?: true;
}

/** Types whose rounding is the same whatever their columns are worth. */
const UNWEIGHED = ["f32", "f16", "bf16", "q8_0"];

/** The pairs of --calibrate; undefined without it. */
export async function pairsFor(type: string, file: string | undefined, signal: AbortSignal): Promise<Pair[] | undefined> {
  if (file === undefined) return undefined;
  if (UNWEIGHED.includes(type.toLowerCase())) {
    throw new UsageError(`--calibrate weighs the rounding of types of less than 8 bits, such as q4_k; ${type} does not heed it`);
  }
  const pairs: Pair[] = [];
  for await (const line of readLines(file, { signal })) pairs.push(pairOf(line));
  if (pairs.length === 0) throw new RerankerError("IO", `${file} has no pairs`);
  return pairs;
}

export async function importanceOf(model: string, pairs: readonly Pair[], options: Options, signal: AbortSignal): Promise<Importance> {
  const progress = progressLine("calibrating", process.stderr, options.quiet);
  return measureImportance(model, pairs, {
    dataset: basename(options.calibrate ?? ""),
    signal,
    onProgress: ({ done, total }) => progress.update(done, total, `${done} of ${total} pairs`),
  }).finally(() => progress.end());
}

/** Converts to F32 first, on which the importance is measured, and then to the type wanted. The default output is convert's. */
export async function quantizeCalibrated(
  convertTo: (options: ConvertOptions) => Promise<ConvertResult>,
  folder: string,
  wanted: ConvertOptions & { readonly outtype: string },
  pairs: readonly Pair[],
  options: Options,
  signal: AbortSignal,
): Promise<ConvertResult> {
  const named = (name: string) => wanted.output ?? join(folder, `${name}-${wanted.outtype.toUpperCase()}.gguf`);
  const beside = dirname(named("calibrated"));
  const temporary = await mkdtemp(join(beside, ".calibrate-")).catch((cause: Error) => {
    throw new RerankerError("IO", `Cannot write in ${beside}: ${cause.message}`, { cause });
  });
  const exact = join(temporary, "f32.gguf");
  try {
    const converted = await convertTo({ output: exact, outtype: "f32" });
    const importance = await importanceOf(exact, pairs, options, signal);
    const progress = progressLine("quantizing", process.stderr, options.quiet);
    const { path, type, sizeBytes, fallbacks } = await quantize(exact, named(converted.name), wanted.outtype, {
      importance,
      tensorTypes: wanted.tensorTypes,
      overwrite: wanted.overwrite,
      signal,
      onProgress: ({ done, total, tensor }) => progress.update(done, total, `${formatBytes(done)}  ${tensor}`),
    }).finally(() => progress.end());
    return { ...converted, path, outtype: type, sizeBytes, fallbacks };
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

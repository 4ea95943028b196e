// Which type each tensor gets when a file is asked for in one type. Shared by convert and quantize.

import type { TensorType, TensorTypeInfo } from "../addon/native.js";
import { RerankerError } from "../errors.js";
import type { ModelProfile } from "../models/index.js";

/** A tensor that did not get the type asked for, and why. */
export interface TypeFallback {
  readonly tensor: string;
  readonly type: TensorType;
  readonly reason: string;
}

export interface TensorTypeChooser {
  /** @param shape - ggml order, fastest dimension first. */
  choose(name: string, shape: readonly number[]): TensorType;
  readonly fallbacks: readonly TypeFallback[];
  /** Throws when an exception met no weight matrix. */
  throwIfUnused(): void;
}

/** Weight matrices of another type than the rest: those whose GGUF name the pattern matches. */
export interface TypeException {
  readonly pattern: RegExp;
  readonly type: TensorTypeInfo;
}

/** @throws {RangeError} A pattern that is no regular expression, or a type that does not exist or cannot be written. */
export function typeExceptions(wanted: Readonly<Record<string, string>>, types: readonly TensorTypeInfo[]): TypeException[] {
  return Object.entries(wanted).map(([pattern, type]) => {
    try {
      return { pattern: new RegExp(pattern), type: writableType(type, types, "tensorTypes") };
    } catch (error) {
      if (error instanceof SyntaxError) throw new RangeError(`Expected regular expressions in \`tensorTypes\`, got \`${pattern}\`.`);
      throw error;
    }
  });
}

// Blocks of 256 that do not divide a row give way to blocks of 32 of the same or better quality, as in llama.cpp.
const SMALLER_BLOCKS: Readonly<Record<TensorType, TensorType>> = {
  Q6_K: "Q8_0",
  Q5_K: "Q5_1",
  Q4_K: "Q5_0",
  Q3_K: "IQ4_NL",
  Q2_K: "IQ4_NL",
  TQ1_0: "IQ4_NL",
  TQ2_0: "IQ4_NL",
  IQ4_XS: "IQ4_NL",
  IQ3_S: "IQ4_NL",
  IQ3_XXS: "IQ4_NL",
  IQ2_S: "IQ4_NL",
  IQ1_M: "IQ4_NL",
};

/** Bits a weight of the types that we call good enough for an embedding table that everything passes through. */
const EMBEDDING_BITS = 6.5;

/** Finds the type of that name among those that can be written. */
export function writableType(name: string, types: readonly TensorTypeInfo[], option = "outtype"): TensorTypeInfo {
  const wanted = name.toUpperCase();
  const found = types.find((type) => type.name === wanted);
  if (found?.writable) return found;
  const legal = types.filter((type) => type.writable).map((type) => type.name.toLowerCase());
  const why = found ? "needs an importance matrix of every tensor, and tables of embeddings have none" : "is no tensor type";
  throw new RangeError(`Expected \`${option}\` to be one of ${legal.join(", ")}, got \`${name}\`: it ${why}`);
}

export function tensorTypeChooser(
  profile: ModelProfile,
  wanted: TensorTypeInfo,
  types: readonly TensorTypeInfo[],
  exceptions: readonly TypeException[] = [],
): TensorTypeChooser {
  const unused = new Set(exceptions);
  const byName = new Map(types.map((type) => [type.name, type]));
  const fallbacks: TypeFallback[] = [];
  const fits = (type: TensorTypeInfo, columns: number) => columns % type.blockSize === 0;

  function choose(name: string, shape: readonly number[]): TensorType {
    const columns = shape[0] ?? 1;
    if (shape.length < 2 || keepsF32(profile, name)) return "F32";
    const exception = exceptions.find(({ pattern }) => pattern.test(name));
    if (exception) unused.delete(exception);
    const first = exception?.type ?? (name === "token_embd.weight" ? embeddingType(wanted, columns) : wanted);
    if (fits(first, columns)) return first.name;
    const second = byName.get(SMALLER_BLOCKS[first.name] ?? "");
    const type = second?.writable && fits(second, columns) ? second.name : "F16";
    fallbacks.push({
      tensor: name,
      type,
      reason: `its rows of ${columns} do not divide into the blocks of ${first.blockSize} of ${first.name}`,
    });
    return type;
  }

  /** llama.cpp treats a table that is also the output the same way. */
  function embeddingType(type: TensorTypeInfo, columns: number): TensorTypeInfo {
    if ((type.blockBytes * 8) / type.blockSize >= EMBEDDING_BITS) return type;
    const better = byName.get(columns % 256 === 0 ? "Q6_K" : "Q8_0");
    return better?.writable ? better : type;
  }

  function throwIfUnused(): void {
    for (const { pattern } of unused) {
      throw new RangeError(
        `Expected \`tensorTypes\` to match weight matrices of the model, such as blk.0.attn_q.weight; \`${pattern.source}\` matches none.`,
      );
    }
  }

  return { choose, fallbacks, throwIfUnused };
}

/** Whether the profile keeps that GGUF tensor F32 in every file. */
export function keepsF32(profile: ModelProfile, name: string): boolean {
  if (name === "reranker.head.weight" || (name === "cls.output.weight" && profile.score.kind === "labels")) return true;
  const pattern = name.replace(/^blk\.\d+\./, "blk.{i}.");
  return profile.checkpoints.some((checkpoint) =>
    Object.values(checkpoint.tensors).some((rule) => rule.keepF32 === true && rule.name === pattern),
  );
}

// llama.cpp's numbers for `general.file_type`: a hint for people who read the file, not used for loading.
// biome-ignore format: one table
const FILE_TYPES: Readonly<Record<TensorType, number>> = {
  F32: 0, F16: 1, Q4_0: 2, Q4_1: 3, Q8_0: 7, Q5_0: 8, Q5_1: 9, Q2_K: 10, Q3_K: 11, Q4_K: 14, Q5_K: 16, Q6_K: 18, IQ3_XXS: 23,
  IQ4_NL: 25, IQ3_S: 26, IQ2_S: 28, IQ4_XS: 30, IQ1_M: 31, BF16: 32, TQ1_0: 36, TQ2_0: 37,
};

export function fileType(type: TensorType): number {
  const GUESSED = 1024; // llama.cpp's flag for "not one of the list"
  return FILE_TYPES[type] ?? GUESSED;
}

/** Throws when a type's bytes cannot be what ggml says; keeps sizes and offsets honest. */
export function rowBytes(type: TensorType, columns: number, types: readonly TensorTypeInfo[]): number {
  const info = types.find((each) => each.name === type);
  if (!info || columns % info.blockSize !== 0) throw new RerankerError("CONVERT_FAILED", `Rows of ${columns} cannot be stored as ${type}.`);
  return (columns / info.blockSize) * info.blockBytes;
}

// Reads the golden checkpoints: tiny models in real Hugging Face layout with FlagEmbedding's scores (test/golden/README.md).
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { convert } from "../src/convert/convert.js";

const folder = path.join(path.dirname(fileURLToPath(import.meta.url)), "golden");

export interface GoldenCase {
  readonly id: string;
  readonly tags: readonly string[];
  readonly constructor: Readonly<Record<string, unknown>>;
  readonly compute_score: Readonly<Record<string, unknown>>;
  readonly flat_pair: boolean;
  readonly returns: "scores" | "normalized";
  readonly pairs: readonly [string, string][];
  readonly scores: readonly number[] | readonly number[][];
  readonly normalized: readonly number[] | readonly number[][];
  readonly scores_attn_softcap?: readonly number[] | readonly number[][];
  readonly fp32_noise: number;
  readonly n_tokens: readonly number[];
}

export interface ModelInput {
  readonly constructor: Readonly<Record<string, unknown>>;
  readonly compute_score: Readonly<Record<string, unknown>>;
  readonly pair: readonly [string, string];
  readonly input_ids: readonly number[];
  readonly token_type_ids?: readonly number[];
}

export interface GoldenCheckpoint {
  readonly name: string;
  /** Largest error of a score in float32, as test/golden/README.md gives it. */
  readonly tolerance: number;
  readonly llm: boolean;
}

export const checkpoints: readonly GoldenCheckpoint[] = JSON.parse(readFileSync(path.join(folder, "checkpoints.json"), "utf8"));

export const checkpointFolder = (name: string): string => path.join(folder, name);

/** The cases of the official code, then those of sentence-transformers where a checkpoint has both. */
export function readCases(name: string): readonly GoldenCase[] {
  const cases = (file: string): readonly GoldenCase[] => JSON.parse(readFileSync(path.join(folder, name, file), "utf8")).cases;
  if (!existsSync(path.join(folder, name, "cases.sentence-transformers.json"))) return cases("cases.json");
  const others = cases("cases.sentence-transformers.json").map((c) => ({ ...c, id: `sentence-transformers ${c.id}` }));
  return [...cases("cases.json"), ...others];
}

export const readTokenization = (
  name: string,
): { readonly strings: readonly { text: string; ids: number[] }[]; readonly model_inputs: readonly ModelInput[] } =>
  JSON.parse(readFileSync(path.join(folder, name, "tokenization.json"), "utf8"));

/** The reference's snake_case options in our names; Python's None stays null. */
export function optionsOf(reference: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const camel = (key: string) => key.replace(/_(\w)/g, (_, c: string) => c.toUpperCase());
  return Object.fromEntries(Object.entries(reference).map(([key, value]) => [camel(key), value]));
}

const work = mkdtempSync(path.join(tmpdir(), "bge-golden-"));
process.on("exit", () => rmSync(work, { recursive: true, force: true }));

/** Converts a golden checkpoint, once a process and type. */
export async function goldenGguf(name: string, outtype: string): Promise<string> {
  const output = path.join(work, `${name}.${outtype}.gguf`);
  if (!existsSync(output)) await convert(checkpointFolder(name), { output, outtype });
  return output;
}

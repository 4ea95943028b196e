import { execFile } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** What `BGE_CPU_ISA` can name, see native/cpu/isa.cpp. No machine has them all. */
export const CPU_LEVELS = ["plain", "scalar", "avx2", "avx-vnni", "avx512", "avx512-vnni", "amx", "neon", "dotprod", "i8mm"];

const library = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../lib/index.js");

export interface LevelRun {
  readonly scores: readonly number[];
  readonly weightsSizeBytes: number;
}

/** Each model's scores at a level, in a process of its own, over the built package; undefined where this machine lacks the level. */
export async function runAtLevel(models: readonly string[], pairs: readonly unknown[], isa: string): Promise<LevelRun[] | undefined> {
  const source = `
    import { Reranker } from ${JSON.stringify(library)};
    const runs = [];
    for (const model of ${JSON.stringify(models)}) {
      const reranker = await Reranker.load(model, { devices: "cpu", threads: 2 });
      runs.push({ scores: await reranker.computeScore(${JSON.stringify(pairs)}), weightsSizeBytes: reranker.model.weightsSizeBytes });
      await reranker.dispose();
    }
    console.log(JSON.stringify(runs));`;
  const env = { ...process.env, BGE_CPU_ISA: isa };
  try {
    const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", source], { env });
    return JSON.parse(stdout);
  } catch (error) {
    if (!/BGE_CPU_ISA to be one of/.test(String((error as { stderr?: string }).stderr))) throw error;
    return undefined;
  }
}

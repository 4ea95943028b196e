// Every level of CPU kernels this machine has, stock ggml among them, against the reference. The level is fixed for the
// life of a process, so each runs in one of its own, over the built package.
import { execFile } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { CPU_LEVELS } from "../cpu-levels.js";
import { checkpoints, goldenGguf, optionsOf, readCases } from "../golden.js";

const library = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../lib/index.js");

async function scoresOf(isa: string, model: string, calls: readonly (readonly [unknown, unknown])[]): Promise<number[][]> {
  const source = `
    import { FlagAutoReranker } from ${JSON.stringify(library)};
    const reranker = await FlagAutoReranker.fromFinetuned(${JSON.stringify(model)}, { devices: "cpu" });
    const scores = [];
    for (const [pairs, options] of ${JSON.stringify(calls)}) scores.push((await reranker.computeScore(pairs, options)).flat());
    console.log(JSON.stringify(scores));
    await reranker.dispose();`;
  const env = { ...process.env, BGE_CPU_ISA: isa };
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", source], { env, maxBuffer: 1 << 26 });
  return JSON.parse(stdout);
}

describe.each(CPU_LEVELS)("BGE_CPU_ISA=%s", (isa) => {
  it.for(checkpoints)("$name", async ({ name, tolerance }, { skip }) => {
    const chosen = new Set(["basic", "multilingual", "compress-r2-l4-c8", "compress-r4-l3_4_6-c2_4_8", "cutoff-several", "edge"]);
    const cases = readCases(name).filter((c) => chosen.has(c.id) && Object.keys(c.constructor).length === 0 && c.returns === "scores");
    const calls = cases.map((c) => [c.pairs, optionsOf(c.compute_score)] as const);
    let got: number[][];
    try {
      got = await scoresOf(isa, await goldenGguf(name, "f32"), calls);
    } catch (error) {
      if (!/BGE_CPU_ISA to be one of/.test(String((error as { stderr?: string }).stderr))) throw error;
      return skip(`this machine does not have ${isa}`);
    }
    expect(got.length).toBeGreaterThan(0);
    for (const [i, c] of cases.entries()) {
      const limit = Math.max(tolerance, 10 * c.fp32_noise);
      const wanted = (c.scores as number[][]).flat();
      for (const [j, x] of wanted.entries()) expect(Math.abs((got[i]?.[j] as number) - x), `${c.id} ${j}`).toBeLessThan(limit);
    }
  });
});

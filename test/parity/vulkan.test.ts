// A GPU backend against the reference, on any machine: Vulkan on Mesa's software device. Real memory of its own, the
// graphs and uploads of GPUs, only slowly. Each run is a process of its own over the built package, because drivers read
// their settings once. Needs the Debian packages libvulkan1 and mesa-vulkan-drivers; npm brings the rest.
import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { type PlatformRecord, writeRecords } from "../../scripts/checks/platform-records.mjs";
import { runtimeLibraries } from "../../src/addon/gpu-runtimes.js";
import { checkpoints, type GoldenCase, goldenGguf, optionsOf, readCases } from "../golden.js";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const library = path.join(root, "lib", "index.js");
const { ggml } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));
const packageName = `@node-llama-cpp/linux-x64-vulkan@${ggml.prebuilt}`;
const folder = path.join(root, "build", `vulkan-${ggml.prebuilt}`);

/** Sums and factors in F32. Without it ggml's Vulkan rounds the factors of matrix products to F16, as GPUs like it. */
const EXACT = { GGML_VK_DISABLE_F16: "1" };

async function inProcess<T>(source: string, env: Record<string, string> = {}): Promise<T> {
  const entry = path.join(folder, "application.mjs"); // GPU packages are found as the entry script sees them
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", source, entry], {
    cwd: folder,
    env: { ...process.env, GGML_VK_VISIBLE_DEVICES: "0", ...env },
    maxBuffer: 1 << 26,
    timeout: 300_000,
  });
  return JSON.parse(stdout);
}

type Device = { readonly name: string; readonly kind: string; readonly description: string };
type Devices = { readonly devices: readonly Device[]; readonly missing: readonly unknown[]; readonly defaultDevice: string };

const devices = (env: Record<string, string> = {}) =>
  inProcess<Devices>(
    `import { listDevices } from ${JSON.stringify(library)}; process.stdout.write(JSON.stringify(await listDevices()));`,
    env,
  );

/** What is missing here, or undefined. */
async function obstacle(): Promise<string | undefined> {
  if (process.platform !== "linux" || process.arch !== "x64") return "runs on Linux x64 only";
  if (!runtimeLibraries("vulkan", false)[0]?.path) return "libvulkan.so.1 is missing: apt-get install libvulkan1 mesa-vulkan-drivers";
  try {
    if (!existsSync(path.join(folder, "node_modules"))) {
      mkdirSync(folder, { recursive: true });
      writeFileSync(path.join(folder, "package.json"), '{ "private": true }\n');
      const args = ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", packageName];
      execFileSync("npm", args, { cwd: folder, stdio: "pipe", timeout: 300_000 });
    }
  } catch (error) {
    return `${packageName} cannot be installed: ${(error as Error).message.split("\n")[0]}`;
  }
  const list = await devices();
  return list.devices.some((d) => d.name === "vulkan:0") ? undefined : `no Vulkan device: ${JSON.stringify(list.missing)}`;
}

const missing = await obstacle();
if (missing) console.warn(`Vulkan is not tested: ${missing}`);

const flat = (scores: unknown): number[] => [scores as number[] | number[][]].flat(2);

interface Run {
  readonly model: string;
  readonly devices: string | readonly string[];
  readonly calls: readonly (readonly [pairs: unknown, options: unknown])[];
}

/** Scores of each call. */
const score = ({ model, devices: on, calls }: Run, env: Record<string, string>) =>
  inProcess<number[][]>(
    `import { FlagAutoReranker } from ${JSON.stringify(library)};
    const reranker = await FlagAutoReranker.fromFinetuned(${JSON.stringify(model)}, { devices: ${JSON.stringify(on)} });
    const scores = [];
    for (const [pairs, options] of ${JSON.stringify(calls)}) scores.push((await reranker.computeScore(pairs, options)).flat());
    await reranker.dispose();
    process.stdout.write(JSON.stringify(scores));`,
    env,
  );

// The software device takes up to half a minute for a call of a decoder, so the rest is for BGE_TEST_VULKAN=all.
const all = process.env.BGE_TEST_VULKAN === "all";
const chosen = new Set(["basic", "compress-r2-l4-cdefault"]);
if (all) for (const id of ["multilingual", "medium", "edge", "compress-r4-l2-cdefault", "cutoff-several"]) chosen.add(id);
const casesOf = (name: string): readonly GoldenCase[] =>
  readCases(name).filter((c) => chosen.has(c.id) && Object.keys(c.constructor).length === 0 && c.returns === "scores");
/** Language models that run the graph of another one here. */
const sameGraph = new Set(["qwen3-seqcls-reranker", "zerank-reranker"]);
const callsOf = (cases: readonly GoldenCase[]) => cases.map((c) => [c.pairs, optionsOf(c.compute_score)] as const);

const records: PlatformRecord[] = [];
function record(combination: string, detail: string): void {
  records.push({ area: "devices", combination, how: "test/parity/vulkan.test.ts, Mesa's software device", result: "pass", detail });
}

afterAll(() => {
  if (records.length > 0) writeRecords("vulkan", records);
});

/** Largest and median error. */
function errorsOf(got: readonly number[][], cases: readonly GoldenCase[]) {
  const errors = cases.flatMap((c, i) => flat(c.scores).map((x, j) => Math.abs((got[i]?.[j] ?? Number.NaN) - x))).sort((a, b) => a - b);
  return { median: errors[errors.length >> 1] as number, max: errors.at(-1) as number, count: errors.length };
}

describe.skipIf(missing !== undefined)("vulkan:0", () => {
  describe.each(checkpoints.filter(({ name }) => all || !sameGraph.has(name)))("$name", ({ name, tolerance }) => {
    const cases = casesOf(name);

    it("gives the reference's scores in F32", async () => {
      const got = await score({ model: await goldenGguf(name, "f32"), devices: "vulkan:0", calls: callsOf(cases) }, EXACT);
      for (const [i, c] of cases.entries()) {
        const limit = Math.max(tolerance, 10 * c.fp32_noise);
        const wanted = flat(c.scores);
        expect(got[i]?.length).toBe(wanted.length);
        for (const [j, x] of wanted.entries()) expect(Math.abs((got[i]?.[j] as number) - x), `${c.id} ${j}`).toBeLessThan(limit);
      }
      const { median, max, count } = errorsOf(got, cases);
      record(`Vulkan, ${name}, F32`, `|logit error| median ${median.toExponential(1)}, max ${max.toExponential(1)} over ${count} scores`);
    }, 300_000);

    // Rounded factors and weights move tiny random models by much, so the spread of the scores is the yardstick.
    it.runIf(all || name === "bert-reranker").each([
      ["f32", {}, "F32, factors in F16"],
      ["q8_0", {}, "Q8_0"],
    ] as const)(
      "%s with the device's own precision is close",
      async (outtype, env, label) => {
        const got = await score({ model: await goldenGguf(name, outtype), devices: "vulkan:0", calls: callsOf(cases) }, env);
        const { median, max, count } = errorsOf(got, cases);
        console.log(`${name} vulkan ${label}: |logit error| median ${median.toExponential(1)}, max ${max.toExponential(1)}`);
        const reference = cases.flatMap((c) => flat(c.scores));
        const mean = reference.reduce((a, b) => a + b, 0) / reference.length;
        const spread = Math.sqrt(reference.reduce((sum, x) => sum + (x - mean) ** 2, 0) / reference.length);
        expect(median).toBeLessThan((outtype === "f32" ? 0.05 : 0.25) * spread);
        record(
          `Vulkan, ${name}, ${label}`,
          `|logit error| median ${median.toExponential(1)}, max ${max.toExponential(1)} over ${count} scores`,
        );
      },
      300_000,
    );
  });

  const pairs = Array.from({ length: 24 }, (_, i) => ["what is a panda?", `text ${i} ${"about a bear ".repeat(1 + (i % 7))}`]);

  it("halves batches that do not fit the device's memory, and refuses a pair that does not fit alone", async () => {
    const run = { model: await goldenGguf("bert-reranker", "f32"), devices: "vulkan:0", calls: [[pairs, {}]] } as const;
    const [free] = await score(run, EXACT);
    const [tight] = await score(run, { ...EXACT, BGE_DEVICE_MEMORY: "200000" });
    for (const [i, x] of (free as number[]).entries()) expect(Math.abs((tight?.[i] as number) - x)).toBeLessThan(1e-5);
    await expect(score(run, { ...EXACT, BGE_DEVICE_MEMORY: "1000" })).rejects.toThrow("OUT_OF_MEMORY");
    record("Vulkan, memory limit", "24 pairs in 200 kB of work memory give the scores of one batch; 1 kB is refused with OUT_OF_MEMORY");
  }, 300_000);

  it("shares a call's pairs with the CPU", async () => {
    const model = await goldenGguf("xlmr-m3-reranker", "f32");
    const [alone] = await score({ model, devices: "cpu", calls: [[pairs, {}]] }, EXACT);
    const [shared] = await score({ model, devices: ["vulkan:0", "cpu"], calls: [[pairs, {}]] }, EXACT);
    for (const [i, x] of (alone as number[]).entries()) expect(Math.abs((shared?.[i] as number) - x)).toBeLessThan(1e-4);
    record("Vulkan and CPU, one call", "24 pairs shared out give the CPU's scores, in order");
  }, 300_000);

  it("is told apart from a GPU, and never the default", async () => {
    const list = await devices();
    expect(list.devices.find((d) => d.name === "vulkan:0")?.kind).toBe("software");
    expect(list.defaultDevice).toBe("cpu");
  });

  it("says why a device is missing", async () => {
    expect(JSON.stringify((await devices({ GGML_VK_VISIBLE_DEVICES: "7" })).missing)).toContain("libggml-vulkan.so");
  });
});

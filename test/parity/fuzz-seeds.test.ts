// The native fuzz targets, built without libFuzzer, over their seeds and what fuzzing found before: sanitizers and the targets'
// own properties judge. `npm run fuzz` goes further.
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const build = join(root, "build", "fuzz", "replay");
const seeds = join(root, "build", "fuzz", "seeds");
const corpus = join(root, "test", "native", "fuzz", "corpus");
const run = (command: string, args: readonly string[], env = {}) =>
  spawnSync(command, args, { encoding: "utf8", env: { ...process.env, ...env }, timeout: 900_000 });

const missing = [
  process.platform === "linux" ? undefined : "files in memory (memfd_create) are Linux's",
  run("cmake", ["--version"]).status === 0 ? undefined : "cmake is not installed",
  run(process.env.CXX ?? "c++", ["--version"]).status === 0 ? undefined : "there is no C++ compiler",
].find((reason) => reason !== undefined);
if (missing) console.warn(`Fuzz seeds are not replayed: ${missing}`);

describe.skipIf(missing)("fuzz seeds", () => {
  let env: Record<string, string>;

  beforeAll(async () => {
    mkdirSync(build, { recursive: true });
    const configured = run("cmake", ["-S", join(root, "test", "native", "fuzz"), "-B", build]);
    expect(configured.status, configured.stderr).toBe(0);
    const built = run("cmake", ["--build", build, "--parallel", "2"]);
    expect(built.status, built.stdout + built.stderr).toBe(0);
    const { makeAllNativeSeeds } = await import("../fuzz/native-seeds.mjs");
    env = await makeAllNativeSeeds(seeds);
  }, 1_200_000);

  it.each(["gguf", "tokenizer"])("%s", (target) => {
    const { status, stdout, stderr } = run(join(build, `fuzz-${target}`), [join(seeds, target), join(corpus, target)], env);
    expect(status, stderr.slice(-3000)).toBe(0);
    expect(Number(/^(\d+) inputs/m.exec(stdout)?.[1])).toBeGreaterThan(10);
  });
});

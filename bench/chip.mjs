// What the chip's own units reach, by the project's native benchmark: one thread, registers alone.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");

/** @returns {{ isa, f32, int8 } | { reason }} Gop/s of one thread, two operations a multiply-add. */
export function measureChip() {
  const source = path.join(root, "test", "native");
  const build = path.join(root, "build", "native-tests");
  if (!existsSync(path.join(source, "cpu", "bench.cpp"))) return { reason: "test/native/cpu/bench.cpp is not there" };
  try {
    const cmake = (...args) => execFileSync("cmake", args, { stdio: "pipe" });
    cmake("-S", source, "-B", build, "-DCMAKE_BUILD_TYPE=Release");
    cmake("--build", build, "--target", "cpu-bench", "--parallel", "2");
    const { isa, peak } = JSON.parse(execFileSync(path.join(build, "cpu-bench"), ["--json", "--rounds", "1"], { encoding: "utf8" }));
    if (!(peak.int8 > 0)) return { isa, reason: `cpu-bench knows no yardstick for ${isa}` };
    return { isa, f32: peak.f32, int8: peak.int8 };
  } catch (error) {
    const lines = String(error.stderr ?? error.message)
      .trim()
      .split("\n");
    return { reason: `cpu-bench did not build or run: ${lines.at(-1)}` };
  }
}

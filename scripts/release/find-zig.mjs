// The zig that cross-compiles: that of BGE_ZIG, of Python's ziglang (build/zig first) or of PATH.
import { spawnSync } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..");

/** @returns {string | undefined} The program, if there is one. */
export function findZig() {
  if (process.env.BGE_ZIG) return process.env.BGE_ZIG;
  for (const python of [path.join(root, "build", "zig", "bin", "python3"), "python3"]) {
    const code = "import ziglang, os; print(os.path.join(os.path.dirname(ziglang.__file__), 'zig'))";
    const { status, stdout } = spawnSync(python, ["-c", code], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    if (status === 0) return stdout.trim();
  }
  return spawnSync("zig", ["version"]).status === 0 ? "zig" : undefined;
}

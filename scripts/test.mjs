// All tests this machine can do: types and style, native tests, then vitest. Arguments go to vitest.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const bin = (name) => path.join(root, "node_modules", ".bin", process.platform === "win32" ? `${name}.cmd` : name);
const only = process.argv.slice(2);

function run(title, command, args) {
  console.log(`\n== ${title}`);
  const { status } = spawnSync(command, args, { cwd: root, stdio: "inherit", shell: process.platform === "win32" });
  if (status !== 0) {
    console.error(`\n${title}: failed`);
    process.exit(status ?? 1);
  }
}

if (only.length === 0) {
  run("style (biome)", bin("biome"), ["check", "."]);
  run("floors of native/", process.execPath, [path.join("scripts", "checks", "native-includes.mjs")]);
  run("types (tsc)", bin("tsc"), ["--noEmit", "-p", "test"]);
  run("types of the page (tsc)", bin("tsc"), ["-p", path.join("src", "server", "page")]);
  run("package (publint)", bin("publint"), ["--strict"]);
  const native = path.join(root, "build", "native-tests");
  if (existsSync(path.join(root, "test", "native", "CMakeLists.txt"))) {
    run("native tests: configure", "cmake", ["-S", path.join("test", "native"), "-B", native, "-DCMAKE_BUILD_TYPE=Release"]);
    run("native tests: build", "cmake", ["--build", native, "--parallel", "2"]);
    run("native tests", "ctest", ["--test-dir", native, "--output-on-failure"]);
  }
}
run("vitest", bin("vitest"), ["run", ...only]);

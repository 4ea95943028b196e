// Installs the peers on demand, and says why one is not there.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const folder = path.dirname(fileURLToPath(import.meta.url));
const versions = JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8")).optionalDependencies;
const npm = process.platform === "win32" ? "npm.cmd" : "npm";

function installedVersion(name) {
  const manifest = path.join(folder, "node_modules", name, "package.json");
  return existsSync(manifest) ? JSON.parse(readFileSync(manifest, "utf8")).version : undefined;
}

const isReady = (name) => installedVersion(name) === versions[name];

/**
 * Installs what is not there yet. No install script runs: none of the peers needs its own on the CPU.
 * @returns {Map<string, string>} The peers that are missing, with the reason.
 */
export function installPeers(names) {
  const missing = new Map();
  const wanted = [...new Set(names)].filter((name) => !isReady(name));
  if (wanted.length === 0) return missing;
  console.error(`Installing the peers in bench/: ${wanted.join(", ")} ...`);
  const args = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"];
  const { status, stderr, error } = spawnSync(npm, args, { cwd: folder, encoding: "utf8", shell: process.platform === "win32" });
  const failure = error?.message ?? (status === 0 ? undefined : firstError(stderr));
  for (const name of wanted) if (!isReady(name)) missing.set(name, `not installed: ${failure ?? whyLeftOut(name)}`);
  return missing;
}

/** npm leaves out an optional dependency without a word; asking for it alone tells the reason. */
function whyLeftOut(name) {
  const { status, stderr } = spawnSync(npm, ["view", `${name}@${versions[name]}`, "version"], {
    encoding: "utf8",
    shell: process.platform === "win32",
  });
  return status === 0 ? "npm left it out; it may not support this platform" : firstError(stderr);
}

function firstError(stderr) {
  const line = stderr.split("\n").find((text) => /npm (error|ERR!)/.test(text));
  return line?.replace(/npm (error|ERR!) /, "").trim() ?? "npm failed";
}

/** @returns {string | undefined} Why PyTorch cannot be measured here. */
export function whyNoTorch() {
  try {
    execFileSync("python3", ["-c", "import torch, transformers"], { stdio: "pipe" });
    return undefined;
  } catch (error) {
    if (error.code === "ENOENT") return "there is no python3";
    return String(error.stderr).trim().split("\n").at(-1);
  }
}

export const peerVersion = (name) => installedVersion(name);

// Finds the prebuilt ggml libraries of the @node-llama-cpp packages on disk. Their packages export only ".", so the
// folder is reached from there; file names carry version and variant, so they are matched, not spelled.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { RerankerError } from "../errors.js";
import { ownFile, requireFrom } from "./own-folder.js";

const systems: Partial<Record<NodeJS.Platform, string>> = { linux: "linux", darwin: "mac", win32: "win" };
const extensions: Partial<Record<NodeJS.Platform, readonly string[]>> = { linux: [".so"], darwin: [".dylib", ".so"], win32: [".dll"] };

export interface GgmlLibraries {
  readonly folder: string;
  readonly base: string;
  readonly ggml: string;
}

/** The package whose libraries run on this machine's CPU. */
export function cpuPackage(): string {
  const system = systems[process.platform] ?? process.platform;
  const arch = process.arch === "arm" ? "armv7l" : process.arch;
  return `@node-llama-cpp/${system}-${arch}${system === "mac" && arch === "arm64" ? "-metal" : ""}`;
}

/** Packages that carry a GPU backend for this machine, best first. */
export function gpuPackages(family: "cuda" | "vulkan" | "metal"): readonly string[] {
  const system = systems[process.platform] ?? process.platform;
  if (family === "metal") return [cpuPackage()];
  const name = `@node-llama-cpp/${system}-${process.arch}-${family}`;
  return family === "cuda" ? [name, `${name}-ext`] : [name];
}

/** Electron runs code from inside app.asar, but shared libraries lie unpacked beside it. */
export function onDisk(file: string): string {
  const unpacked = file.replace(/([\\/])app\.asar(?=[\\/])/g, "$1app.asar.unpacked");
  return unpacked !== file && existsSync(unpacked) ? unpacked : file;
}

/**
 * The folder of libraries inside an installed package, or undefined. Looked for beside us, then as the application's entry
 * script sees it; never from the current directory, which may be anybody's.
 */
export function librariesOf(packageName: string): string | undefined {
  const bases = ownFile === undefined ? [] : [ownFile];
  if (process.argv[1] && path.isAbsolute(process.argv[1])) bases.push(process.argv[1]);
  for (const base of bases) {
    try {
      const main = requireFrom(base).resolve(packageName);
      const bins = onDisk(path.join(path.dirname(main), "..", "bins"));
      const first = readdirSync(bins, { withFileTypes: true }).find((entry) => entry.isDirectory());
      if (first) return path.join(bins, first.name);
    } catch {
      // not installed as seen from there
    }
  }
  return undefined;
}

function find(folder: string, pattern: RegExp): string | undefined {
  const name = readdirSync(folder).find((n) => pattern.test(n));
  return name && path.join(folder, name);
}

/** Files of one kind of backend module in a folder: cpu (one a microarchitecture), cuda, vulkan, metal. */
export function modulesIn(folder: string, kind: string): string[] {
  const endings = (extensions[process.platform] ?? [".so"]).map((e) => `\\${e}`).join("|");
  const pattern = new RegExp(`^(lib)?ggml-${kind}([-.].*)?(${endings})$`);
  return readdirSync(folder)
    .filter((n) => pattern.test(n))
    .map((n) => path.join(folder, n));
}

/** @throws {RerankerError} `GGML_VERSION` */
export function checkPackageVersion(folder: string, packageName: string, wanted: string): void {
  const manifest = path.join(folder, "..", "..", "package.json");
  if (!existsSync(manifest)) return;
  const { version } = JSON.parse(readFileSync(manifest, "utf8")) as { version?: string };
  if (version === wanted) return;
  throw new RerankerError(
    "GGML_VERSION",
    `Found ${packageName} ${version} at ${path.dirname(manifest)}, but this package runs on exactly ${wanted}: npm install ${packageName}@${wanted}`,
  );
}

/**
 * The libraries to open: those of BGE_GGML_DIR, else of the installed package.
 *
 * @throws {RerankerError} `GGML_NOT_FOUND` naming the package to install · `GGML_VERSION` for another version of it.
 */
export function findGgml(packageVersion: string): GgmlLibraries {
  const name = cpuPackage();
  const folder = process.env.BGE_GGML_DIR ?? librariesOf(name);
  if (!folder) {
    throw new RerankerError(
      "GGML_NOT_FOUND",
      `The package ${name} with the ggml libraries for ${process.platform}-${process.arch} is not installed. ` +
        `Run npm install ${name}@${packageVersion} (installs with --omit=optional leave it out), or set BGE_GGML_DIR to a folder of ggml libraries.`,
    );
  }
  if (!process.env.BGE_GGML_DIR) checkPackageVersion(folder, name, packageVersion);
  const base = existsSync(folder) ? find(folder, /^(lib)?ggml-base\.(so|dylib|dll)/) : undefined;
  const ggml = existsSync(folder) ? find(folder, /^(lib)?ggml\.(?:[a-z]+\.)?(?:v[\d.]+\.)?(so|dylib|dll)/) : undefined;
  if (!base || !ggml) throw new RerankerError("GGML_NOT_FOUND", `No ggml libraries in ${folder}`);
  return { folder, base, ggml };
}

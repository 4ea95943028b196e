// Finds, tries and registers the GPU modules of the optional packages, and chooses devices.
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { RerankerError } from "../errors.js";
import { packageRoot } from "./addon-files.js";
import { checkPackageVersion, gpuPackages, librariesOf, modulesIn } from "./ggml-libraries.js";
import { type GpuFamily, type RuntimeLibrary, runtimeLibraries } from "./gpu-runtimes.js";
import { ggmlPrebuilt, loadNative, type NativeAddon, type NativeDevice, openedLibraries } from "./native.js";

/** What was tried to get one kind of device, and why it is not there. */
export interface MissingDevice {
  readonly family: string;
  readonly reason: string;
}

const missing = new Map<GpuFamily, string>();
let loading: Promise<void> | undefined;

/** Best first. */
const families: readonly GpuFamily[] = process.platform === "darwin" ? ["metal"] : ["cuda", "vulkan"];

/** Registers the GPU modules that are installed, once per process. What is missing is told by missingDevices(). */
export async function loadGpuModules(): Promise<NativeAddon> {
  const addon = loadNative();
  loading ??= (async () => {
    for (const family of families) {
      if (hasFamily(addon, family)) continue; // compiled in, or another environment of this process has loaded it
      const reason = addon.builtin ? notCompiledIn(family) : await register(addon, family);
      if (reason !== undefined) missing.set(family, reason);
    }
  })();
  await loading;
  return addon;
}

/** Kinds of device that loadGpuModules() looked for in vain, with the reason. */
export function missingDevices(): MissingDevice[] {
  return [...missing].map(([family, reason]) => ({ family, reason }));
}

/**
 * Makes sure that a device is registered and returns its full name.
 *
 * @param name - "cpu", "cuda:0", "vulkan", "metal" ...; undefined = the best present.
 * @throws {RerankerError} `DEVICE_NOT_FOUND` with the reason.
 */
export async function ensureDevice(name?: string): Promise<string> {
  if (name === undefined) return defaultDevice();
  const addon = name === "cpu" ? loadNative() : await loadGpuModules();
  const device = addon.devices().find((d) => d.name === name || d.name === `${name}:0`);
  if (device) return device.name;
  const reason = missingDevices().find((m) => name.startsWith(m.family))?.reason;
  const present = addon.devices().map((d) => d.name);
  throw new RerankerError("DEVICE_NOT_FOUND", `No device '${name}'${reason ? `: ${reason}` : ""}. Present: ${present.join(", ")}.`);
}

/** The device of a load that names none: a GPU whose package is installed and which runs, else the CPU. */
export async function defaultDevice(): Promise<string> {
  const addon = families.some(isOptIn) ? await loadGpuModules() : loadNative();
  return bestOf(addon.devices());
}

/**
 * A CUDA or Vulkan GPU with memory of its own. Integrated ones share the CPU's memory and are not always faster; software
 * devices never are; Metal comes with the CPU package, so that nobody has chosen it. These are used when they are named.
 */
export function bestOf(devices: readonly NativeDevice[]): string {
  const gpus = devices.filter((d) => d.kind === "gpu");
  const best = families.filter(isOptIn).flatMap((family) => gpus.filter((d) => d.name.startsWith(`${family}:`)))[0];
  return best?.name ?? "cpu";
}

function isOptIn(family: GpuFamily): boolean {
  if (family === "metal") return false;
  return loadNative().builtin || gpuPackages(family).some((name) => librariesOf(name) !== undefined);
}

function hasFamily(addon: NativeAddon, family: GpuFamily): boolean {
  return addon.devices().some((d) => d.name.startsWith(`${family}:`));
}

/** Modules belong to the ggml of their package; one that is compiled into the addon cannot take them. */
function notCompiledIn(family: GpuFamily): string {
  const build = `npx bge-reranker build --ggml source -- -DGGML_${family.toUpperCase()}=ON`;
  return `ggml is compiled into this addon, without ${family} or with no device for it; ${build} compiles it with ${family}`;
}

/** @returns Why there is no device of this family, or undefined when there is one. */
async function register(addon: NativeAddon, family: GpuFamily): Promise<string | undefined> {
  const { folder, placement } = openedLibraries();
  const packages = gpuPackages(family);
  const reasons: string[] = [];
  for (const bins of foldersOf(packages, folder, reasons)) {
    for (const original of modulesOf(bins, family, reasons)) {
      const libraries = runtimeLibraries(family, path.basename(bins) === "fallback");
      const place = () => placement?.module(original) ?? original;
      const reason = await tryModule(addon, place, libraries).catch((error: Error) => error.message);
      if (reason === undefined && hasFamily(addon, family)) return undefined;
      reasons.push(
        `${path.basename(original)}${path.basename(bins) === "fallback" ? " (fallback)" : ""}: ${reason ?? "it sees no device"}`,
      );
    }
  }
  return reasons.join("; ") || `${packages[0]} is not installed: npm install ${packages[0]}@${ggmlPrebuilt}`;
}

/** Folders that may hold a module, in the order to try them. A package of another version goes to `reasons`. */
function foldersOf(packages: readonly string[], own: string | undefined, reasons: string[]): string[] {
  const folders = own ? [own] : [];
  for (const name of packages) {
    const bins = librariesOf(name);
    if (!bins) continue;
    try {
      checkPackageVersion(bins, name, ggmlPrebuilt);
      folders.push(bins, path.join(bins, "fallback"));
    } catch (error) {
      reasons.push((error as Error).message);
    }
  }
  return folders.filter((folder) => existsSync(folder));
}

/** A damaged package is a reason why there is no GPU, never one why nothing runs. */
function modulesOf(folder: string, family: GpuFamily, reasons: string[]): readonly string[] {
  try {
    return modulesIn(folder, family);
  } catch (error) {
    reasons.push((error as Error).message);
    return [];
  }
}

async function tryModule(addon: NativeAddon, place: () => string, libraries: readonly RuntimeLibrary[]): Promise<string | undefined> {
  const file = place();
  const paths = libraries.map(({ name, path: found }) => found ?? name);
  const crash = await tryInChild(file, paths);
  if (crash !== undefined) return crash;
  for (const [i, library] of libraries.entries()) {
    const error = addon.preload(paths[i] as string);
    if (error !== "") return `${library.name} is missing (${error}). Install ${library.install}`;
  }
  try {
    addon.loadModule(file);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/**
 * Loads the module in another process first: a broken driver then ends that one.
 *
 * @returns How that process died; undefined when it lived, also on an error that this process can tell better.
 */
async function tryInChild(file: string, libraries: readonly string[]): Promise<string | undefined> {
  const script = path.join(packageRoot, "lib", "addon", "gpu-probe.js");
  // Only Node itself: an app's own executable would start the app again.
  if (!/^node(\.exe)?$/i.test(path.basename(process.execPath)) || !existsSync(script)) return undefined;
  try {
    await promisify(execFile)(process.execPath, [script, file, ...libraries], { timeout: 60_000, windowsHide: true });
    return undefined;
  } catch (error) {
    const { signal, code, killed } = error as { signal?: string | null; code?: number | string | null; killed?: boolean };
    if (killed) return "its driver does not answer: loading it in a process of its own took more than a minute";
    // 1: an error told in words. Windows has no signals, but codes of its own for crashes.
    if (!signal && code === 1) return undefined;
    return `its driver crashes: loading it in a process of its own ended with ${signal ?? code}`;
  }
}

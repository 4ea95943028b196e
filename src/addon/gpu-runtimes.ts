// The libraries of drivers and toolkits that a GPU module needs and no npm package carries: which they are, where they
// usually lie, and what to install when they are missing.
import { existsSync, readdirSync } from "node:fs";
import path from "node:path";

export type GpuFamily = "cuda" | "vulkan" | "metal";

export interface RuntimeLibrary {
  readonly name: string;
  /** undefined: in none of the usual places, so only the system's loader may know it. */
  readonly path: string | undefined;
  /** What to install when nobody has it. */
  readonly install: string;
}

export interface RuntimePlaces {
  readonly platform: NodeJS.Platform;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Prefix of absolute folders; tests put a tree of their own there. */
  readonly root: string;
}

const here: RuntimePlaces = { platform: process.platform, env: process.env, root: "/" };

/** @param fallback - the module in the package's `fallback` folder, built for the CUDA release before. */
export function runtimeLibraries(family: GpuFamily, fallback: boolean, places: RuntimePlaces = here): RuntimeLibrary[] {
  const windows = places.platform === "win32";
  const library = (name: string, install: string): RuntimeLibrary => ({ name, path: find(name, family, places), install });
  switch (family) {
    case "cuda": {
      const major = fallback ? 12 : 13;
      const named = (name: string) => (windows ? `${name}64_${major}.dll` : `lib${name}.so.${major}`);
      const toolkit =
        `the CUDA ${major} runtime: on Debian and Ubuntu cuda-cudart-${major}-0 and libcublas-${major}-0 from NVIDIA's repository, ` +
        `or pip install ${fallback ? "nvidia-cuda-runtime-cu12 nvidia-cublas-cu12" : "nvidia-cuda-runtime nvidia-cublas"} in an active virtual environment`;
      const driver = library(windows ? "nvcuda.dll" : "libcuda.so.1", "the NVIDIA driver");
      return [driver, ...["cudart", "cublasLt", "cublas"].map((name) => library(named(name), toolkit))];
    }
    case "vulkan": {
      const loader = windows
        ? "the driver of the GPU"
        : "the Vulkan loader and the GPU's driver: on Debian and Ubuntu libvulkan1 and mesa-vulkan-drivers";
      return [library(windows ? "vulkan-1.dll" : "libvulkan.so.1", loader)];
    }
    case "metal":
      return [];
  }
}

function find(name: string, family: GpuFamily, places: RuntimePlaces): string | undefined {
  return foldersOf(family, places)
    .map((folder) => path.join(folder, name))
    .find((file) => existsSync(file));
}

function foldersOf(family: GpuFamily, { platform, env, root }: RuntimePlaces): string[] {
  const listed = (text: string | undefined) => (text ?? "").split(path.delimiter).filter((folder) => path.isAbsolute(folder));
  if (platform === "win32") {
    const toolkit = family === "cuda" && env.CUDA_PATH ? [path.join(env.CUDA_PATH, "bin"), path.join(env.CUDA_PATH, "bin", "x64")] : [];
    return [...toolkit, ...(family === "cuda" ? pythonFolders(env, "Lib", "bin") : []), ...listed(env.PATH)];
  }
  const system = ["usr/lib/wsl/lib", "usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib", "usr/local/lib"].map(
    (folder) => path.join(root, folder),
  );
  return [...listed(env.LD_LIBRARY_PATH), ...(family === "cuda" ? cudaFolders(env, root) : []), ...system];
}

/** Toolkits, newest first, and the wheels of an active Python environment. */
function cudaFolders(env: RuntimePlaces["env"], root: string): string[] {
  const local = path.join(root, "usr", "local");
  const installed = names(local)
    .filter((name) => /^cuda(-[\d.]+)?$/.test(name))
    .sort((a, b) => b.localeCompare(a, "en", { numeric: true }))
    .map((name) => path.join(local, name));
  const toolkits = [env.CUDA_PATH, env.CUDA_HOME, ...installed].filter((folder) => isSet(folder));
  const inToolkit = (folder: string) => [
    path.join(folder, "lib64"),
    path.join(folder, "lib"),
    ...names(path.join(folder, "targets")).map((target) => path.join(folder, "targets", target, "lib")),
  ];
  return [...toolkits.flatMap(inToolkit), ...pythonFolders(env, "lib", "lib")];
}

/** Folders of the nvidia-* wheels, and conda's own. */
function pythonFolders(env: RuntimePlaces["env"], library: string, inner: string): string[] {
  return [env.VIRTUAL_ENV, env.CONDA_PREFIX]
    .filter((prefix) => isSet(prefix))
    .flatMap((prefix) => {
      const base = path.join(prefix, library);
      const versions = names(base).filter((name) => name.startsWith("python"));
      const nvidia = [base, ...versions.map((name) => path.join(base, name))].map((folder) => path.join(folder, "site-packages", "nvidia"));
      return [...nvidia.flatMap((folder) => names(folder).map((name) => path.join(folder, name, inner))), base];
    });
}

function isSet(text: string | undefined): text is string {
  return text !== undefined && text !== "";
}

function names(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return []; // not there
  }
}

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { runtimeLibraries } from "../../src/addon/gpu-runtimes.js";
import { shareOut } from "../../src/reranker/scoring.js";

const root = mkdtempSync(path.join(tmpdir(), "bge-runtimes-"));
afterAll(() => rmSync(root, { recursive: true }));

function place(...parts: string[]): string {
  const file = path.join(root, ...parts);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, "");
  return file;
}

const find = (family: "cuda" | "vulkan", env: Record<string, string> = {}, fallback = false) =>
  new Map(runtimeLibraries(family, fallback, { platform: "linux", env, root }).map((library) => [library.name, library]));

describe("runtime libraries of GPU modules", () => {
  const newest = place("usr/local/cuda-13.10/targets/x86_64-linux/lib/libcudart.so.13");
  place("usr/local/cuda-13.2/targets/x86_64-linux/lib/libcudart.so.13");
  const wheel = place("venv/lib/python3.12/site-packages/nvidia/cublas/lib/libcublas.so.13");
  const wsl = place("usr/lib/wsl/lib/libcuda.so.1");
  const vulkan = place("usr/lib/x86_64-linux-gnu/libvulkan.so.1");

  it("are found in toolkits, the newest first, in wheels of an active environment and in the system's folders", () => {
    const cuda = find("cuda", { VIRTUAL_ENV: path.join(root, "venv") });
    expect(cuda.get("libcudart.so.13")?.path).toBe(newest);
    expect(cuda.get("libcublas.so.13")?.path).toBe(wheel);
    expect(cuda.get("libcuda.so.1")?.path).toBe(wsl);
    expect(find("cuda").get("libcublas.so.13")?.path).toBeUndefined();
    expect(find("vulkan").get("libvulkan.so.1")?.path).toBe(vulkan);
  });

  it("come from LD_LIBRARY_PATH before all else, and from CUDA_PATH before other toolkits", () => {
    const mine = place("mine/libcudart.so.13");
    const toolkit = place("toolkit/lib64/libcudart.so.13");
    expect(find("cuda", { CUDA_PATH: path.join(root, "toolkit") }).get("libcudart.so.13")?.path).toBe(toolkit);
    const both = { LD_LIBRARY_PATH: `relative:${path.dirname(mine)}`, CUDA_PATH: path.join(root, "toolkit") };
    expect(find("cuda", both).get("libcudart.so.13")?.path).toBe(mine);
  });

  it("say what to install, for the CUDA release that the module was built for", () => {
    expect([...find("cuda", {}, true).keys()]).toEqual(["libcuda.so.1", "libcudart.so.12", "libcublasLt.so.12", "libcublas.so.12"]);
    expect(find("cuda", {}, true).get("libcublas.so.12")?.install).toContain("nvidia-cublas-cu12");
    expect(find("cuda").get("libcudart.so.13")?.install).toContain("cuda-cudart-13-0");
    expect(find("vulkan").get("libvulkan.so.1")?.install).toContain("mesa-vulkan-drivers");
  });
});

describe("shareOut", () => {
  const counts = (sizes: number[], n: number) => shareOut(sizes, (size) => size, n).map((part) => part.length);

  it("cuts where the sums are about equal", () => {
    expect(counts([1, 1, 1, 1], 2)).toEqual([2, 2]);
    expect(counts([9, 1, 1, 1, 1, 1, 1, 1, 1, 1], 2)).toEqual([3, 7]);
    expect(counts([1000, 1, 1], 2)).toEqual([1, 2]);
  });

  it("takes no texts, empty texts and fewer texts than devices", () => {
    expect(counts([], 3)).toEqual([0, 0, 0]);
    expect(counts([0, 0, 0, 0], 2)).toEqual([2, 2]);
    expect(counts([5], 2).reduce((sum, n) => sum + n, 0)).toBe(1);
  });
});

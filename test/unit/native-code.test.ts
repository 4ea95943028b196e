// Native code comes from where this package is installed, and from nobody's current folder.
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, expect, it } from "vitest";
import { cpuPackage, gpuPackages, librariesOf } from "../../src/addon/ggml-libraries.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "bge-native-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function plant(base: string, name: string): void {
  const at = join(base, "node_modules", name);
  mkdirSync(join(at, "dist"), { recursive: true });
  mkdirSync(join(at, "bins", "planted"), { recursive: true });
  writeFileSync(join(at, "package.json"), JSON.stringify({ name, version: "3.21.1", main: "dist/index.js" }));
  writeFileSync(join(at, "dist", "index.js"), "");
}

it("not from the current folder, whatever is planted there", () => {
  const [vulkan = ""] = gpuPackages("vulkan");
  for (const name of [vulkan, cpuPackage()]) plant(folder, name);
  const library = pathToFileURL(join(root, "lib/addon/ggml-libraries.js")).href;
  const script = `import { librariesOf } from ${JSON.stringify(library)}; console.log(JSON.stringify(${JSON.stringify([vulkan, cpuPackage()])}.map((name) => librariesOf(name) ?? null)));`;
  const found = execFileSync(process.execPath, ["--input-type=module", "-e", script], { cwd: folder, encoding: "utf8" });
  expect(JSON.parse(found)).toEqual([null, librariesOf(cpuPackage()) ?? null]);
});

it("as the application's entry script sees it", () => {
  const app = join(folder, "app");
  const [vulkan = ""] = gpuPackages("vulkan");
  plant(app, vulkan);
  writeFileSync(
    join(app, "main.mjs"),
    `import { librariesOf } from ${JSON.stringify(pathToFileURL(join(root, "lib/addon/ggml-libraries.js")).href)}; console.log(librariesOf(${JSON.stringify(vulkan)}));`,
  );
  expect(execFileSync(process.execPath, [join(app, "main.mjs")], { cwd: tmpdir(), encoding: "utf8" }).trim()).toContain(
    join("bins", "planted"),
  );
});

it.skipIf(process.platform === "win32" || process.getuid?.() === undefined)("the cached addon only when it is the user's own", () => {
  // A copy of the package without a build of its own, so that the cache is looked into.
  const copy = join(folder, "copy", "bge-reranker");
  for (const part of ["lib", "package.json"]) cpSync(join(root, part), join(copy, part), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  const cache = join(folder, "cache");
  const { version } = JSON.parse(
    execFileSync(process.execPath, ["-p", `JSON.stringify(require(${JSON.stringify(join(root, "package.json"))}))`], { encoding: "utf8" }),
  );
  const file = join(cache, "bge-reranker", "addon", version, `${process.platform}-${process.arch}`, "bge_reranker.node");
  mkdirSync(join(file, ".."), { recursive: true });
  cpSync(join(root, "build/Release/bge_reranker.node"), file);
  const run = () =>
    spawnSync(process.execPath, ["--input-type=module", "-e", `import { listDevices } from ${JSON.stringify(pathToFileURL(join(copy, "lib/index.js")).href)}; await listDevices().then(() => console.log("loaded"), (error) => console.log(error.code, error.message));`], { env: { ...process.env, XDG_CACHE_HOME: cache }, encoding: "utf8" }).stdout.trim(); // biome-ignore format: one line
  expect(run()).toBe("loaded");
  chmodSync(file, 0o777);
  expect(run()).toMatch(/^ADDON_NOT_FOUND .*no file of this user's own, or others may write to it/);
  chmodSync(file, 0o755);
  chmodSync(join(file, ".."), 0o777);
  expect(run()).toMatch(/^ADDON_NOT_FOUND/);
});

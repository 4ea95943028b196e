// GPU packages that are damaged, foreign or of another version: a reason why there is no GPU, never one why the CPU does not score.
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { gpuPackages } from "../../src/addon/ggml-libraries.js";
import { ggmlPrebuilt } from "../../src/addon/native.js";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const library = pathToFileURL(path.join(root, "lib", "index.js")).href;
const folder = mkdtempSync(path.join(tmpdir(), "bge-gpu-packages-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

type Damage = (package_: string, bins: string, family: string) => void;

const manifest = (package_: string, version: unknown) =>
  writeFileSync(path.join(package_, "package.json"), JSON.stringify({ name: "@node-llama-cpp/x", version, main: "dist/index.js" }));
const module_ = (bins: string, family: string, content: string | Uint8Array) =>
  writeFileSync(path.join(bins, `libggml-${family}.so`), content);

const DAMAGES: Record<string, Damage> = {
  "a module of noise": (package_, bins, family) => {
    manifest(package_, ggmlPrebuilt);
    module_(bins, family, Buffer.alloc(100_000, 0x5a));
  },
  "a module cut short": (package_, bins, family) => {
    manifest(package_, ggmlPrebuilt);
    module_(bins, family, Buffer.from("\x7fELF\x02\x01\x01"));
  },
  "an empty module": (package_, bins, family) => {
    manifest(package_, ggmlPrebuilt);
    module_(bins, family, "");
  },
  "a folder for a module": (package_, bins, family) => {
    manifest(package_, ggmlPrebuilt);
    mkdirSync(path.join(bins, `libggml-${family}.so`));
  },
  "no module": (package_) => manifest(package_, ggmlPrebuilt),
  "a file for the folder of modules": (package_, bins) => {
    manifest(package_, ggmlPrebuilt);
    rmSync(bins, { recursive: true });
    writeFileSync(bins, "");
  },
  "another version": (package_, bins, family) => {
    manifest(package_, "1.0.0");
    module_(bins, family, "");
  },
  "a version that is no text": (package_, bins, family) => {
    manifest(package_, { major: 3 });
    module_(bins, family, "");
  },
  "a package.json that is no JSON": (package_, bins, family) => {
    manifest(package_, ggmlPrebuilt);
    writeFileSync(path.join(package_, "package.json"), '{"main": "dist/index.js", nonsense');
    module_(bins, family, "");
  },
};

describe.skipIf(process.platform !== "linux")("a GPU package with", () => {
  it.each(Object.entries(DAMAGES))("%s", async (name, damage) => {
    const app = path.join(folder, name.replaceAll(" ", "-"));
    for (const family of ["cuda", "vulkan"] as const) {
      for (const packageName of gpuPackages(family)) {
        const package_ = path.join(app, "node_modules", ...packageName.split("/"));
        const bins = path.join(package_, "bins", packageName.split("/")[1] as string);
        mkdirSync(bins, { recursive: true });
        mkdirSync(path.join(package_, "dist"));
        writeFileSync(path.join(package_, "dist", "index.js"), "");
        damage(package_, bins, family);
      }
    }
    const main = path.join(app, "main.mjs");
    writeFileSync(
      main,
      `import { listDevices, Reranker } from ${JSON.stringify(library)};
      const reranker = await Reranker.load("default");
      const scores = await reranker.computeScore(["panda", "a bear"]);
      const named = await Reranker.load("default", { devices: "vulkan" }).catch((error) => error.code);
      console.log(JSON.stringify({ device: reranker.model.device ?? reranker.model.devices, finite: scores.every(Number.isFinite), named, missing: (await listDevices()).missing }));
      await reranker.dispose();`,
    );
    const { stdout } = await promisify(execFile)(process.execPath, [main]);
    const told = JSON.parse(stdout);
    expect(told).toMatchObject({ finite: true, named: "DEVICE_NOT_FOUND" });
    expect(JSON.stringify(told.device)).toContain("cpu");
    for (const { reason } of told.missing) expect(reason.length).toBeGreaterThan(10);
  });
});

// Checks CUDA on a machine that has an NVIDIA GPU, in one go: installs the CUDA package and, where no toolkit has them,
// its runtime libraries into build/cuda; scores the golden checkpoints on cuda:0; times it against the CPU. Prints a
// Markdown section for docs/devices.md and leaves records for docs/platforms.md. Nothing is installed outside build/.
//   node scripts/setup.mjs && node scripts/checks/check-cuda.mjs
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { writeRecords } from "./platform-records.mjs";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..");
const folder = path.join(root, "build", "cuda");
const library = path.join(root, "lib", "index.js");
const { ggml } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));
const windows = process.platform === "win32";
const packageName = `@node-llama-cpp/${windows ? "win" : "linux"}-x64-cuda@${ggml.prebuilt}`;
const golden = path.join(root, "test", "golden");
const checkpoints = JSON.parse(readFileSync(path.join(golden, "checkpoints.json"), "utf8"));

function fail(message) {
  console.error(`CUDA cannot be checked here: ${message}`);
  process.exit(1);
}

function findGpu() {
  if (!(process.platform === "linux" || windows) || process.arch !== "x64")
    fail(`there is no CUDA package for ${process.platform}-${process.arch}.`);
  const asked = spawnSync("nvidia-smi", ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"], { encoding: "utf8" });
  if (asked.error) fail("nvidia-smi is not found. It comes with the NVIDIA driver, which a CUDA GPU needs.");
  if (asked.status !== 0 || asked.stdout.trim() === "") fail(`nvidia-smi sees no GPU: ${(asked.stderr || asked.stdout).trim()}`);
  return asked.stdout.trim().split("\n")[0];
}

function installPackage() {
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, "package.json"), '{ "private": true }\n');
  if (existsSync(path.join(folder, "node_modules", packageName.slice(0, packageName.lastIndexOf("@"))))) return;
  const args = ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", packageName];
  execFileSync("npm", args, { cwd: folder, stdio: "inherit", shell: windows });
}

/** The environment in which the runtime libraries are found: the machine's own, else with wheels from PyPI. */
async function withRuntime() {
  const { runtimeLibraries } = await import(path.join(root, "lib", "addon", "gpu-runtimes.js"));
  const missing = (env) => runtimeLibraries("cuda", false, { platform: process.platform, env, root: "/" }).filter((l) => !l.path);
  if (missing(process.env).length === 0) return process.env;
  const venv = path.join(folder, "venv");
  const env = { ...process.env, VIRTUAL_ENV: venv };
  if (missing(env).some(({ name }) => name.includes("cublas") || name.includes("cudart"))) {
    const python = windows ? "python" : "python3";
    const pip = path.join(venv, windows ? "Scripts" : "bin", windows ? "pip.exe" : "pip");
    try {
      execFileSync(python, ["-m", "venv", venv], { stdio: "inherit" });
      execFileSync(pip, ["install", "--quiet", "nvidia-cuda-runtime>=13,<14", "nvidia-cublas>=13,<14"], { stdio: "inherit" });
    } catch (error) {
      fail(`the CUDA 13 runtime is neither installed nor to be had from PyPI (${error.message.split("\n")[0]}).`);
    }
  }
  for (const { name, install } of missing(env))
    console.error(`${name} is in none of the usual places; if CUDA does not load, install ${install}.`);
  return env;
}

/** Runs a module in a process of its own, from where the CUDA package is found, and returns what it prints as JSON. */
function inProcess(source, env) {
  const args = ["--input-type=module", "-e", source];
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, env, encoding: "utf8", maxBuffer: 1 << 27 });
  if (status !== 0) fail(`a process of its own ended with ${signal ?? status}.\n${stderr.trim()}`);
  return JSON.parse(stdout);
}

/** Errors of the golden cases on cuda:0, and the cases that miss their tolerance. */
function parity({ name, tolerance }, outtype, env) {
  const model = path.join(folder, `${name}.${outtype}.gguf`);
  const cases = path.join(golden, name, "cases.json");
  const checks = inProcess(
    `import { convert, verifyModel } from ${JSON.stringify(library)};
    await convert(${JSON.stringify(path.join(golden, name))}, { output: ${JSON.stringify(model)}, outtype: "${outtype}", overwrite: true });
    const { checks } = await verifyModel(${JSON.stringify(model)}, ${JSON.stringify({ cases, tolerance, devices: "cuda:0" })});
    process.stdout.write(JSON.stringify(checks.filter(({ kind }) => kind === "score")));`,
    env,
  );
  const errors = checks.map(({ difference }) => difference).sort((a, b) => a - b);
  const over = [...new Set(checks.filter(({ ok }) => !ok).map(({ id }) => id))];
  return { median: errors[errors.length >> 1], max: errors.at(-1), over, count: errors.length };
}

/** Documents a second, 64 of about 300 tokens, with the shape of bge-reranker-v2-m3 and random weights. */
function throughput(device, outtype, env) {
  const checkpoint = path.join(folder, "m3-shape");
  const model = path.join(folder, `m3-shape.${outtype}.gguf`);
  const node = (...args) =>
    execFileSync(process.execPath, args, { cwd: folder, env, stdio: ["ignore", "pipe", "inherit"], encoding: "utf8" });
  const cli = path.join(root, "lib", "cli.js");
  if (!existsSync(path.join(checkpoint, "config.json"))) {
    const tokenizer = path.join(golden, "xlmr-m3-reranker", "tokenizer.json");
    node(
      path.join(root, "scripts", "make", "make-random-checkpoint.mjs"),
      "bge-reranker-v2-m3",
      checkpoint,
      "--tokenizer",
      tokenizer,
      "--dtype",
      "f16",
    );
  }
  if (!existsSync(model)) node(cli, "convert", checkpoint, "-o", model, "--outtype", outtype);
  return JSON.parse(node(cli, "bench", "--model", model, "--devices", device, "--documents", "64", "--tokens", "300", "--json"))
    .documentsPerSecond;
}

const gpu = findGpu();
installPackage();
const env = await withRuntime();
const { devices, missing } = inProcess(
  `import { listDevices } from ${JSON.stringify(library)}; process.stdout.write(JSON.stringify(await listDevices()));`,
  env,
);
if (!devices.some(({ name }) => name === "cuda:0")) fail(missing.find(({ family }) => family === "cuda")?.reason ?? "no device was found.");

const records = [];
const lines = [
  `### CUDA: ${gpu}`,
  "",
  "| model | F32, median | F32, max | cases over the tolerance | Q8_0, median |",
  "|---|---|---|---|---|",
];
let failed = false;
for (const checkpoint of checkpoints) {
  const { name } = checkpoint;
  // cuBLAS would round the factors of F32 products to TF32.
  const f32 = parity(checkpoint, "f32", { ...env, NVIDIA_TF32_OVERRIDE: "0" });
  const q8 = parity(checkpoint, "q8_0", env);
  const e = (x) => x.toExponential(1);
  lines.push(`| ${name} | ${e(f32.median)} | ${e(f32.max)} | ${f32.over.join(", ") || "none"} | ${e(q8.median)} |`);
  failed ||= f32.over.length > 0;
  records.push({
    area: "devices",
    combination: `CUDA, ${gpu}, ${name}`,
    how: "scripts/checks/check-cuda.mjs",
    result: f32.over.length > 0 ? "fail" : "pass",
    detail: `|logit error| in F32: median ${e(f32.median)}, max ${e(f32.max)} over ${f32.count} scores`,
  });
}
lines.push("", "| shape of v2-m3, 64 documents of 300 tokens | documents/s |", "|---|---|");
for (const [device, outtype] of [
  ["cuda:0", "f16"],
  ["cuda:0", "q8_0"],
  ["cpu", "q8_0"],
]) {
  lines.push(`| ${device}, ${outtype} | ${throughput(device, outtype, env).toFixed(1)} |`);
}
writeRecords("cuda", records);
console.log(lines.join("\n"));
process.exit(failed ? 1 : 0);

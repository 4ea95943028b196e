// Checks CUDA on a machine that has an NVIDIA GPU, in one go: installs the CUDA package and, where no toolkit has them,
// its runtime libraries into build/cuda; scores the golden checkpoints on cuda:0; times it against the CPU. Prints a
// Markdown section for docs/devices.md and leaves records for docs/platforms.md. Nothing is installed outside build/.
//   node scripts/setup.mjs && node scripts/check-cuda.mjs
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const folder = path.join(root, "build", "cuda");
const library = path.join(root, "lib", "index.js");
const { ggml } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));
const windows = process.platform === "win32";
const packageName = `@node-llama-cpp/${windows ? "win" : "linux"}-x64-cuda@${ggml.prebuilt}`;
/** Largest error of a score in F32, as test/golden/README.md gives it. */
const TOLERANCES = {
  "xlmr-reranker": 2e-4,
  "xlmr-m3-reranker": 1e-4,
  "bert-reranker": 2e-4,
  "gemma-reranker": 2e-4,
  "minicpm-layerwise-reranker": 5e-4,
  "gemma2-lightweight-reranker": 3e-4,
};

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
  const { runtimeLibraries } = await import(path.join(root, "lib", "gpu-runtimes.js"));
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

const camel = (options) =>
  Object.fromEntries(Object.entries(options).map(([key, value]) => [key.replace(/_(\w)/g, (_, c) => c.toUpperCase()), value]));

function parity(name, outtype, env) {
  const checkpoint = path.join(root, "test", "golden", name);
  const { cases } = JSON.parse(readFileSync(path.join(checkpoint, "cases.json"), "utf8"));
  // Cutoffs that the reference drops or mixes up are errors here or read other heads (README, differences).
  const used = cases.filter(
    (c) => c.returns === "scores" && Object.keys(c.constructor).length === 0 && !/^cutoff-(with-invalid|unsorted)$/.test(c.id),
  );
  const calls = used.map((c) => [c.flat_pair ? c.pairs[0] : c.pairs, camel(c.compute_score)]);
  const model = path.join(folder, `${name}.${outtype}.gguf`);
  const got = inProcess(
    `import { convert, FlagAutoReranker } from ${JSON.stringify(library)};
    await convert(${JSON.stringify(checkpoint)}, { output: ${JSON.stringify(model)}, outtype: "${outtype}", overwrite: true });
    const reranker = await FlagAutoReranker.fromFinetuned(${JSON.stringify(model)}, { devices: "cuda:0" });
    const scores = [];
    for (const [pairs, options] of ${JSON.stringify(calls)}) scores.push((await reranker.computeScore(pairs, options)).flat());
    await reranker.dispose();
    process.stdout.write(JSON.stringify(scores));`,
    env,
  );
  const errors = used.flatMap((c, i) => [c.scores].flat(2).map((x, j) => Math.abs(got[i][j] - x))).sort((a, b) => a - b);
  const over = used.filter(
    (c, i) => ![c.scores].flat(2).every((x, j) => Math.abs(got[i][j] - x) < Math.max(TOLERANCES[name], 10 * c.fp32_noise)),
  );
  return { median: errors[errors.length >> 1], max: errors.at(-1), over: over.map((c) => c.id), count: errors.length };
}

/** Documents a second, 64 of about 300 tokens, with the shape of bge-reranker-v2-m3 and random weights. */
function throughput(device, outtype, env) {
  const checkpoint = path.join(folder, "m3-shape");
  const model = path.join(folder, `m3-shape.${outtype}.gguf`);
  const node = (...args) =>
    execFileSync(process.execPath, args, { cwd: folder, env, stdio: ["ignore", "pipe", "inherit"], encoding: "utf8" });
  const cli = path.join(root, "lib", "cli.js");
  if (!existsSync(path.join(checkpoint, "config.json"))) {
    const tokenizer = path.join(root, "test", "golden", "xlmr-m3-reranker", "tokenizer.json");
    node(
      path.join(root, "scripts", "make-random-checkpoint.mjs"),
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
for (const name of Object.keys(TOLERANCES)) {
  // cuBLAS would round the factors of F32 products to TF32.
  const f32 = parity(name, "f32", { ...env, NVIDIA_TF32_OVERRIDE: "0" });
  const q8 = parity(name, "q8_0", env);
  const e = (x) => x.toExponential(1);
  lines.push(`| ${name} | ${e(f32.median)} | ${e(f32.max)} | ${f32.over.join(", ") || "none"} | ${e(q8.median)} |`);
  failed ||= f32.over.length > 0;
  records.push({
    area: "devices",
    combination: `CUDA, ${gpu}, ${name}`,
    how: "scripts/check-cuda.mjs",
    result: f32.over.length > 0 ? "failed" : "passed",
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
mkdirSync(path.join(root, "build", "platforms"), { recursive: true });
writeFileSync(path.join(root, "build", "platforms", "cuda.json"), `${JSON.stringify(records, null, 2)}\n`);
console.log(lines.join("\n"));
process.exit(failed ? 1 : 0);

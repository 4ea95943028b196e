// Checks CUDA on a machine that has an NVIDIA GPU, in one go: takes the CUDA package and, where no toolkit has them, its runtime
// libraries into build/cuda; scores the golden checkpoints on cuda:0; times it against the CPU, and beside FlagEmbedding in torch
// float16. Prints a Markdown section for docs/devices.md line by line, and leaves records for docs/platforms.md. Nothing is installed
// outside build/.
//   node scripts/setup.mjs && node scripts/checks/check-cuda.mjs
// Without a network carry: a checkout with node_modules, lib/ and build/Release/, Node itself, and the CUDA package (140 MB, `npm pack`)
// for --package; the CUDA 13 runtime is taken from a Python that has torch. `--list` says what is still missing.
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { writeRecords } from "./platform-records.mjs";

const USAGE = `Usage: node scripts/checks/check-cuda.mjs [options]
  --list           only say what is missing here
  --package PATH   the CUDA package, as npm packs it (.tgz) or unpacked, where npm cannot fetch it
  --only LIST      of golden, speed, anchor (default: all)
  --minutes N      begin nothing after so long (default 8); what is left out is named
  --python NAME    a Python with torch and FlagEmbedding, for the anchor (default: python3)`;

const { values: options } = parseArgs({
  options: {
    list: { type: "boolean", default: false },
    package: { type: "string" },
    only: { type: "string", default: "golden,speed,anchor" },
    minutes: { type: "string", default: "8" },
    python: { type: "string", default: "python3" },
    help: { type: "boolean", default: false },
  },
});

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..");
const folder = path.join(root, "build", "cuda");
const library = pathToFileURL(path.join(root, "lib", "index.js")).href;
const { ggml } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));
const windows = process.platform === "win32";
const packageName = `@node-llama-cpp/${windows ? "win" : "linux"}-x64-cuda`;
const golden = path.join(root, "test", "golden");
// Packages of GPUs are found as the entry script sees them, so what needs one runs from here.
const launcher = path.join(folder, "application.mjs");
const started = performance.now();
const minutes = () => (performance.now() - started) / 60_000;
const log = (line) => console.error(`  ${(60 * minutes()).toFixed(0)} s: ${line}`);

function fail(message) {
  console.error(`CUDA cannot be checked here: ${message}`);
  process.exit(1);
}

/** The GPU, or why there is none. */
function findGpu() {
  if (!(process.platform === "linux" || windows) || process.arch !== "x64")
    return { why: `there is no CUDA package for ${process.platform}-${process.arch}` };
  const asked = spawnSync("nvidia-smi", ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"], { encoding: "utf8" });
  if (asked.error) return { why: "nvidia-smi is not found; it comes with the NVIDIA driver, which a CUDA GPU needs" };
  if (asked.status !== 0 || asked.stdout.trim() === "") return { why: `nvidia-smi sees no GPU: ${(asked.stderr || asked.stdout).trim()}` };
  return { name: asked.stdout.trim().split("\n")[0] };
}

/** Puts the CUDA package into build/cuda; returns why it is not there. */
function takePackage() {
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, "package.json"), '{ "private": true }\n');
  writeFileSync(
    launcher,
    'import { pathToFileURL } from "node:url";\nconst [program] = process.argv.splice(2, 1);\nawait import(pathToFileURL(program).href);\n',
  );
  const target = path.join(folder, "node_modules", packageName);
  const manifest = path.join(target, "package.json");
  const version = () => existsSync(manifest) && JSON.parse(readFileSync(manifest, "utf8")).version;
  if (options.package === undefined && version() === ggml.prebuilt) return undefined;
  if (options.list && options.package === undefined)
    return `${packageName}@${ggml.prebuilt} is not in build/cuda: npm fetches it there (140 MB) without --list, or give it as --package`;
  try {
    if (options.package === undefined) {
      const args = [
        "install",
        "--no-save",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        `${packageName}@${ggml.prebuilt}`,
      ];
      execFileSync("npm", args, { cwd: folder, stdio: "pipe", shell: windows, timeout: 300_000 });
    } else {
      rmSync(target, { recursive: true, force: true });
      mkdirSync(target, { recursive: true });
      if (statSync(options.package).isDirectory()) cpSync(options.package, target, { recursive: true });
      else execFileSync("tar", ["-xzf", path.resolve(options.package), "-C", target, "--strip-components=1"], { stdio: "pipe" });
    }
  } catch (error) {
    const reason = (error.stderr?.toString().trim() || error.message).split("\n")[0];
    return `${packageName}@${ggml.prebuilt} is not to be had (${reason}); npm pack it where there is a network and give it as --package`;
  }
  return version() === ggml.prebuilt ? undefined : `${packageName} is version ${version()}; ${ggml.prebuilt} is needed`;
}

/** What does not come with a clone. */
function findBuild() {
  const files = [
    ["lib/index.js", "npm run build:ts"],
    ["build/Release/bge_reranker.node", "npm run build:native"],
    [`node_modules/@node-llama-cpp/${windows ? "win" : "linux"}-x64/package.json`, "npm ci"],
    ["test/golden/checkpoints.json", "a checkout"],
  ];
  return files.filter(([file]) => !existsSync(path.join(root, file))).map(([file, how]) => `${file} is missing: ${how}`);
}

/** The environment in which the runtime libraries are found: the machine's own, those of a Python's wheels, else with wheels from PyPI. */
async function findRuntime() {
  const { runtimeLibraries } = await import(pathToFileURL(path.join(root, "lib", "addon", "gpu-runtimes.js")).href);
  const missing = (env) =>
    runtimeLibraries("cuda", false, { platform: process.platform, env, root: "/" }).filter((l) => !l.path && /cublas|cudart/.test(l.name));
  if (missing(process.env).length === 0) return { env: process.env };
  const asked = spawnSync(options.python, ["-c", "import sys; print(sys.prefix)"], { encoding: "utf8" });
  if (asked.status === 0) {
    const env = { ...process.env, VIRTUAL_ENV: asked.stdout.trim() };
    if (missing(env).length === 0) return { env };
  }
  const venv = path.join(folder, "venv");
  const env = { ...process.env, VIRTUAL_ENV: venv };
  try {
    if (missing(env).length > 0 && !options.list) {
      const pip = path.join(venv, windows ? "Scripts" : "bin", windows ? "pip.exe" : "pip");
      execFileSync(windows ? "python" : "python3", ["-m", "venv", venv], { stdio: "pipe" });
      const wheels = ["nvidia-cuda-runtime>=13,<14", "nvidia-cublas>=13,<14"];
      execFileSync(pip, ["install", "--quiet", "--retries", "0", ...wheels], { stdio: "pipe", timeout: 300_000 });
    }
  } catch {
    // told below
  }
  const lacks = missing(env);
  return lacks.length === 0 ? { env } : { why: `${lacks.map(({ name }) => name).join(", ")} not found; install ${lacks[0].install}` };
}

/** Runs Node from where the CUDA package is found; returns what it prints. */
function node(env, args, timeoutMinutes = 5) {
  const { status, signal, stdout, stderr, error } = spawnSync(process.execPath, args, {
    cwd: folder,
    env,
    encoding: "utf8",
    maxBuffer: 1 << 27,
    timeout: 60_000 * timeoutMinutes,
  });
  if (error?.code === "ETIMEDOUT") throw new Error(`not done after ${timeoutMinutes} minutes`);
  if (status !== 0)
    throw new Error(`a process of its own ended with ${signal ?? status}: ${stderr.trim().split("\n").slice(-5).join(" | ")}`);
  return stdout;
}

const inProcess = (source, env) => JSON.parse(node(env, ["--input-type=module", "-e", source, launcher]));

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
  const cli = path.join(root, "lib", "cli.js");
  if (!existsSync(path.join(checkpoint, ".complete"))) {
    const make = path.join(root, "scripts", "make", "make-random-checkpoint.mjs");
    const tokenizer = path.join(golden, "xlmr-m3-reranker", "tokenizer.json");
    node(env, [make, "bge-reranker-v2-m3", checkpoint, "--tokenizer", tokenizer, "--dtype", "f16"]);
    writeFileSync(path.join(checkpoint, ".complete"), "");
  }
  if (!existsSync(model)) node(env, [launcher, cli, "convert", checkpoint, "-o", model, "--outtype", outtype]);
  const args = ["bench", "--model", model, "--devices", device, "--documents", "64", "--tokens", "300", "--json"];
  return JSON.parse(node(env, [launcher, cli, ...args])).documentsPerSecond;
}

/** Steps that are not begun, or fail, are told; the others go on. */
let failed = false;
function step(title, work) {
  if (minutes() > Number(options.minutes)) {
    failed = true;
    return console.log(`| ${title} | not run: ${options.minutes} minutes are over |`);
  }
  log(title);
  try {
    console.log(work());
  } catch (error) {
    failed = true;
    console.log(`| ${title} | failed: ${error.message} |`);
  }
}

function checkGolden(gpu, env) {
  const checkpoints = JSON.parse(readFileSync(path.join(golden, "checkpoints.json"), "utf8"));
  const records = [];
  const e = (x) => x.toExponential(1);
  console.log("| model | F32, median | F32, max | cases over the tolerance | Q8_0, median |\n|---|---|---|---|---|");
  for (const checkpoint of checkpoints) {
    const { name } = checkpoint;
    step(name, () => {
      // cuBLAS would round the factors of F32 products to TF32.
      const f32 = parity(checkpoint, "f32", { ...env, NVIDIA_TF32_OVERRIDE: "0" });
      const q8 = parity(checkpoint, "q8_0", env);
      failed ||= f32.over.length > 0;
      records.push({
        area: "devices",
        combination: `CUDA, ${gpu}, ${name}`,
        how: "scripts/checks/check-cuda.mjs",
        result: f32.over.length > 0 ? "fail" : "pass",
        detail: `|logit error| in F32: median ${e(f32.median)}, max ${e(f32.max)} over ${f32.count} scores`,
      });
      return `| ${name} | ${e(f32.median)} | ${e(f32.max)} | ${f32.over.join(", ") || "none"} | ${e(q8.median)} |`;
    });
  }
  writeRecords("cuda", records);
}

function checkSpeed(env) {
  console.log("\n| shape of v2-m3, 64 documents of 300 tokens | documents/s |\n|---|---|");
  for (const [device, outtype] of [
    ["cuda:0", "f16"],
    ["cuda:0", "q8_0"],
    ["cpu", "q8_0"],
  ]) {
    step(`${device}, ${outtype}`, () => `| ${device}, ${outtype} | ${throughput(device, outtype, env).toFixed(1)} |`);
  }
}

/** Prints as it goes: its output is the section's own. */
function runAnchor(env) {
  const left = Number(options.minutes) - minutes();
  if (left <= 0) return step("beside FlagEmbedding");
  const anchor = path.join(root, "scripts", "measure", "anchor.mjs");
  const args = [launcher, anchor, "--device", "cuda:0", "--python", options.python, "--minutes", left.toFixed(2)];
  const { status } = spawnSync(process.execPath, args, { cwd: folder, env, stdio: "inherit" });
  failed ||= status !== 0;
}

async function main() {
  if (options.help) return console.log(USAGE);
  const gpu = findGpu();
  const lacks = [gpu.why, ...findBuild(), takePackage()].filter((why) => why !== undefined);
  const runtime = existsSync(path.join(root, "lib")) ? await findRuntime() : {};
  if (runtime.why) lacks.push(runtime.why);
  if (lacks.length > 0) fail(lacks.map((why) => `\n  - ${why}`).join(""));
  const { env } = runtime;
  const { devices, missing } = inProcess(
    `import { listDevices } from ${JSON.stringify(library)}; process.stdout.write(JSON.stringify(await listDevices()));`,
    env,
  );
  if (!devices.some(({ name }) => name === "cuda:0"))
    fail(missing.find(({ family }) => family === "cuda")?.reason ?? "no device was found.");
  if (options.list) return console.log("Nothing is missing: cuda:0 is there.");
  const wanted = options.only.split(",");
  console.log(`### CUDA: ${gpu.name}\n`);
  if (wanted.includes("golden")) checkGolden(gpu.name, env);
  if (wanted.includes("speed")) checkSpeed(env);
  if (wanted.includes("anchor")) runAnchor(env);
  process.exitCode = failed ? 1 : 0;
}

await main();

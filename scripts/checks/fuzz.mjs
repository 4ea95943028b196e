// npm run fuzz: fuzzes the parsers of files from strangers. Native ones with libFuzzer and sanitizers (test/native/fuzz), those
// in TypeScript with a fuzzer of our own (test/fuzz). New inputs are kept in build/fuzz/corpus, findings in build/fuzz/findings.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..");
const folder = path.join(root, "build", "fuzz");
const build = path.join(folder, "native");
const NATIVE = ["gguf", "tokenizer"];
const TARGETS = [...NATIVE, "safetensors", "tokenizer-json", "sentencepiece"];

const USAGE = `Usage: npm run fuzz -- [target ...] [options]
  targets       ${TARGETS.join(", ")} (default: all, one after the other)
  --seconds N   for each target (default 600)
  --seed N      of all chance (default: another one every time)
  --input FILE  runs one input, such as a finding, and no more`;

// The heap of Node and the memory of libFuzzer are bounded, so that an unbounded allocation is a finding too.
const MAX_HEAP_MB = 1024;
const LIBFUZZER = ["-max_len=65536", "-timeout=60", "-rss_limit_mb=3000", "-malloc_limit_mb=512", "-print_final_stats=1"];

function run(command, args, options = {}) {
  const { status, signal, error } = spawnSync(command, args, { cwd: root, stdio: "inherit", ...options });
  if (error) throw error;
  return signal ? 1 : status;
}

function compiler() {
  const names = [process.env.CXX, "clang++", ...Array.from({ length: 12 }, (_, i) => `clang++-${25 - i}`)].filter(Boolean);
  const source = path.join(folder, "probe.cpp");
  writeFileSync(source, 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char *, unsigned long) { return 0; }\n');
  const works = (name) =>
    spawnSync(name, ["-fsanitize=fuzzer,address,undefined", source, "-o", path.join(folder, "probe")], { stdio: "ignore" }).status === 0;
  const found = names.find(works);
  if (found) return found;
  throw new Error(`No clang++ with libFuzzer and sanitizers. On Debian and Ubuntu:
  apt-get install clang libclang-rt-dev       (Debian 12: clang libclang-rt-14-dev)`);
}

async function prepareNative() {
  console.log("Building the native targets with sanitizers, some minutes the first time ...");
  const cmake = ["-S", path.join("test", "native", "fuzz"), "-B", build, "-DBGE_FUZZER=ON", `-DCMAKE_CXX_COMPILER=${compiler()}`];
  if (run("cmake", cmake, { stdio: ["ignore", "ignore", "inherit"] }) !== 0) throw new Error("The native targets cannot be configured.");
  if (run("cmake", ["--build", build, "--parallel", "2"]) !== 0) throw new Error("The native targets do not build.");
  const { makeAllNativeSeeds } = await import("../../test/fuzz/native-seeds.mjs");
  return makeAllNativeSeeds(path.join(folder, "seeds"));
}

/** @returns {number} 0 when nothing was found. */
function fuzzNative(target, { seconds, seed, input }, env) {
  const program = path.join(build, `fuzz-${target}`);
  const findings = path.join(folder, "findings", `${target}-`);
  const corpus = path.join(folder, "corpus", target);
  const kept = path.join(root, "test", "native", "fuzz", "corpus", target);
  mkdirSync(corpus, { recursive: true });
  const where = input ? [input] : [corpus, path.join(folder, "seeds", target), ...(existsSync(kept) ? [kept] : [])];
  return run(program, [...LIBFUZZER, `-max_total_time=${seconds}`, `-seed=${seed}`, `-artifact_prefix=${findings}`, ...where], {
    env: { ...process.env, ...env },
  });
}

/** @returns {number} 0 when nothing was found. */
function fuzzTypeScript(target, { seconds, seed, input }) {
  const current = path.join(folder, `${target}-${process.pid}`);
  const corpus = path.join(folder, "corpus", target);
  const kept = path.join(root, "test", "fuzz", "corpus", target);
  const files = input ? [input] : readdirSync(kept).map((name) => path.join(kept, name));
  const program = [`--max-old-space-size=${MAX_HEAP_MB}`, path.join("test", "fuzz", "run.mjs"), target, "--current", current];
  const replayed = files.length > 0 ? run(process.execPath, [...program, ...files]) : 0;
  const status =
    replayed || input ? replayed : run(process.execPath, [...program, "--seconds", seconds, "--seed", String(seed), "--corpus", corpus]);
  if (status !== 0 && existsSync(current)) renameSync(current, path.join(folder, "findings", `${target}-crash-${seed}`));
  return status;
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seconds: { type: "string", default: "600" },
      seed: { type: "string", default: String(1 + Math.floor(Math.random() * (2 ** 31 - 1))) },
      input: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return console.log(USAGE);
  const unknown = positionals.find((name) => !TARGETS.includes(name));
  if (unknown !== undefined) throw new RangeError(`Expected targets of ${TARGETS.join(", ")}, got \`${unknown}\``);
  if (values.input !== undefined && positionals.length !== 1) throw new RangeError("Expected one target with `--input`");
  for (const option of ["seconds", "seed"]) {
    if (!/^[1-9]\d*$/.test(values[option]))
      throw new RangeError(`Expected --${option} to be a positive integer, got \`${values[option]}\``);
  }

  for (const name of ["corpus", "findings"]) mkdirSync(path.join(folder, name), { recursive: true });
  const targets = positionals.length > 0 ? positionals : TARGETS;
  const env = targets.some((name) => NATIVE.includes(name)) ? await prepareNative() : {};
  const failed = [];
  for (const target of targets) {
    console.log(`\n== ${target}, ${values.input ?? `${values.seconds} s, seed ${values.seed}`}`);
    const status = NATIVE.includes(target) ? fuzzNative(target, values, env) : fuzzTypeScript(target, values);
    if (status !== 0) failed.push(target);
  }
  for (const target of failed) {
    console.error(`\n${target}: a finding. Run it again:`);
    const files = readdirSync(path.join(folder, "findings")).filter((name) => name.startsWith(`${target}-`));
    for (const name of files) console.error(`  npm run fuzz -- ${target} --input ${path.join("build", "fuzz", "findings", name)}`);
  }
  process.exitCode = failed.length > 0 ? 1 : 0;
}

try {
  await main();
} catch (error) {
  const isUsage = error instanceof RangeError || error.code?.startsWith("ERR_PARSE_ARGS");
  console.error(isUsage ? `${error.message}\n\n${USAGE}` : error.message);
  process.exitCode = isUsage ? 2 : 1;
}

// npm run sanitize: builds the native tests with sanitizers and runs them. A finding fails. The prebuilt ggml is not
// instrumented: of its own code only what calls malloc, memcpy or locks is checked.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { findGgml, modulesIn } from "../../lib/addon/ggml-libraries.js";
import { convert } from "../../lib/index.js";
import { readRecords, writeRecords } from "./platform-records.mjs";

const USAGE = `Usage: npm run sanitize [-- address|undefined|thread ...]
  address, undefined   one build with both: memory errors, leaks, undefined behaviour
  thread               data races and lock order`;

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..");
const tests = path.join(root, "test", "native");
const compiler = process.env.CXX ?? "c++";

const ADDRESS = {
  name: "address",
  flags: "address,undefined",
  programs: ["cpu-test", "tokenizer-test", "engine-test"],
  env: {
    ASAN_OPTIONS: `detect_leaks=${process.platform === "linux" ? 1 : 0}:detect_stack_use_after_return=1`,
    UBSAN_OPTIONS: "print_stacktrace=1",
  },
};
const CONFIGURATIONS = {
  address: ADDRESS,
  undefined: ADDRESS,
  thread: {
    name: "thread",
    flags: "thread",
    programs: ["cpu-test", "engine-test"], // the tokenizer's test has one thread
    env: { TSAN_OPTIONS: "second_deadlock_stack=1" },
  },
};
// One of each tokenizer, encoders and decoders, in the types that our kernels know.
const MODELS = [
  ["bert-reranker", "f16"],
  ["xlmr-reranker", "q8_0"],
  ["minicpm-layerwise-reranker", "bf16"],
  ["gemma2-lightweight-reranker", "f32"],
];

/** Why the compiler cannot do it here, if it cannot. */
function whyNot(flags, folder) {
  if (process.platform === "win32") return "g++ and Visual Studio have no such sanitizers on Windows";
  const source = path.join(folder, "probe.cpp");
  const program = path.join(folder, "probe");
  writeFileSync(source, "int main() { return 0; }\n");
  const built = spawnSync(compiler, [`-fsanitize=${flags}`, source, "-o", program], { encoding: "utf8" });
  if (built.error) return built.error.message;
  if (built.status !== 0) return `${compiler} has no -fsanitize=${flags}: ${built.stderr.trim().split("\n").at(-1)}`;
  const ran = spawnSync(program, { encoding: "utf8" });
  return ran.status === 0 ? undefined : `programs with it do not start: ${(ran.stderr || String(ran.signal)).trim().split("\n")[0]}`;
}

function build({ name, flags }, targets) {
  const folder = path.join(root, "build", "sanitize", name);
  const stdio = ["ignore", "ignore", "inherit"];
  execFileSync("cmake", ["-S", tests, "-B", folder, `-DBGE_SANITIZE=${flags}`, `-DCMAKE_CXX_COMPILER=${compiler}`], { stdio });
  execFileSync("cmake", ["--build", folder, "--parallel", process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? "2", "--target", ...targets], {
    stdio,
  });
  return folder;
}

/** The libraries that engine-test opens, as test/native/fuzz/fuzz.h has it. */
function ggmlEnvironment() {
  const { ggml } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));
  const libraries = findGgml(ggml.prebuilt);
  return { BGE_FUZZ_GGML: [ggml.version, libraries.base, libraries.ggml, ...modulesIn(libraries.folder, "cpu")].join("\n") };
}

/** Runs one program. @returns {{ result: "pass" | "fail", detail: string }} */
function run([file, ...args], env) {
  const started = performance.now();
  const { status, signal, stdout, stderr } = spawnSync(file, args, {
    env: { ...process.env, ...env },
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  const seconds = Math.round((performance.now() - started) / 1000);
  if (status === 0) return { result: "pass", detail: `no findings; ${stdout.trim().split("\n").at(-1)}; ${seconds} s` };
  console.log(stdout.slice(-4000));
  console.log(stderr.slice(0, 20_000));
  const summary = /^.*(?:SUMMARY|ERROR|WARNING|runtime error): .*$/m.exec(stderr)?.[0] ?? stdout.trim().split("\n").at(-1);
  return { result: "fail", detail: `exit ${status ?? signal}: ${summary}` };
}

function check(configuration, folder, models) {
  const { name, flags, programs, env } = configuration;
  const version = spawnSync(compiler, ["--version"], { encoding: "utf8" }).stdout?.split("\n")[0] ?? compiler;
  const records = [];
  const record = (program, { result, detail }) => {
    const how = `npm run sanitize -- ${name}`;
    const combination = `${flags} of ${/clang/.test(version) ? "clang" : "GCC"}: ${program}`;
    records.push({ area: "sanitizers", combination, how, result, detail: `${version}; ${detail}` });
    console.log(`${result.padEnd(4)}  ${flags.padEnd(17)}  ${program.padEnd(14)}  ${detail}`);
  };
  const reason = whyNot(flags, folder);
  if (reason) {
    record(programs.join(", "), { result: "skip", detail: reason });
    return records;
  }
  console.log(`Building the native tests with -fsanitize=${flags}, some minutes the first time ...`);
  const built = build(configuration, programs);
  for (const program of programs) {
    const withModels = program === "engine-test" ? models : [];
    record(program, run([path.join(built, program), ...withModels], { ...env, ...ggmlEnvironment() }));
  }
  return records;
}

/** Rows of the programs that ran replace their old ones. */
function keep(records) {
  const ran = new Set(records.map(({ combination }) => combination));
  writeRecords("sanitize", [...readRecords("sanitize").filter(({ combination }) => !ran.has(combination)), ...records]);
}

const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !Object.hasOwn(CONFIGURATIONS, name));
if (unknown !== undefined) {
  console.error(`Expected sanitizers of ${Object.keys(CONFIGURATIONS).join(", ")}, got \`${unknown}\`\n\n${USAGE}`);
  process.exit(2);
}
const chosen = new Set((wanted.length > 0 ? wanted : Object.keys(CONFIGURATIONS)).map((name) => CONFIGURATIONS[name]));
const folder = mkdtempSync(path.join(tmpdir(), "bge-sanitize-"));
try {
  const models = [];
  for (const [checkpoint, outtype] of MODELS) {
    const output = path.join(folder, `${checkpoint}.gguf`);
    await convert(path.join(root, "test", "golden", checkpoint), { output, outtype });
    models.push(output);
  }
  for (const configuration of chosen) {
    const records = check(configuration, folder, models);
    keep(records);
    if (records.some(({ result }) => result === "fail")) process.exitCode = 1;
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

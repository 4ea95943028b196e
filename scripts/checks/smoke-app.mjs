// An app with the packed package in it, which runs the golden models (platform-smoke.mjs): what check-platforms.mjs and
// check-builds.mjs try on each platform.
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..");
export const folder = path.join(root, "build", "platforms");

export const npm = (args, cwd) =>
  execFileSync("npm", [...args, "--loglevel=error", "--no-audit", "--no-fund"], {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
  });

/** Packs the checkout as it stands. @returns the tarball */
export function packPackage() {
  mkdirSync(folder, { recursive: true });
  for (const file of readdirSync(folder)) if (file.endsWith(".tgz")) rmSync(path.join(folder, file));
  const [{ filename }] = JSON.parse(npm(["pack", "--json", "--silent", "--ignore-scripts", "--pack-destination", folder], root));
  return path.join(folder, filename);
}

/** A folder outside ASCII with the package, the golden models and the program. Cases above `maxTokens` are left out. */
export function makeApp(name, tarball, installFlags, maxTokens = Number.POSITIVE_INFINITY) {
  const app = path.join(folder, `${name} 模型 ü`);
  rmSync(app, { recursive: true, force: true });
  mkdirSync(app, { recursive: true });
  writeFileSync(path.join(app, "package.json"), JSON.stringify({ name: "app", private: true, type: "module" }));
  npm(["install", ...installFlags, tarball], app);
  cpSync(path.join(root, "scripts", "checks", "platform-smoke.mjs"), path.join(app, "smoke.mjs"));
  const golden = path.join(app, "golden");
  cpSync(path.join(root, "test", "golden"), golden, { recursive: true, filter: (file) => !file.endsWith(".md") });
  const checkpoints = JSON.parse(readFileSync(path.join(golden, "checkpoints.json"), "utf8"));
  for (const { name: model } of checkpoints) keepCases(path.join(golden, model, "cases.json"), maxTokens);
  return app;
}

function keepCases(file, maxTokens) {
  const json = JSON.parse(readFileSync(file, "utf8"));
  json.cases = json.cases.filter((each) => each.n_tokens.reduce((sum, n) => sum + n, 0) <= maxTokens);
  writeFileSync(file, JSON.stringify(json));
}

/** Runs the golden models in an app. @returns {{ result: "pass" | "fail", detail: string }} */
export function runSmoke(app, [command, ...args], env = {}) {
  const started = Date.now();
  const said = path.join(app, "output.txt");
  const output = openSync(said, "w");
  const { status, signal } = spawnSync(command, [...args, "smoke.mjs"], {
    cwd: app,
    stdio: ["ignore", output, output], // a file, since Node under wine cannot open a pipe of ours
    timeout: 45 * 60_000,
    env: { ...process.env, LC_ALL: "C.UTF-8", XDG_CACHE_HOME: path.join(app, "cache"), ...env },
  });
  const seconds = Math.round((Date.now() - started) / 1000);
  const file = path.join(app, "report.json");
  if (!existsSync(file))
    return { result: "fail", detail: `ended with ${signal ?? status} before any check. ${readFileSync(said, "utf8").slice(-2000)}` };
  const report = JSON.parse(readFileSync(file, "utf8"));
  for (const { ok, name, detail } of report.checks) console.error(`  ${ok ? "ok  " : "FAIL"} ${name}: ${detail}`);
  if (report.error) console.error(report.error);
  const passed = report.checks.filter(({ ok }) => ok).length;
  const faults = report.checks.filter((each) => !each.ok).map((each) => `${each.name} (${each.detail})`);
  if (report.error) faults.push(report.error.split("\n")[0]);
  if (status !== 0 && faults.length === 0) faults.push(`ended with ${signal ?? status}`);
  const facts = [`${passed} of ${report.checks.length} checks`, `Node ${report.node.slice(1)}, ${report.isa} kernels, ${seconds} s`];
  return { result: faults.length === 0 ? "pass" : "fail", detail: [...facts, ...faults].join("; ") };
}

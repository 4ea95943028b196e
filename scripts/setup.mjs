// Makes a fresh clone ready: installs dependencies when they are missing or out of date, then builds. No dependencies
// of its own, since it runs before there are any.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`bge-reranker needs Node 20.19 or newer; this is ${process.versions.node}`);
  process.exit(1);
}

const installed = path.join(root, "node_modules", ".package-lock.json");
const lock = path.join(root, "package-lock.json");
const upToDate = existsSync(installed) && statSync(installed).mtimeMs >= statSync(lock).mtimeMs;
const complete =
  upToDate &&
  Object.keys(JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")).devDependencies).every((name) =>
    existsSync(path.join(root, "node_modules", name)),
  );
// npm runs the build itself after an install (the prepare script).
if (!complete)
  execFileSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: root,
    stdio: "inherit",
    shell: process.platform === "win32",
  });
else execFileSync(process.execPath, [path.join(root, "scripts", "build.mjs")], { cwd: root, stdio: "inherit" });

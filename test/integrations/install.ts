// Installs the frameworks of package.json in this folder when a test asks for them, and the built package beside them.

import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const here = path.dirname(fileURLToPath(import.meta.url));
export const root = path.resolve(here, "..", "..");
const modules = path.join(here, "node_modules");
const stamp = path.join(modules, ".installed");

/**
 * @returns Why the frameworks are not there, for a test to skip aloud; undefined when they are.
 */
export async function whyNotInstalled(): Promise<string | undefined> {
  putPackage();
  try {
    const wanted = createHash("sha256")
      .update(readFileSync(path.join(here, "package-lock.json")))
      .digest("hex");
    if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== wanted) {
      await npmInstall();
      writeFileSync(stamp, wanted);
      putPackage(); // npm has cleared the folder
    }
    return undefined;
  } catch (error) {
    const reason = `the frameworks cannot be installed: ${(error as { stderr?: string }).stderr?.trim().slice(-500) || (error as Error).message}`;
    console.warn(`skipped: ${reason}`);
    return reason;
  }
}

async function npmInstall(): Promise<void> {
  // Not `npm ci`: it wants the optional packages of other platforms in the lock, which npm leaves out for their `engines`.
  const options = { cwd: here, timeout: 280_000, shell: process.platform === "win32" };
  await promisify(execFile)("npm", ["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"], options);
}

/** As npm would lay it: files, not a link, so that our adapters find the frameworks from where they are. */
function putPackage(): void {
  const target = path.join(modules, "bge-reranker");
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target, { recursive: true });
  cpSync(path.join(root, "package.json"), path.join(target, "package.json"));
  cpSync(path.join(root, "lib"), path.join(target, "lib"), { recursive: true });
  for (const folder of ["build", "prebuilds", "models"]) {
    const source = path.join(root, folder);
    if (existsSync(source)) symlinkSync(source, path.join(target, folder), "junction");
  }
}

// Temporary files of a run, those of killed processes too, lie in one folder, which goes when the run ends. Vitest's workers end
// without their "exit", so a test cannot be sure to clean up behind itself.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

export default function setup(): () => void {
  const folder = mkdtempSync(path.join(tmpdir(), "bge-tests-"));
  const names = process.platform === "win32" ? ["TEMP", "TMP"] : ["TMPDIR"];
  for (const name of names) process.env[name] = folder; // workers start with this environment
  return () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
}

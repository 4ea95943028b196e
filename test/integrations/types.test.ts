// The adapters against the frameworks' own types, both majors where two live, by the compiler.
import { spawnSync } from "node:child_process";
import path from "node:path";
import { expect, it } from "vitest";
import { root, whyNotInstalled } from "./install.js";
import { writeRecipes } from "./recipe-files.js";

const why = await whyNotInstalled();

it.skipIf(why)("adapters and recipes compile against the real packages", () => {
  writeRecipes();
  const tsc = path.join(root, "node_modules", "typescript", "bin", "tsc");
  const { stdout, status } = spawnSync(process.execPath, [tsc, "--noEmit", "-p", path.join(root, "test", "integrations")], {
    encoding: "utf8",
  });
  expect(stdout).toBe("");
  expect(status).toBe(0);
});

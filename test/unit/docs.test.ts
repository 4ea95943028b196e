// Code that the documentation prints as JavaScript is JavaScript for the oldest Node we run on.
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const root = path.resolve(fileURLToPath(new URL("../..", import.meta.url)));
const pages = ["README.md", ...readdirSync(path.join(root, "docs")).flatMap((name) => (name.endsWith(".md") ? [`docs/${name}`] : []))];
const examples = pages.flatMap((page) =>
  [...readFileSync(path.join(root, page), "utf8").matchAll(/^```js\n([\s\S]*?)^```/gm)].map(
    ([, code], i) => [`${page}, example ${i + 1}`, code as string] as const,
  ),
);

describe("JavaScript in the documentation", () => {
  it("is found", () => expect(examples.length).toBeGreaterThan(4));

  it.each(examples)("%s parses", (_, code) => {
    const { status, stderr } = spawnSync(process.execPath, ["--input-type=module", "--check", "-"], { input: code, encoding: "utf8" });
    expect(stderr).toBe("");
    expect(status).toBe(0);
  });
});

import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { ggmlPrebuilt, ggmlVersion, packageVersion } from "../../src/addon/versions.js";

it("the versions in the code are those of package.json", () => {
  const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  expect({ version: packageVersion, ggml: { version: ggmlVersion, prebuilt: ggmlPrebuilt } }).toEqual({
    version: manifest.version,
    ggml: manifest.ggml,
  });
});

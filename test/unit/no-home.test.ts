// Containers may run as a user by number alone, whom no file gives a home.
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

function run(code: string): string {
  const prelude = `import os from "node:os"; import { syncBuiltinESMExports } from "node:module";
    os.homedir = () => { throw new Error("uv_os_homedir returned ENOENT"); }; syncBuiltinESMExports();
    const { Reranker } = await import("bge-reranker");`;
  const env = { ...process.env, XDG_CACHE_HOME: "", LOCALAPPDATA: "", HF_HOME: "", BGE_RERANKER_CACHE: "" };
  const cwd = fileURLToPath(new URL("../../", import.meta.url));
  return execFileSync(process.execPath, ["--input-type=module", "-e", prelude + code], { encoding: "utf8", env, cwd }).trim();
}

it("the embedded model runs for a user without a home", () => {
  expect(
    run(`const r = await Reranker.load("default"); console.log((await r.computeScore([["a", "b"]])).length); await r.dispose();`),
  ).toBe("1");
});

it("what needs a cache says how to give it one", () => {
  expect(run(`await Reranker.load("BAAI/bge-reranker-base").catch((error) => console.log(error.code, error.message));`)).toMatch(
    /^IO .*no home folder.*BGE_RERANKER_CACHE/,
  );
});

// batch in a process of its own: killed in the middle, told to stop, short of room; and what it takes of a large file.
import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../../", import.meta.url));
const cli = join(root, "lib", "cli.js");
const folder = mkdtempSync(join(tmpdir(), "bge-reranker-batch-e2e-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);

const lines = Array.from({ length: 400 }, (_, i) =>
  JSON.stringify({ id: i, query: `what is ${i % 9}?`, passage: `it is ${i} ${"and so on ".repeat(i % 7)}` }),
);
writeFileSync(at("pairs.jsonl"), `${lines.join("\n")}\n`);
const args = (output: string) => [cli, "batch", at("pairs.jsonl"), "--threads", "1", "-o", output, "--shard-rows", "20", "-q"];
const parts = (output: string) =>
  readdirSync(output)
    .filter((name) => /^part-.*\.jsonl$/.test(name))
    .sort();
const joined = (output: string) =>
  parts(output)
    .map((name) => readFileSync(join(output, name), "utf8"))
    .join("");
const temporary = (output: string) => readdirSync(output).filter((name) => name.endsWith(".tmp"));

describe("batch", () => {
  it("goes on after kill -9 and after SIGTERM, with the bytes of a run that was left alone", async () => {
    execFileSync(process.execPath, args(at("whole")));
    for (const [signal, count] of [
      ["SIGKILL", 3],
      ["SIGTERM", 8],
    ] as const) {
      const child = spawn(process.execPath, [...args(at("cut")), "--resume"], { stdio: "ignore" });
      const ended = new Promise<unknown>((resolve) => child.once("close", (code, by) => resolve(by ?? code)));
      while (!existsSync(at("cut/_parts")) || readdirSync(at("cut/_parts")).length < count)
        await new Promise((resolve) => setTimeout(resolve, 20));
      child.kill(signal);
      expect(await ended).not.toBe(0);
    }
    expect(parts(at("cut")).length).toBeLessThan(20);
    execFileSync(process.execPath, [...args(at("cut")), "--resume"]);
    expect(joined(at("cut"))).toBe(joined(at("whole")));
    expect(temporary(at("cut"))).toEqual([]);
  });

  it("keeps what it has when the disk is full", (context) => {
    mkdirSync(at("small"));
    if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", at("small")]).status !== 0) {
      return context.skip("no tmpfs can be mounted here");
    }
    try {
      const { status, stderr } = spawnSync(process.execPath, args(at("small/out")), { encoding: "utf8" });
      expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringMatching(/Cannot write .*ENOSPC.*\(IO\)/) });
      expect(temporary(at("small/out"))).toEqual([]);
      const kept = parts(at("small/out")).length;
      expect(kept).toBeGreaterThan(0);
      spawnSync("mount", ["-o", "remount,size=4m", at("small")]);
      execFileSync(process.execPath, [...args(at("small/out")), "--resume"]);
      expect(joined(at("small/out"))).toBe(joined(at("whole")));
    } finally {
      spawnSync("umount", [at("small")]);
    }
  });
});

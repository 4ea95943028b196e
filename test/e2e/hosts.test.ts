// The quick part of scripts/checks/check-hosts.mjs: this Node, worker threads, child processes, Electron's layout, and another
// version of ggml in the same process. The whole matrix, with other runtimes and package managers, is run by hand.
import { spawnSync } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");

interface HostRecord {
  readonly area: string;
  readonly combination: string;
  readonly result: "pass" | "fail" | "skip";
  readonly detail: string;
}

let records: HostRecord[] = [];

beforeAll(() => {
  const { stdout, stderr } = spawnSync(process.execPath, ["scripts/checks/check-hosts.mjs", "--quick", "--json"], {
    cwd: root,
    encoding: "utf8",
    timeout: 290_000,
  });
  if (!stdout.startsWith("[")) throw new Error(stderr);
  records = JSON.parse(stdout);
  for (const { result, combination, detail } of records) if (result === "skip") console.warn(`skipped: ${combination}: ${detail}`);
});

describe("hosts", () => {
  it.each(["package manager", "runtime", "place"])("pass: %s", (area) => {
    const ofArea = records.filter((record) => record.area === area);
    expect(ofArea.length).toBeGreaterThan(0);
    expect(ofArea.filter((record) => record.result !== "pass")).toEqual([]);
  });

  it("live beside another version of ggml, whichever comes first", () => {
    const beside = records.filter((record) => record.area === "beside node-llama-cpp");
    expect(beside).toHaveLength(3);
    expect(beside.filter((record) => record.result === "fail")).toEqual([]);
  });
});

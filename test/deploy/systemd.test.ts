import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { readDeployed } from "./files.js";

const unit = readDeployed("systemd/bge-reranker.service");
const hasSystemd = spawnSync("systemd-analyze", ["--version"]).status === 0;
if (!hasSystemd) console.warn("The systemd unit is not verified: no systemd-analyze here.");

describe("systemd unit", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "bge-unit-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  function analyze(text: string, ...args: string[]) {
    const file = path.join(folder, "bge-reranker.service");
    // The command is not installed here, and verify looks for it.
    writeFileSync(file, text.replace("/usr/local/bin/bge-reranker", process.execPath));
    const { status, stdout, stderr } = spawnSync("systemd-analyze", [...args, file], { encoding: "utf8" });
    return { status, output: (stdout + stderr).split("\n").filter((line) => line.includes("bge-reranker.service")) };
  }

  it.skipIf(!hasSystemd)("holds what systemd knows", () => {
    expect(analyze(unit, "verify", "--man=no").output).toEqual([]);
    expect(analyze(unit.replace("NoNewPrivileges=", "NoNewPriviliges="), "verify", "--man=no").output).toHaveLength(1);
  });

  it.skipIf(!hasSystemd)("is rated as well closed", () => {
    const { status, output } = analyze(unit, "security", "--offline=true", "--no-pager", "--threshold=20");
    expect({ status, output }).toMatchObject({ status: 0 });
  });

  it("lets V8 compile, and drains before it is killed", () => {
    expect(unit).not.toMatch(/^MemoryDenyWriteExecute/m);
    expect(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1])).toBeGreaterThan(30);
    expect(unit).not.toMatch(/^KillSignal/m); // SIGTERM
  });

  it("reads an environment that systemd reads too", () => {
    const lines = readDeployed("systemd/environment.example")
      .split("\n")
      .filter((line) => line !== "");
    for (const line of lines) expect(line).toMatch(/^(#|[A-Z_]+=\S*$)/);
  });
});

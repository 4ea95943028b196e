// Makes docs/report.png: the report of `eval` on the Debian set, in the Chromium of this machine.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const root = fileURLToPath(new URL("../../", import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), "bge-report-"));
const report = path.join(folder, "report.html");
execFileSync(process.execPath, ["lib/cli.js", "eval", "test/data/debian-descriptions", "--candidates", "20", "--report", report], {
  cwd: root,
  stdio: "inherit",
});
const browser = await chromium.launch({
  executablePath: process.env.BGE_CHROMIUM ?? "/usr/bin/chromium-headless-shell",
  args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
});
const page = await browser.newPage({ viewport: { width: 1000, height: 1400 }, colorScheme: "light" });
await page.goto(pathToFileURL(report).href);
await page.screenshot({ path: path.join(root, "docs", "report.png"), fullPage: true });
await browser.close();
rmSync(folder, { recursive: true });

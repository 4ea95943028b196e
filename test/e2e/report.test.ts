// The pages of --report, made by the built command line and opened in a real browser.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { goldenGguf } from "../golden.js";
import { browserPath, launchBrowser } from "../page/browser.js";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const dataset = path.join(root, "test", "data", "debian-descriptions");
const folder = mkdtempSync(path.join(tmpdir(), "bge-report-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function report(name: string, ...args: string[]): string {
  const file = path.join(folder, `${name}.html`);
  const { status, stderr } = spawnSync(process.execPath, [path.join(root, "lib", "cli.js"), ...args, "--report", file], {
    encoding: "utf8",
  });
  expect(stderr).toBe("");
  expect(status).toBe(0);
  return pathToFileURL(file).href;
}

const styleOf = (name: string) => `getComputedStyle(document.body).${name}`;

describe.skipIf(browserPath === undefined)("reports in a browser", () => {
  let browser: Browser;
  const pages: Record<string, { url: string; charts: number }> = {};
  beforeAll(async () => {
    browser = await launchBrowser();
    const layered = await goldenGguf("minicpm-layerwise-reranker", "f32");
    const other = await goldenGguf("minicpm-layerwise-reranker", "q8_0");
    const few = ["--queries", "8", "--candidates", "6"];
    const compare = ["--compare", `2,2:3,${other}`];
    pages.eval = { url: report("eval", "eval", dataset, ...few), charts: 3 };
    pages.compare = { url: report("compare", "eval", dataset, ...few, "-m", layered, "--max-length", "64", ...compare), charts: 5 };
    pages.calibrate = { url: report("calibrate", "calibrate", dataset, ...few), charts: 3 };
    pages.bench = { url: report("bench", "bench", "-m", layered, "--documents", "5", "--tokens", "20", "--runs", "1"), charts: 3 };
  });
  afterAll(() => browser?.close());

  describe.each(["eval", "compare", "calibrate", "bench"])("%s", (name) => {
    it.each(["light", "dark"] as const)("draws every chart, %s, and asks nothing of the network", async (colorScheme) => {
      const page = await browser.newPage({ colorScheme, viewport: { width: 1000, height: 800 } });
      const faults: string[] = [];
      page.on("pageerror", (error) => faults.push(error.message));
      page.on("console", (message) => faults.push(message.text()));
      page.on("request", (request) => {
        if (request.url() !== pages[name]?.url) faults.push(request.url());
      });
      await page.goto(pages[name]?.url ?? "");
      expect(await page.locator("figure").count()).toBe(pages[name]?.charts);
      expect(await page.locator("figure svg").count()).toBe(pages[name]?.charts);
      const drawn = await page
        .locator("figure svg")
        .evaluateAll((all) => all.map((svg) => svg.querySelectorAll("rect, circle, path").length));
      expect(Math.min(...drawn)).toBeGreaterThan(2);
      // Ink and ground differ, whichever the scheme.
      const [ink, ground] = await Promise.all(["color", "backgroundColor"].map((name) => page.evaluate<string>(styleOf(name))));
      const lightness = (colour: string | undefined) => Number(/\d+/.exec(colour ?? "")?.[0]);
      expect(lightness(ground) > lightness(ink)).toBe(colorScheme === "light");
      expect(faults).toEqual([]);
      await page.close();
    });

    it("fits a phone and a sheet of paper", async () => {
      const page = await browser.newPage({ viewport: { width: 390, height: 800 }, colorScheme: "dark" });
      await page.goto(pages[name]?.url ?? "");
      const overflow = () => page.evaluate<number>("document.documentElement.scrollWidth - innerWidth");
      expect(await overflow()).toBeLessThanOrEqual(0);
      await page.emulateMedia({ media: "print" });
      const ground = await page.evaluate<string>(styleOf("backgroundColor"));
      expect(ground).toBe("rgb(255, 255, 255)"); // also where the screen is dark
      expect((await page.pdf({ format: "A4" })).length).toBeGreaterThan(10_000);
      await page.close();
    });
  });

  it("shows the chosen threshold, and the text behind a change", async () => {
    const page = await browser.newPage();
    await page.goto(pages.calibrate?.url ?? "");
    expect(await page.locator("figure", { hasText: /precision, .* recall, from/ }).count()).toBe(1);
    await page.goto(pages.compare?.url ?? "");
    await expect(page.locator("main").textContent()).resolves.toMatch(/layer 2[\s\S]*best 3 after layer 2[\s\S]*Q8_0/);
    await page.close();
  });
});

describe("--report", () => {
  const run = (...args: string[]) => spawnSync(process.execPath, [path.join(root, "lib", "cli.js"), ...args], { encoding: "utf8" });

  it.each([
    ["without a reranker", ["eval", dataset, "--no-rerank", "--report", "x.html"], 2, "--report needs a reranker"],
    ["compared with nothing to show it", ["eval", dataset, "--compare", "2"], 2, "--compare needs --report"],
    [
      "with a layer that is not there",
      ["eval", dataset, "--report", path.join(folder, "x.html"), "--compare", "16"],
      2,
      "has no cutoff layers",
    ],
    ["over the data", ["eval", dataset, "--report", path.join(dataset, "qrels.tsv")], 1, "qrels.tsv"],
  ])("is refused %s", (_, args, code, message) => {
    const { status, stderr } = run(...args);
    expect(stderr).toContain(message);
    expect(status).toBe(code);
  });
});

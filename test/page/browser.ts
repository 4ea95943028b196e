// A real browser for the page's tests: what is installed, else none.
import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";

const places = [
  process.env["BGE_CHROMIUM"],
  "/usr/bin/chromium-headless-shell",
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe",
];

export const browserPath = places.find((place) => place !== undefined && existsSync(place));

if (!browserPath) console.warn("The page is not tested in a browser: no Chromium or Chrome found, and BGE_CHROMIUM names none.");

/** Chromium refuses to sandbox what root runs, as in CI's containers. */
export const launchBrowser = (): Promise<Browser> =>
  chromium.launch({ executablePath: browserPath ?? "", args: process.getuid?.() === 0 ? ["--no-sandbox"] : [] });

// Makes docs/server-page.png: the server's page after a call, in the Chromium of this machine.
import { fileURLToPath } from "node:url";
import { serve } from "bge-reranker/server";
import { chromium } from "playwright-core";

const server = await serve({ port: 0, log: "off" });
await server.ready;
const browser = await chromium.launch({
  executablePath: process.env.BGE_CHROMIUM ?? "/usr/bin/chromium-headless-shell",
  args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
});
const page = await browser.newPage({ viewport: { width: 1200, height: 940 }, colorScheme: "light" });
await page.goto(server.url);
const rank = async () => {
  await page.getByRole("button", { name: "Rerank" }).click();
  await page.locator("#status", { hasText: "ranked in" }).waitFor();
};
await rank(); // the first call is no measure of those after it
await rank();
await page.getByLabel("Cut here").fill("3");
await page.locator("h1").click();
await page.waitForTimeout(400);
await page.screenshot({ path: fileURLToPath(new URL("../../docs/server-page.png", import.meta.url)) });
await browser.close();
await server.close();

// The page and the server together, with the embedded model: what a user of `npx bge-reranker serve` sees.
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Reranker } from "../../src/index.js";
import { type Server, serve } from "../../src/server/index.js";
import { exampleDocuments, exampleQuery } from "../../src/server/page/static/example.js";
import { browserPath, launchBrowser } from "./browser.js";

interface Result {
  readonly index: number;
  readonly read_end?: number;
  readonly chunk?: { readonly start: number; readonly end: number };
}

describe("read_end", () => {
  let reranker: Reranker;
  let server: Server;
  beforeAll(async () => {
    reranker = await Reranker.load("default");
    server = await serve({ reranker, port: 0, log: "off" });
  });
  afterAll(async () => {
    await server?.close();
    await reranker?.dispose();
  });

  async function post(body: object): Promise<Result[]> {
    const response = await fetch(`${server.url}/v1/rerank`, { method: "POST", body: JSON.stringify(body) });
    return ((await response.json()) as { results: Result[] }).results;
  }

  const long = `${"The loaf 😀 keeps well in linen, 漢字. ".repeat(300)}`;

  it("tells where a document was cut, to a token, and nothing of one that was read whole", async () => {
    const query = "bread";
    const body = { query, documents: [long, "short", long.slice(0, 30_000)], return_details: true };
    const answer = await post(body);
    const ends = new Map(answer.map(({ index, read_end }) => [index, read_end]));
    expect(ends.get(1)).toBeUndefined();
    const end = ends.get(0) ?? 0;
    expect(ends.get(2)).toBe(end);
    // The part that was read scores as the whole text does, and has as many tokens.
    const [whole] = await reranker.rerank(query, [long]);
    const [part] = await reranker.rerank(query, [long.slice(0, end)]);
    expect(part?.truncated).toBe(false);
    expect(whole?.truncated).toBe(true);
    expect(Math.abs((part?.tokens ?? 0) - (whole?.tokens ?? 0))).toBeLessThanOrEqual(1);
    expect(long.slice(0, end)).not.toMatch(/[\ud800-\udbff]$/);
  });

  it("is not told unasked, nor of windows", async () => {
    const call = { query: "q", documents: [long] };
    expect((await post(call))[0]).not.toHaveProperty("read_end");
    const [chunked] = await post({ ...call, return_details: true, overflow: "chunk" });
    expect(chunked).not.toHaveProperty("read_end");
    expect(chunked?.chunk?.end).toBeGreaterThan(chunked?.chunk?.start ?? 0);
  });
});

describe.skipIf(!browserPath)("page of a server", () => {
  let browser: Browser;
  let server: Server;
  beforeAll(async () => {
    browser = await launchBrowser();
    server = await serve({ port: 0, log: "off" });
    await server.ready;
  });
  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });

  async function open() {
    const page = await browser.newPage();
    const complaints: string[] = [];
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(error.message));
    await page.goto(server.url);
    return { page, complaints };
  }

  it("shows the ranking of the library", async () => {
    const { page, complaints } = await open();
    await page.getByRole("button", { name: "Rerank" }).click();
    await page.locator("#list > li").first().waitFor();
    await using reranker = await Reranker.load("default");
    const expected = await reranker.rerank(exampleQuery, exampleDocuments, { normalize: true, overflow: "chunk" });
    const shown = await page.locator("#list .figures").allInnerTexts();
    const words = expected.map(({ index, score, logit }) => [`document ${index + 1}`, score.toFixed(4), Math.abs(logit).toFixed(3)]);
    expect(shown).toHaveLength(expected.length);
    for (const [i, parts] of words.entries()) for (const part of parts) expect(shown[i]).toContain(part);
    expect(await page.locator("#times").innerText()).toMatch(/^in queue [\d.]+ ms · computing [\d.]+ ms · \d+ tokens$/);
    expect(await page.locator("#model option").allInnerTexts()).toEqual(["default"]);
    // The long example is there to show this.
    expect(await page.locator("#list mark").innerText()).toContain("bread stays fresh for a week");
    expect(complaints).toEqual([]);
    await page.close();
  });

  it("marks the best part of a long document, or where its reading ended", async () => {
    const { page } = await open();
    const filler = "The council met on Tuesday and spoke about the drains of the old town. ".repeat(60);
    await page.locator("#documents").fill(`${filler}Bread stays fresh for a week in a linen bag. ${filler}`);
    await page.getByRole("button", { name: "Rerank" }).click();
    const item = page.locator("#list > li").first();
    await item.getByText("best of").waitFor();
    await item.getByRole("button", { name: "Show all of it" }).click();
    expect(await item.locator("mark").innerText()).toContain("fresh for a week in a linen bag");
    await page.locator("#overflow").selectOption("truncate");
    await page.getByRole("button", { name: "Rerank" }).click();
    await item.getByText("not all of it was read").waitFor();
    await item.getByRole("button", { name: "Show all of it" }).click();
    expect(await item.locator(".scissors").innerText()).toContain("read to here");
    await page.locator("#overflow").selectOption("error");
    await page.getByRole("button", { name: "Rerank" }).click();
    expect(await page.getByRole("alert").innerText()).toMatch(/token/);
    await page.close();
  });
});

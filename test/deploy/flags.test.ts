// Flags and variables in deploy/ are those of the command.
import { readdirSync } from "node:fs";
import { Command } from "commander";
import { expect, it } from "vitest";
import { addServe } from "../../src/cli/serve.js";
import { deployFolder, parseOne, readDeployed } from "./files.js";

const program = new Command();
addServe(program, new AbortController().signal);
const flags = program.commands[0]?.options.map(({ long }) => long ?? "") ?? [];
const variables = flags.map(
  (flag) =>
    `BGE_${flag
      .replace(/^--(no-)?/, "")
      .replaceAll("-", "_")
      .toUpperCase()}`,
);

// The batch job and the worker are other commands.
const files = readdirSync(deployFolder, { recursive: true, encoding: "utf8" }).filter(
  (name) => /(Dockerfile|\.(ya?ml|service|example))$/.test(name) && !/kubernetes.(batch|worker)/.test(name),
);
const texts = files.map((name) => [name, readDeployed(name.replaceAll("\\", "/"))] as const);

it.each(texts)("variables in %s", (_name, text) => {
  const used = [...text.matchAll(/\bBGE_[A-Z_]+/g)].map(([name]) => name).filter((name) => name !== "BGE_RERANKER_CACHE");
  for (const name of used) expect(variables).toContain(name);
});

it("flags", () => {
  const compose = parseOne<{ services: { reranker: { command: string[] } } }>("docker/compose.yaml");
  const inManifests = texts.flatMap(([, text]) => [...text.matchAll(/^\s+- (--[a-z-]+)/gm)].map(([, flag]) => flag ?? ""));
  const inCompose = compose.services.reranker.command.filter((word) => word.startsWith("--"));
  expect(inManifests.length).toBeGreaterThan(2);
  for (const flag of [...inManifests, ...inCompose]) expect(flags).toContain(flag);
});

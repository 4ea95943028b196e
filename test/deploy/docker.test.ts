import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { Ajv } from "ajv";
import ajvFormats from "ajv-formats";
import { validate as validateDockerfile } from "dockerfile-utils";
import { describe, expect, it } from "vitest";
import { parseOne, readDeployed } from "./files.js";

const dockerfile = readDeployed("docker/Dockerfile");
/** Instructions of the stage that becomes the image, continued lines joined. */
const stage = dockerfile
  .replaceAll("\\\n", " ")
  .split(/^FROM /m)
  .at(-1)!
  .split("\n")
  .slice(1);
const instruction = (name: string) => stage.filter((line) => line.startsWith(`${name} `)).map((line) => line.slice(name.length + 1).trim());

describe("Dockerfile", () => {
  it("holds what Docker knows", () => {
    expect(validateDockerfile(dockerfile)).toEqual([]);
    expect(validateDockerfile("FROM x\nENTRIPOINT y")).toHaveLength(1);
  });

  it("ends in an image without a shell, and not as root", () => {
    expect(dockerfile).toMatch(/^FROM gcr\.io\/distroless\/[^\n]+:nonroot$/m);
    expect(instruction("USER").at(-1)).toBe("65532:65532");
    expect(instruction("RUN")).toEqual([]);
    expect(JSON.parse(instruction("ENTRYPOINT")[0] ?? "")).toContain("serve");
    expect(stage.join("\n")).toMatch(/HEALTHCHECK .*CMD \["/);
  });
});

interface Compose {
  readonly services: Record<string, { readonly read_only?: boolean; readonly cap_drop?: string[]; readonly volumes?: string[] }>;
  readonly volumes: Record<string, unknown>;
}

describe("compose file", () => {
  const compose = parseOne<Compose>("docker/compose.yaml");

  it("fits the Compose specification", () => {
    // The linter's package carries the specification's schema.
    const linter = path.dirname(createRequire(import.meta.url).resolve("dclint/package.json"));
    const { $schema: _draft, ...schema } = JSON.parse(readFileSync(path.join(linter, "schemas", "compose.schema.json"), "utf8"));
    const ajv = new Ajv({ strict: false, allErrors: true });
    ajvFormats.default(ajv);
    ajv.addFormat("duration", /^(\d+(\.\d+)?(us|ms|s|m|h))+$/); // of Go, where JSON schema means ISO 8601
    const fits = ajv.compile(schema);
    fits(compose);
    expect(fits.errors).toBeNull();
    expect(fits({ services: { a: { image: "x", redonly: true } } })).toBe(false);
  });

  it("gives the server nothing to write to but its models", () => {
    const { reranker } = compose.services;
    expect(reranker).toMatchObject({ read_only: true, cap_drop: ["ALL"], volumes: ["models:/models"] });
    const named = Object.values(compose.services).flatMap(({ volumes = [] }) => volumes.map((volume) => volume.split(":")[0] ?? ""));
    expect(named.filter((name) => !name.startsWith(".")).sort()).toEqual(Object.keys(compose.volumes).sort());
  });
});

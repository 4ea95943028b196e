// Manifests against the published schemas of Kubernetes and KEDA: values by their validators, fields nobody knows by their types.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type IScaledObject, ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1";
import { Deployment, type IDeployment } from "kubernetes-models/apps/v1";
import { type IPodDisruptionBudget, PodDisruptionBudget } from "kubernetes-models/policy/v1";
import { type IPersistentVolumeClaim, type IService, PersistentVolumeClaim, Service } from "kubernetes-models/v1";
import { afterAll, describe, expect, it } from "vitest";
import { deployFolder, parseDeployed } from "./files.js";

const kinds = {
  Deployment: { model: Deployment, from: "kubernetes-models/apps/v1" },
  PodDisruptionBudget: { model: PodDisruptionBudget, from: "kubernetes-models/policy/v1" },
  PersistentVolumeClaim: { model: PersistentVolumeClaim, from: "kubernetes-models/v1" },
  Service: { model: Service, from: "kubernetes-models/v1" },
  ScaledObject: { model: ScaledObject, from: "@kubernetes-models/keda/keda.sh/v1alpha1" },
} as const;

interface Manifest {
  readonly apiVersion: string;
  readonly kind: keyof typeof kinds;
}

const base = readdirSync(new URL("kubernetes/base/", deployFolder))
  .filter((name) => name !== "kustomization.yaml")
  .map((name) => `kubernetes/base/${name}`);
const manifests = [...base, "kubernetes/m3/models.yaml"].flatMap((name) =>
  parseDeployed<Manifest>(name).map((manifest) => ({ name, manifest })),
);
const only = <T>(kind: keyof typeof kinds) => manifests.find(({ manifest }) => manifest.kind === kind)?.manifest as unknown as T;

function validate(manifest: Manifest): void {
  const { model } = kinds[manifest.kind];
  expect(manifest.apiVersion, manifest.kind).toBe(model.apiVersion);
  new model(manifest as never).validate();
}

/** What tsc says of the manifests as literals: names the fields that no schema has. */
function unknownFields(all: readonly Manifest[]): string {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const folder = path.join(root, "build", "deploy-types");
  mkdirSync(folder, { recursive: true });
  const file = path.join(folder, "manifests.ts");
  const literals = all.map(
    (manifest, i) =>
      `import type { I${manifest.kind} as T${i} } from ${JSON.stringify(kinds[manifest.kind].from)};\nexport const m${i}: T${i} = ${JSON.stringify(manifest, null, 1)};\n`,
  );
  writeFileSync(file, literals.join("\n"));
  const tsc = path.join(path.dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin", "tsc");
  const args = ["--ignoreConfig", "--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--types", "", file];
  const { status, stdout, stderr } = spawnSync(process.execPath, [tsc, ...args], { encoding: "utf8", cwd: root });
  return status === 0 ? "" : stdout + stderr;
}

const hasKubectl = spawnSync("kubectl", ["version", "--client"]).status === 0;
if (!hasKubectl) console.warn("kustomize files are not rendered: no kubectl here.");

describe("Kubernetes", () => {
  afterAll(() => rmSync(new URL("../../build/deploy-types", import.meta.url), { recursive: true, force: true }));

  it.each(manifests)("takes the values of $name", ({ manifest }) => validate(manifest));

  it("knows every field", () => {
    expect(unknownFields(manifests.map(({ manifest }) => manifest))).toBe("");
    const wrong = { ...only<object>("PodDisruptionBudget"), spec: { maxUnavailble: 1 } } as unknown as Manifest;
    expect(unknownFields([wrong])).toContain("maxUnavailble");
  });

  it("has selectors, ports and names that meet", () => {
    const { spec } = only<IDeployment>("Deployment");
    const labels = spec?.template.metadata?.labels;
    expect(spec?.selector.matchLabels).toEqual(labels);
    expect(only<IService>("Service").spec?.selector).toEqual(labels);
    expect(only<IPodDisruptionBudget>("PodDisruptionBudget").spec?.selector?.matchLabels).toEqual(labels);
    expect(only<IScaledObject>("ScaledObject").spec?.scaleTargetRef.name).toBe(only<IDeployment>("Deployment").metadata?.name);
    const [container] = spec?.template.spec?.containers ?? [];
    const ports = container?.ports?.map(({ name }) => name);
    expect(ports).toContain(only<IService>("Service").spec?.ports?.[0]?.targetPort);
    for (const probe of [container?.startupProbe, container?.readinessProbe, container?.livenessProbe])
      expect(ports).toContain(probe?.httpGet?.port);
    const volumes = spec?.template.spec?.volumes?.map(({ name }) => name);
    expect(container?.volumeMounts?.map(({ name }) => name)).toEqual(volumes);
  });

  it("runs it without rights, and gives it time to drain", () => {
    const pod = only<IDeployment>("Deployment").spec?.template.spec;
    const [container] = pod?.containers ?? [];
    expect(pod?.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
    expect(container?.securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    });
    const pause = container?.lifecycle?.preStop?.sleep?.seconds ?? 0;
    expect(pod?.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(pause + 30 + 5);
    expect(container?.readinessProbe?.httpGet?.path).toBe("/healthz/ready");
    expect(container?.livenessProbe?.httpGet?.path).toBe("/healthz/live");
  });

  it.skipIf(!hasKubectl).each(["base", "m3"])("renders %s", (name) => {
    const rendered = execFileSync("kubectl", ["kustomize", fileURLToPath(new URL(`kubernetes/${name}`, deployFolder))], {
      encoding: "utf8",
    });
    const documents = parseDeployed<Manifest>(name, rendered);
    for (const manifest of documents) validate(manifest);
    expect(unknownFields(documents)).toBe("");
    const deployment = documents.find(({ kind }) => kind === "Deployment") as unknown as IDeployment;
    const pod = deployment.spec?.template.spec;
    const [container] = pod?.containers ?? [];
    const models = pod?.volumes?.find((volume) => volume.name === "models");
    expect(container?.args?.some((arg) => arg.startsWith("--model="))).toBe(name === "m3");
    const claim = documents.find(({ kind }) => kind === "PersistentVolumeClaim") as unknown as IPersistentVolumeClaim | undefined;
    expect(models?.persistentVolumeClaim?.claimName).toBe(claim?.metadata?.name);
    expect(Boolean(claim)).toBe(name === "m3");
  });
});

// The server's manifests: schemas, and what has to fit together.
import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { IScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1";
import type { IDeployment } from "kubernetes-models/apps/v1";
import type { IPodDisruptionBudget } from "kubernetes-models/policy/v1";
import type { IPersistentVolumeClaim, IService } from "kubernetes-models/v1";
import { describe, expect, it } from "vitest";
import { deployFolder, parseDeployed } from "./files.js";
import { type Manifest, unknownFields, validate } from "./schemas.js";

const base = readdirSync(new URL("kubernetes/base/", deployFolder))
  .filter((name) => name !== "kustomization.yaml")
  .map((name) => `kubernetes/base/${name}`);
const manifests = [...base, "kubernetes/m3/models.yaml"].flatMap((name) =>
  parseDeployed<Manifest>(name).map((manifest) => ({ name, manifest })),
);
const only = <T>(kind: Manifest["kind"]) => manifests.find(({ manifest }) => manifest.kind === kind)?.manifest as unknown as T;

const hasKubectl = spawnSync("kubectl", ["version", "--client"]).status === 0;
if (!hasKubectl) console.warn("kustomize files are not rendered: no kubectl here.");

describe("Kubernetes", () => {
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

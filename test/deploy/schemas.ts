// Manifests against the published schemas of Kubernetes and KEDA: values by their validators, fields nobody knows by their types.
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1";
import { Deployment } from "kubernetes-models/apps/v1";
import { Job } from "kubernetes-models/batch/v1";
import { PodDisruptionBudget } from "kubernetes-models/policy/v1";
import { PersistentVolumeClaim, Service } from "kubernetes-models/v1";
import { expect } from "vitest";

const kinds = {
  Deployment: { model: Deployment, from: "kubernetes-models/apps/v1" },
  PodDisruptionBudget: { model: PodDisruptionBudget, from: "kubernetes-models/policy/v1" },
  PersistentVolumeClaim: { model: PersistentVolumeClaim, from: "kubernetes-models/v1" },
  Service: { model: Service, from: "kubernetes-models/v1" },
  Job: { model: Job, from: "kubernetes-models/batch/v1" },
  ScaledObject: { model: ScaledObject, from: "@kubernetes-models/keda/keda.sh/v1alpha1" },
} as const;

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: keyof typeof kinds;
}

export function validate(manifest: Manifest): void {
  const { model } = kinds[manifest.kind];
  expect(manifest.apiVersion, manifest.kind).toBe(model.apiVersion);
  new model(manifest as never).validate();
}

/** What tsc says of the manifests as literals: names the fields that no schema has. */
export function unknownFields(all: readonly Manifest[]): string {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const folder = path.join(root, "build", `deploy-types-${process.pid}`);
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
  rmSync(folder, { recursive: true });
  return status === 0 ? "" : stdout + stderr;
}

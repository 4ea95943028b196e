// Manifests and scripts for jobs: schemas, numbers that must fit, and the Slurm script run as Slurm would.
import { execFile, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { IScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1";
import type { IDeployment } from "kubernetes-models/apps/v1";
import type { IJob } from "kubernetes-models/batch/v1";
import { afterAll, describe, expect, it } from "vitest";
import { deployFolder, parseDeployed, readDeployed } from "./files.js";
import { type Manifest, unknownFields, validate } from "./schemas.js";

const names = ["kubernetes/batch/job.yaml", "kubernetes/worker/deployment.yaml", "kubernetes/worker/scaled-object.yaml"];
const manifests = names.flatMap((name) => parseDeployed<Manifest>(name).map((manifest) => ({ name, manifest })));
const only = <T>(kind: Manifest["kind"]) => manifests.find(({ manifest }) => manifest.kind === kind)?.manifest as unknown as T;

describe("manifests of jobs", () => {
  it.each(manifests)("have the values of $name", ({ manifest }) => validate(manifest));

  it("have no field that nobody knows", () => {
    expect(unknownFields(manifests.map(({ manifest }) => manifest))).toBe("");
  });

  it("give each pod of the job its own shard of as many", () => {
    const { spec } = only<IJob>("Job");
    expect(spec?.completionMode).toBe("Indexed");
    const [container] = spec?.template.spec?.containers ?? [];
    expect(container?.args).toContain(`--shard=$(JOB_COMPLETION_INDEX)/${spec?.completions}`);
    expect(container?.args).toContain("--resume"); // a pod that is lost is made again
    expect(spec?.podFailurePolicy?.rules[0]?.onExitCodes?.containerName).toBe(container?.name);
  });

  it("give workers time to finish or to give back", () => {
    const pod = only<IDeployment>("Deployment").spec?.template.spec;
    const grace = Number(/--grace-ms=(\d+)/.exec(pod?.containers[0]?.args?.join(" ") ?? "")?.[1]) / 1000;
    expect(pod?.terminationGracePeriodSeconds).toBeGreaterThanOrEqual(grace + 10);
  });

  it("scale on the lists that BullMQ keeps", () => {
    const { spec } = only<IScaledObject>("ScaledObject");
    expect(spec?.scaleTargetRef.name).toBe(only<IDeployment>("Deployment").metadata?.name);
    expect(spec?.triggers.map(({ metadata }) => metadata.listName)).toEqual(["bull:bge-reranker:wait", "bull:bge-reranker:active"]);
  });

  it("run without rights", () => {
    for (const kind of ["Job", "Deployment"] as const) {
      const pod = only<IDeployment | IJob>(kind).spec?.template.spec;
      expect(pod?.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } });
      expect(pod?.containers[0]?.securityContext).toMatchObject({ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true });
      const volumes = pod?.volumes?.map(({ name }) => name);
      expect(pod?.containers[0]?.volumeMounts?.map(({ name }) => name)).toEqual(volumes);
    }
  });
});

// sbatch --help of Slurm 24.05, as far as scripts use it.
const SBATCH = "array job-name nodes ntasks cpus-per-task mem time requeue signal output error partition account gres constraint".split(
  " ",
);

describe.skipIf(process.platform === "win32")("the Slurm script", () => {
  const script = fileURLToPath(new URL("slurm/batch.sbatch", deployFolder));
  const folder = mkdtempSync(path.join(tmpdir(), "bge-reranker-slurm-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  it("is sound shell with options that sbatch has, all before the first command", () => {
    expect(spawnSync("bash", ["-n", script]).status).toBe(0);
    const lines = readDeployed("slurm/batch.sbatch").split("\n");
    const directives = lines.flatMap((line, i) => (line.startsWith("#SBATCH") ? [{ line, i }] : []));
    for (const { line } of directives) expect(SBATCH).toContain(/^#SBATCH --([a-z-]+)/.exec(line)?.[1]);
    const firstCommand = lines.findIndex((line) => line !== "" && !line.startsWith("#"));
    expect(Math.max(...directives.map(({ i }) => i))).toBeLessThan(firstCommand);
  });

  it("scores everything once over an array that does not begin at 0", async () => {
    const root = fileURLToPath(new URL("../../", import.meta.url));
    const lines = Array.from({ length: 12 }, (_, i) => JSON.stringify({ id: i, query: "q", passage: `text ${i}` }));
    writeFileSync(path.join(folder, "pairs.jsonl"), lines.join("\n"));
    const task = (id: number, count = 2) =>
      promisify(execFile)(
        "bash",
        [script, path.join(folder, "pairs.jsonl"), path.join(folder, "out"), "default", "--shard-rows", "3", "-q"],
        {
          env: {
            ...process.env,
            BGE_RERANKER: `${process.execPath} ${path.join(root, "lib", "cli.js")}`,
            SLURM_ARRAY_TASK_ID: String(id),
            SLURM_ARRAY_TASK_MIN: "5",
            SLURM_ARRAY_TASK_MAX: "6",
            SLURM_ARRAY_TASK_COUNT: String(count),
            SLURM_CPUS_PER_TASK: "1",
          },
        },
      );
    await task(6);
    expect((await task(5)).stdout).toContain("2 of 4 parts made; complete");
    const parts = readdirSync(path.join(folder, "out")).filter((name) => name.startsWith("part-"));
    const rows = parts.flatMap((name) =>
      readFileSync(path.join(folder, "out", name), "utf8")
        .trim()
        .split("\n"),
    );
    expect(rows.map((row) => JSON.parse(row).row).sort((a, b) => a - b)).toEqual(lines.map((_, i) => i));
    await expect(task(5, 1)).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining("gaps") });
  });
});

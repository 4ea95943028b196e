// From a name to scores against a stand-in hub, through the command line: all golden layouts, kills, two processes, offline.
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, vi } from "vitest";
import { FlagAutoReranker, listModels, type Pair, type Progress } from "../../src/index.js";
import { checkpointFolder, checkpoints, goldenGguf, optionsOf, readCases } from "../golden.js";
import { hashOf, isForFront, repositoryOf, SHARDS } from "../hub-server.js";
import { commit, stageHub } from "../hub-stage.js";

const cli = path.join(path.dirname(fileURLToPath(import.meta.url)), "../../lib/cli.js");
const stage = stageHub("xlmr-reranker");
/** BGE_TEST_KILLS=50 kills more often than the 20 times of every run. */
const kills = Number(process.env.BGE_TEST_KILLS ?? 20);

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function start(...args: string[]): { readonly child: ChildProcess; readonly ended: Promise<Ended> } {
  const child = spawn(process.execPath, [cli, ...args], {
    env: { ...process.env, ...stage.environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout?.on("data", (data) => (stdout += data));
  child.stderr?.on("data", (data) => (stderr += data));
  const ended = new Promise<Ended>((resolve) => child.on("close", (code) => resolve({ code, stdout, stderr })));
  return { child, ended };
}

const weightsOf = (name: string) => readFileSync(path.join(checkpointFolder(name), "model.safetensors"));
const storageHits = () => stage.hub.hits.filter((hit) => hit.host === "storage" && !isForFront(hit));
const flat = (scores: readonly number[] | readonly number[][]): number[] => (scores as number[][]).flat();

describe("a model named by its id", () => {
  it.each(checkpoints)("$name is pulled, converted and scored", async ({ name, tolerance }) => {
    const stages = new Set<Progress["stage"]>();
    const onProgress = ({ stage }: Progress) => stages.add(stage);
    const reranker = await FlagAutoReranker.fromFinetuned(`golden/${name}`, { devices: "cpu", onProgress });
    expect([...stages]).toEqual(["download", "convert"]);
    const cases = readCases(name).filter((c) => ["basic", "single-pair"].includes(c.id));
    expect(cases.length).toBeGreaterThan(0);
    for (const c of cases) {
      const scores = await reranker.computeScore([...c.pairs] as Pair[], optionsOf(c.compute_score));
      for (const [i, score] of flat(scores).entries()) expect(Math.abs(score - (flat(c.scores)[i] ?? 0))).toBeLessThan(tolerance);
    }
    expect(reranker.model.name).toBe(name);
    expect(path.basename(reranker.model.path)).toMatch(new RegExp(`^${name}-f32-[0-9a-f]{16}\\.gguf$`));
    await reranker.dispose();

    stage.hub.hits.length = 0;
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    const again = await FlagAutoReranker.fromFinetuned(`golden/${name}`, { devices: "cpu", revision: commit });
    expect(again.model.path).toBe(reranker.model.path);
    await again.dispose();
    await expect(FlagAutoReranker.fromFinetuned("golden/none")).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
    expect(stage.hub.hits).toEqual([]);
  });

  it("is pulled and listed by the command line", async () => {
    stage.hub.repositories.set("BAAI/bge-reranker-v2-m3", repositoryOf(checkpointFolder("xlmr-m3-reranker"), commit));
    const { code, stdout, stderr } = await start("pull", "v2-m3", "--outtype", "q8_0").ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const file = stdout.trim();
    expect(path.basename(file)).toMatch(/^bge-reranker-v2-m3-q8_0-[0-9a-f]{16}\.gguf$/);
    const { known, converted } = await listModels();
    expect(converted).toEqual([{ path: file, sizeBytes: readFileSync(file).length }]);
    const m3 = known.find(({ name }) => name === "bge-reranker-v2-m3");
    expect(m3).toMatchObject({ memoryBytes: { f32: 2272e6 }, snapshot: expect.stringContaining(commit) });
    expect(m3?.snapshotSizeBytes).toBeGreaterThan(weightsOf("xlmr-m3-reranker").length);
    const failed = await start("pull", "golden/none").ended;
    expect(failed).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining("MODEL_NOT_FOUND") });
    expect(await start("pull", "v2-m4").ended).toMatchObject({ code: 1, stderr: expect.stringContaining("Known:") });
  });

  it("may be a GGUF file of a repository", async () => {
    const gguf = readFileSync(await goldenGguf("bert-reranker", "f32"));
    stage.hub.repositories.set("golden/ggufs", {
      commit,
      files: { "a-F32.gguf": { content: gguf, large: true }, "b-F32.gguf": { content: gguf, large: true } },
    });
    const { code, stdout } = await start("rerank", "-m", "golden/ggufs:b-F32.gguf", "--query", "what is panda?", "--json", "hi", "a bear")
      .ended;
    expect(code).toBe(0);
    expect(JSON.parse(stdout).results).toHaveLength(2);
  });
});

describe("a download that is killed", () => {
  const name = "xlmr-reranker";
  const pull = (): ReturnType<typeof start> => start("pull", `golden/${name}`, "--quiet");
  const blobs = () => path.join(stage.environment.HF_HUB_CACHE ?? "", `models--golden--${name}`, "blobs");

  it(`resumes after each of ${kills} kills, to the same checksums`, { timeout: 60_000 + kills * 30_000 }, async () => {
    const pull = () => start("pull", "golden/sharded", "--quiet");
    const blobs = () => path.join(stage.environment.HF_HUB_CACHE ?? "", "models--golden--sharded", "blobs");
    const reference = await pull().ended;
    expect(reference).toMatchObject({ code: 0, stderr: "" });
    const wanted = hashOf(readFileSync(reference.stdout.trim()));
    rmSync(path.dirname(blobs()), { recursive: true });
    rmSync(stage.environment.BGE_RERANKER_CACHE ?? "", { recursive: true });

    const { files = {} } = stage.hub.repositories.get("golden/sharded") ?? {};
    const total = SHARDS.reduce((sum, shard) => sum + (files[shard]?.content.length ?? 0), 0);
    stage.hub.bytesPerSecond = total * 2;
    let resumed = 0;
    let converting = 0; // processes killed with a part of a conversion on the disk
    let whole = 0;
    for (let round = 0; round < kills; round++) {
      stage.hub.hits.length = 0;
      stage.hub.sentBytes = 0;
      const { child, ended } = pull();
      // Counted in bytes and not in time, so that a busy machine is killed at the same points.
      await Promise.race([ended, untilSent(Math.random() * total * 0.6, child)]);
      await new Promise((done) => setTimeout(done, Math.random() * 50));
      child.kill("SIGKILL");
      await ended;
      // From the end of the front on is no resumption.
      resumed += storageHits().filter((hit) => Number(/^bytes=(\d+)-$/.exec(hit.range ?? "")?.[1] ?? 0) > 1 << 17).length;
      for (const file of existsSync(blobs()) ? readdirSync(blobs()) : []) {
        if (file.length === 64) expect(hashOf(readFileSync(path.join(blobs(), file)))).toBe(file);
      }
      const made = existsSync(stage.environment.BGE_RERANKER_CACHE ?? "") ? readdirSync(stage.environment.BGE_RERANKER_CACHE ?? "") : [];
      for (const file of made.filter((each) => each.endsWith(".gguf"))) {
        expect(hashOf(readFileSync(path.join(stage.environment.BGE_RERANKER_CACHE ?? "", file)))).toBe(wanted);
      }
      if (made.some((file) => file.endsWith(".tmp"))) converting++;
      if (made.some((file) => file.endsWith(".gguf"))) {
        whole++;
        rmSync(stage.environment.BGE_RERANKER_CACHE ?? "", { recursive: true });
        rmSync(path.dirname(blobs()), { recursive: true });
      }
    }
    stage.hub.bytesPerSecond = 0;
    const last = await pull().ended;
    expect(last).toMatchObject({ code: 0, stderr: "" });
    expect(hashOf(readFileSync(last.stdout.trim()))).toBe(wanted);
    expect(readdirSync(blobs()).filter((file) => file.endsWith(".incomplete"))).toEqual([]);
    expect(readdirSync(stage.environment.BGE_RERANKER_CACHE ?? "")).toHaveLength(1);
    console.log(`${kills} kills: ${converting} in a conversion, ${resumed} downloads resumed, ${whole} times done before`);
    if (kills >= 20) expect(Math.min(resumed, converting)).toBeGreaterThan(0);
  });

  async function untilSent(bytes: number, child: ChildProcess): Promise<void> {
    while (stage.hub.sentBytes < bytes && child.exitCode === null) await new Promise((done) => setTimeout(done, 10));
  }

  it("is done once by two processes", async () => {
    stage.hub.bytesPerSecond = weightsOf(name).length * 2;
    const both = await Promise.all([pull().ended, pull().ended]);
    for (const each of both) expect(each).toMatchObject({ code: 0, stderr: "", stdout: both[0].stdout });
    const large = storageHits().map((hit) => hit.path);
    expect(large.length).toBe(new Set(large).size);
    expect(readdirSync(stage.environment.BGE_RERANKER_CACHE ?? "")).toHaveLength(1);
  });

  it("is taken over by a process that waited", async () => {
    stage.hub.bytesPerSecond = weightsOf(name).length / 2;
    const first = pull();
    while (storageHits().length === 0) await new Promise((done) => setTimeout(done, 10));
    const second = pull();
    const partial = path.join(blobs(), `${hashOf(weightsOf(name))}.incomplete`);
    while ((statSync(partial, { throwIfNoEntry: false })?.size ?? 0) < 1 << 19) await new Promise((done) => setTimeout(done, 10));
    first.child.kill("SIGKILL");
    stage.hub.bytesPerSecond = 0;
    expect(await second.ended).toMatchObject({ code: 0, stderr: "" });
    const weights = storageHits().filter((hit) => hit.path.includes(hashOf(weightsOf(name))));
    const [front, further] = weights.map((hit) => Number(/^bytes=(\d+)-$/.exec(hit.range ?? "")?.[1]));
    expect(weights).toHaveLength(2);
    expect(further).toBeGreaterThan(front ?? Number.NaN);
    expect(hashOf(readFileSync(path.join(blobs(), hashOf(weightsOf(name)))))).toBe(hashOf(weightsOf(name)));
  });

  it("is not begun offline", async () => {
    stage.environment.HF_HUB_OFFLINE = "1";
    expect(await pull().ended).toMatchObject({ code: 1, stderr: expect.stringContaining("HF_HUB_OFFLINE") });
    expect(stage.hub.hits).toEqual([]);
  });
});

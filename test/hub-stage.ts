// What tests against the stand-in hub share: the hub with the golden repositories, and an empty home for each test.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, vi } from "vitest";
import { checkpointFolder, checkpoints } from "./golden.js";
import { type HubServer, repositoryOf, shardedRepositoryOf, startHub } from "./hub-server.js";

/** Of every repository. */
export const commit = "89abcdef0123456789abcdef0123456789abcdef";

export interface HubStage {
  readonly hub: HubServer;
  /** Points to the hub and to the test's home; set in this process too. */
  readonly environment: Record<string, string>;
  /** Removed at the end. */
  readonly root: string;
}

/**
 * Registers the hooks. Each golden checkpoint is `golden/<name>`.
 *
 * @param sharded - The checkpoint that is `golden/sharded`, its weights in several files.
 */
export function stageHub(sharded: string): HubStage {
  const root = mkdtempSync(path.join(tmpdir(), "bge-hub-"));
  const stage = { root } as { -readonly [Key in keyof HubStage]: HubStage[Key] };
  beforeAll(async () => {
    stage.hub = await startHub();
    for (const { name } of checkpoints) stage.hub.repositories.set(`golden/${name}`, repositoryOf(checkpointFolder(name), commit));
    stage.hub.repositories.set("golden/sharded", await shardedRepositoryOf(checkpointFolder(sharded), commit));
  });
  afterAll(async () => {
    await stage.hub.close();
    rmSync(root, { recursive: true });
  });
  beforeEach(() => {
    const { hub } = stage;
    const home = mkdtempSync(path.join(root, "home-"));
    stage.environment = {
      HF_ENDPOINT: hub.endpoint,
      HF_HUB_CACHE: path.join(home, "hub"),
      BGE_RERANKER_CACHE: path.join(home, "converted"),
      HF_HUB_OFFLINE: "",
      HF_TOKEN: "hf_test",
    };
    for (const [name, value] of Object.entries(stage.environment)) vi.stubEnv(name, value);
    hub.hits.length = 0;
    hub.bytesPerSecond = 0;
    hub.fault = () => undefined;
  });
  afterEach(() => vi.unstubAllEnvs());
  return stage;
}

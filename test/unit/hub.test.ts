// The hub layer against a stand-in that speaks the real routes, faults included.
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { ArrivingCheckpoint } from "../../src/sources/hub/download.js";
import { fetchModel, findCached, type HubOptions } from "../../src/sources/hub/hub.js";
import { parseHubName } from "../../src/sources/hub/names.js";
import { parseListing, selectFiles } from "../../src/sources/hub/repository.js";
import type { Progress } from "../../src/sources/progress.js";
import { gitHash, type HubServer, hashOf, startHub } from "../hub-server.js";

const commit = "0123456789abcdef0123456789abcdef01234567";
const weights = Buffer.alloc(300_000, "weights ");
const small = (text: string) => ({ content: Buffer.from(text), large: false });
const files = {
  "config.json": small('{"a": 1}'),
  "tokenizer.json": small("{}"),
  "tokenizer_config.json": small("{}"),
  "README.md": small("# read"),
  "model.safetensors": { content: weights, large: true },
  "pytorch_model.bin": { content: Buffer.from("pickle"), large: true },
  "onnx/model.onnx": { content: Buffer.from("onnx"), large: true },
};
const id = "org/reranker";
const name = { id, file: undefined };

let hub: HubServer;
let cache = "";
const root = mkdtempSync(join(tmpdir(), "bge-hub-"));
beforeAll(async () => {
  hub = await startHub();
});
afterAll(async () => {
  await hub.close();
  rmSync(root, { recursive: true });
});
beforeEach(() => {
  cache = mkdtempSync(join(root, "cache-"));
  vi.stubEnv("HF_ENDPOINT", hub.endpoint);
  vi.stubEnv("HF_HUB_CACHE", cache);
  vi.stubEnv("HF_HUB_OFFLINE", "");
  vi.stubEnv("HF_TOKEN", "");
  vi.stubEnv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
  hub.repositories.clear();
  hub.repositories.set(id, { commit, files });
  hub.hits.length = 0;
  hub.fault = () => undefined;
});
afterEach(() => vi.unstubAllEnvs());

const fetch = (options: Partial<HubOptions> = {}, of: { id: string; file: string | undefined } = name) =>
  fetchModel(of, { revision: undefined, signal: undefined, onProgress: undefined, firstWaitMs: 1, ...options });
const repository = () => join(cache, "models--org--reranker");
const blob = () => join(repository(), "blobs", hashOf(weights));

describe("names", () => {
  it.each([
    ["bge-reranker-v2-m3", "BAAI/bge-reranker-v2-m3", undefined],
    ["v2-m3", "BAAI/bge-reranker-v2-m3", undefined],
    ["base", "BAAI/bge-reranker-base", undefined],
    ["v2.5-gemma2-lightweight", "BAAI/bge-reranker-v2.5-gemma2-lightweight", undefined],
    ["me/my.model", "me/my.model", undefined],
    ["me/my-GGUF:a/m-Q8_0.gguf", "me/my-GGUF", "a/m-Q8_0.gguf"],
  ])("reads %s", (text, wanted, file) => expect(parseHubName(text)).toEqual({ id: wanted, file }));

  it.each(["v2-m4", "model.gguf", "dir/model.gguf", "../x", "a/b/c", "/a/b", "a/..", "a/b--c", "a\0/b", "a/b:../c.gguf", "a/b:c.bin", ""])(
    "takes %j for a path",
    (text) => expect(parseHubName(text)).toBeUndefined(),
  );
});

describe("a download", () => {
  it("fetches what is needed into the standard cache layout", async () => {
    const progress: Progress[] = [];
    const snapshot = await fetch({ onProgress: (p) => progress.push(p) });
    expect(snapshot).toEqual({ id, commit, folder: join(repository(), "snapshots", commit), gguf: undefined });
    expect(readdirSync(snapshot.folder).sort()).toEqual(["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]);
    expect(readFileSync(join(snapshot.folder, "model.safetensors"))).toEqual(weights);
    expect(lstatSync(join(snapshot.folder, "config.json")).isSymbolicLink()).toBe(true);
    expect(readdirSync(join(repository(), "blobs")).sort()).toEqual(
      [hashOf(weights), gitHash(Buffer.from('{"a": 1}')), gitHash(Buffer.from("{}"))].sort(),
    );
    expect(readFileSync(join(repository(), "refs", "main"), "utf8")).toBe(commit);
    expect(hub.hits.filter((hit) => /\.bin|onnx|README/.test(hit.path))).toEqual([]);
    expect(progress.at(-1)).toMatchObject({ stage: "download", done: progress.at(-1)?.total });
    expect(progress.every(({ done, total }) => done <= total)).toBe(true);
  });

  it("makes no request for what is in the cache", async () => {
    await fetch();
    hub.hits.length = 0;
    await fetch();
    vi.stubEnv("HF_HUB_OFFLINE", "1");
    await fetch({ refresh: true });
    await fetch({ revision: commit });
    expect(hub.hits).toEqual([]);
    await expect(fetch({ revision: "other" })).rejects.toMatchObject({
      code: "MODEL_NOT_FOUND",
      message: expect.stringContaining("HF_HUB_OFFLINE"),
    });
    await expect(fetch({}, { id: "org/none", file: undefined })).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
    expect(hub.hits).toEqual([]);
  });

  it("fetches only what is new with a newer commit", async () => {
    await fetch();
    const next = "f".repeat(40);
    hub.repositories.set(id, { commit: next, files: { ...files, "config.json": small('{"a": 2}') } });
    expect((await fetch()).commit).toBe(commit);
    hub.hits.length = 0;
    expect((await fetch({ refresh: true })).commit).toBe(next);
    expect(hub.hits.map((hit) => hit.path)).toEqual([expect.stringContaining("/api/models/"), expect.stringContaining("config.json")]);
    expect((await fetch({ revision: commit })).commit).toBe(commit);
  });

  it("goes on where a cut connection stopped", async () => {
    let cuts = 0;
    hub.fault = (hit) => (hit.host === "storage" && cuts++ < 8 ? { cutAfter: 20_000 } : undefined);
    await fetch();
    const ranges = hub.hits.filter((hit) => hit.host === "storage").map((hit) => hit.range);
    expect(ranges[0]).toBeUndefined();
    expect(ranges.slice(1)).toEqual(ranges.slice(1).map((_, i) => `bytes=${20_000 * (i + 1)}-`));
    expect(readFileSync(blob())).toEqual(weights);
  });

  it("goes on with a partial file, and starts again when the server cannot", async () => {
    for (const [front, fault] of [
      [weights.subarray(0, 1000), {}],
      [weights.subarray(0, 1000), { ignoreRange: true }],
      [Buffer.alloc(1000), {}], // damaged
      [Buffer.alloc(400_000), {}], // longer than the file
      [weights, { status: 500 }], // whole: nothing to ask for
    ] as const) {
      rmSync(repository(), { recursive: true, force: true });
      mkdirSync(join(repository(), "blobs"), { recursive: true });
      writeFileSync(`${blob()}.incomplete`, front);
      hub.fault = (hit) => (hit.host === "storage" ? fault : undefined);
      await fetch();
      expect(readFileSync(blob()).equals(weights)).toBe(true);
      expect(existsSync(`${blob()}.incomplete`)).toBe(false);
    }
  });

  it("does not take bytes with another hash", async () => {
    hub.fault = (hit) => (hit.path.endsWith("config.json") ? { content: Buffer.from('{"a": 9}') } : undefined);
    await expect(fetch()).rejects.toMatchObject({ code: "DOWNLOAD_FAILED" });
    hub.fault = (hit) => (hit.host === "storage" ? { content: Buffer.alloc(weights.length) } : undefined);
    await expect(fetch()).rejects.toMatchObject({ code: "DOWNLOAD_FAILED", message: expect.stringContaining("its hash") });
    hub.fault = (hit) => (hit.host === "storage" ? { content: Buffer.alloc(weights.length + 1) } : undefined);
    await expect(fetch()).rejects.toMatchObject({ code: "DOWNLOAD_FAILED", message: expect.stringContaining("longer than") });
    expect(await findCached(cache, name)).toBeUndefined();
    expect(existsSync(blob())).toBe(false);
  });

  it("tries again on 429 and 5xx, waits as told, and gives up in the end", async () => {
    let failures = 0;
    hub.fault = () => (failures++ < 2 ? { status: failures === 1 ? 503 : 429, headers: { "retry-after": "1" } } : undefined);
    const started = Date.now();
    await fetch();
    expect(Date.now() - started).toBeGreaterThan(1900);
    hub.fault = () => ({ status: 502 });
    await expect(fetch({ refresh: true })).rejects.toMatchObject({ code: "DOWNLOAD_FAILED", message: expect.stringContaining("6 times") });
    vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:9"); // nobody listens
    await expect(fetch({ refresh: true })).rejects.toMatchObject({ code: "DOWNLOAD_FAILED" });
    vi.stubEnv("HF_ENDPOINT", "huggingface.co");
    await expect(fetch({ refresh: true })).rejects.toMatchObject({ message: expect.stringContaining("must begin with https://") });
  });

  it("says what to do without access", async () => {
    hub.repositories.set("org/gated", { commit, files, gate: "hf_secret" });
    const gated = () => fetch({}, { id: "org/gated", file: undefined });
    await expect(gated()).rejects.toMatchObject({
      code: "DOWNLOAD_FAILED",
      message: expect.stringMatching(/gated \(401\).*licence.*HF_TOKEN/),
    });
    vi.stubEnv("HF_TOKEN", "hf_other");
    await expect(gated()).rejects.toMatchObject({
      code: "DOWNLOAD_FAILED",
      message: expect.stringMatching(/\(403\).*does not give access/),
    });
    vi.stubEnv("HF_TOKEN", "hf_secret");
    hub.hits.length = 0;
    await gated();
    expect(hub.hits.filter((hit) => hit.host === "hub").every((hit) => hit.authorization === "Bearer hf_secret")).toBe(true);
    expect(hub.hits.filter((hit) => hit.host === "storage").map((hit) => hit.authorization)).toEqual([undefined]);
    await expect(fetch({}, { id: "org/none", file: undefined })).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
    await expect(fetch({ revision: "v9" })).rejects.toMatchObject({ message: expect.stringContaining("no such revision") });
  });

  it("says which folder cannot be written", async () => {
    writeFileSync(join(cache, "file"), "");
    vi.stubEnv("HF_HUB_CACHE", join(cache, "file"));
    await expect(fetch()).rejects.toMatchObject({ code: "IO", message: expect.stringContaining("HF_HUB_CACHE") });
  });

  it("takes the token from its file", async () => {
    vi.stubEnv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "");
    writeFileSync(join(cache, "token"), "hf_stored\n");
    vi.stubEnv("HF_TOKEN_PATH", join(cache, "token"));
    await fetch();
    expect(hub.hits[0]?.authorization).toBe("Bearer hf_stored");
  });

  it("stops with the signal's reason", async () => {
    const controller = new AbortController();
    const why = new Error("enough");
    hub.fault = (hit) => {
      if (hit.host === "storage") controller.abort(why);
      return undefined;
    };
    await expect(fetch({ signal: controller.signal })).rejects.toBe(why);
    hub.fault = () => undefined;
    await fetch();
  });

  it("downloads once for callers at the same time", async () => {
    await Promise.all([fetch(), fetch(), fetch()]);
    expect(hub.hits.filter((hit) => hit.host === "storage")).toHaveLength(1);
  });

  it("takes over the lock of a process that is gone", async () => {
    const folder = join(cache, ".locks", "models--org--reranker");
    mkdirSync(folder, { recursive: true });
    const { hostname } = await import("node:os");
    writeFileSync(join(folder, "bge-reranker.lock"), JSON.stringify({ key: "x", pid: 2 ** 22 + 1, host: hostname() }));
    await Promise.all([fetch(), fetch()]);
    expect(hub.hits.filter((hit) => hit.host === "storage")).toHaveLength(1);
    expect(readdirSync(folder)).toEqual([]);
  });

  it("looks at the room on the disk first", async () => {
    const { bavail, bsize } = statfsSync(cache);
    const huge = { rfilename: "model.safetensors", size: 0, lfs: { sha256: hashOf(weights), size: bavail * bsize * 2 } };
    const siblings = [{ rfilename: "config.json", size: 8, blobId: gitHash(files["config.json"].content) }, huge];
    hub.fault = (hit) => (hit.path.startsWith("/api") ? { content: Buffer.from(JSON.stringify({ sha: commit, siblings })) } : undefined);
    await expect(fetch()).rejects.toMatchObject({ code: "IO", message: expect.stringContaining("GB free") });
    expect(hub.hits).toHaveLength(1);
  });

  it("asks a mirror for sizes and hashes that its listing lacks", async () => {
    const siblings = Object.keys(files).map((rfilename) => ({ rfilename }));
    hub.fault = (hit) => (hit.path.startsWith("/api") ? { content: Buffer.from(JSON.stringify({ sha: commit, siblings })) } : undefined);
    await fetch();
    expect(readFileSync(blob()).equals(weights)).toBe(true);
  });

  it("gets sharded weights by their index, and refuses shards elsewhere", async () => {
    const shard = (text: string) => ({ content: Buffer.from(text), large: true });
    const { "model.safetensors": _, ...rest } = files;
    const index = (second: string) => small(JSON.stringify({ weight_map: { a: "model-00001-of-00002.safetensors", b: second } }));
    const shards = { "model-00001-of-00002.safetensors": shard("one"), "model-00002-of-00002.safetensors": shard("two") };
    const sharded = (second: string) => ({ commit, files: { ...rest, ...shards, "model.safetensors.index.json": index(second) } });
    hub.repositories.set(id, sharded("../../../x.safetensors"));
    await expect(fetch()).rejects.toMatchObject({ code: "DOWNLOAD_FAILED", message: expect.stringContaining("no plain file name") });
    hub.repositories.set(id, sharded("model-00003-of-00002.safetensors"));
    await expect(fetch()).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
    hub.repositories.set(id, sharded("model-00002-of-00002.safetensors"));
    const { folder } = await fetch();
    expect(readdirSync(folder)).toEqual(expect.arrayContaining(Object.keys(shards)));
    rmSync(join(folder, "model-00002-of-00002.safetensors"));
    expect(await findCached(cache, name)).toBeUndefined();
  });

  it("gets one GGUF file of a repository", async () => {
    const gguf = (text: string) => ({ content: Buffer.from(text), large: true });
    hub.repositories.set(id, { commit, files: { "README.md": small(""), "m-Q8_0.gguf": gguf("q8"), "sub/m-F16.gguf": gguf("f16") } });
    await expect(fetch()).rejects.toMatchObject({
      message: expect.stringContaining("org/reranker:m-Q8_0.gguf, org/reranker:sub/m-F16.gguf"),
    });
    await expect(fetch({}, { id, file: "x.gguf" })).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
    const { gguf: path } = await fetch({}, { id, file: "sub/m-F16.gguf" });
    expect(readFileSync(path ?? "", "utf8")).toBe("f16");
    hub.hits.length = 0;
    await fetch({}, { id, file: "sub/m-F16.gguf" });
    expect(hub.hits).toEqual([]);
  });
});

describe("weights that are read while they arrive", () => {
  const MiB = 1024 * 1024;
  /** A safetensors file whose table has that many bytes. */
  const tabled = (tableBytes: number) => {
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(tableBytes));
    return Buffer.concat([length, Buffer.alloc(tableBytes, " "), Buffer.alloc(MiB, "weights ")]);
  };
  const serve = (content: Buffer) =>
    hub.repositories.set(id, { commit, files: { ...files, "model.safetensors": { content, large: true } } });
  const ranges = () => hub.hits.filter((hit) => hit.host === "storage").map((hit) => hit.range);
  const opened = async ({ weights: { files: all } }: ArrivingCheckpoint) => {
    const reader = await all[0]?.open();
    if (!reader) throw new Error("no weights");
    return reader;
  };

  it.each([
    ["in one request", 1000, ["bytes=0-131071", "bytes=131072-"]],
    ["in two when it is long", 200_000, ["bytes=0-131071", "bytes=0-200007", "bytes=200008-"]],
  ])("have their table first, %s", async (_, tableBytes, wanted) => {
    const content = tabled(tableBytes);
    serve(content);
    const consume = vi.fn(async (checkpoint: ArrivingCheckpoint) => {
      expect(readdirSync(checkpoint.folder).sort()).toEqual(["config.json", "tokenizer.json", "tokenizer_config.json"]);
      const reader = await opened(checkpoint);
      expect(reader.sizeBytes).toBe(content.length);
      expect(await reader.read(tableBytes, 8)).toEqual(content.subarray(8, 8 + tableBytes));
      expect(ranges()).toEqual(wanted.slice(0, -1)); // the weights come after the plan
      await checkpoint.weights.planned(join(cache, "model.gguf"), 1);
      expect(await reader.read(5, content.length - 5)).toEqual(content.subarray(-5));
      await checkpoint.weights.files[0]?.verified();
      await reader.close();
    });
    await fetch({ consume });
    expect(ranges()).toEqual(wanted);
    await fetch({ consume, refresh: true }); // all is in the cache
    expect(consume).toHaveBeenCalledTimes(1);
  });

  it("are read again when they were damaged, also by a reader that has all it wants", async () => {
    const content = tabled(1000);
    serve(content);
    let read = () => {};
    const hold = new Promise<void>((resolve) => (read = resolve)); // the rest comes when the damaged part has been read
    hub.fault = ({ range }) => {
      if (range === "bytes=131072-") return { content: Buffer.alloc(content.length, "x"), cutAfter: 500_000 };
      return range === `bytes=${131_072 + 500_000}-` ? { hold } : undefined;
    };
    const seen: string[] = [];
    const consume = async (checkpoint: ArrivingCheckpoint) => {
      const reader = await opened(checkpoint);
      await checkpoint.weights.planned(join(cache, "model.gguf"), 1);
      seen.push((await reader.read(8, 400_000)).toString());
      read();
      await reader.close();
      await checkpoint.weights.files[0]?.verified();
    };
    await fetch({ consume });
    expect(seen).toEqual(["xxxxxxxx", content.subarray(400_000, 400_008).toString()]);
  });

  it("end with their reader's failure, the download's or the caller's signal", async () => {
    const content = tabled(1000);
    serve(content);
    const why = new Error("no room");
    const failing = async ({ weights: { planned } }: ArrivingCheckpoint) => {
      await planned(join(cache, "model.gguf"), 1);
      throw why;
    };
    hub.fault = ({ range }) => (range === "bytes=131072-" ? { hold: new Promise(() => {}) } : undefined);
    await expect(fetch({ consume: failing })).rejects.toBe(why);

    const waiting = async (checkpoint: ArrivingCheckpoint) => {
      const reader = await opened(checkpoint);
      await checkpoint.weights.planned(join(cache, "model.gguf"), 1);
      await reader.read(1, content.length - 1).finally(() => reader.close());
    };
    const stop = new AbortController();
    setTimeout(() => stop.abort(why), 100);
    await expect(fetch({ consume: waiting, signal: stop.signal })).rejects.toBe(why);
    hub.fault = ({ range }) => (range === "bytes=131072-" ? { status: 404 } : undefined);
    await expect(fetch({ consume: waiting })).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
    expect(await findCached(cache, name)).toBeUndefined();
  });
});

describe("a hostile hub", () => {
  const listing = (more: object, sha: unknown = commit) => Buffer.from(JSON.stringify({ sha, siblings: [], ...more }));

  it.each(["../x", "a/../../x", "/etc/passwd", "a\\..\\x", "C:x", "a//b", "./a", "a\u0000b", ""])("cannot name a file %j", (rfilename) => {
    expect(() => parseListing(listing({ siblings: [{ rfilename }] }), id)).toThrow(expect.objectContaining({ code: "DOWNLOAD_FAILED" }));
  });

  it("cannot send other than a list of files", () => {
    for (const body of [
      Buffer.from("<html>"),
      Buffer.from("[]"),
      listing({}, "../.."),
      listing({ siblings: 3 }),
      listing({ siblings: [3] }),
    ])
      expect(() => parseListing(body, id)).toThrow(expect.objectContaining({ code: "DOWNLOAD_FAILED" }));
    const odd = [
      { rfilename: "a", size: -1, blobId: "../../x" },
      { rfilename: "b", size: 1e300, lfs: { sha256: 7 } },
    ];
    expect([...parseListing(listing({ siblings: odd }), id).files.values()]).toEqual([
      { path: "a", sizeBytes: undefined, hash: undefined },
      { path: "b", sizeBytes: undefined, hash: undefined },
    ]);
  });

  it("cannot send us round in circles, or to another protocol", async () => {
    const to = (location: string) => (hub.fault = () => ({ status: 302, headers: { location } }));
    to(`${hub.endpoint}/again`);
    await expect(fetch()).rejects.toMatchObject({ code: "DOWNLOAD_FAILED", message: expect.stringContaining("redirects") });
    to("http://[");
    await expect(fetch()).rejects.toMatchObject({ code: "DOWNLOAD_FAILED" });
    to("file:///etc/passwd");
    await expect(fetch()).rejects.toMatchObject({ code: "DOWNLOAD_FAILED" });
  });
});

describe("selectFiles", () => {
  it("takes what says how pairs are laid out and scored", () => {
    const qwen3 = ["config.json", "tokenizer.json", "vocab.json", "merges.txt", "model.safetensors", "README.md", "generation_config.json"];
    const settings = ["modules.json", "config_sentence_transformers.json", "sentence_bert_config.json", "chat_template.jinja"];
    const modules = [
      "1_LogitScore/config.json",
      "2_Dense/model.safetensors",
      "2_Dense/config.json",
      "onnx/config.json",
      "2_Dense/README.md",
    ];
    expect(selectFiles(id, [...qwen3, ...settings, ...modules], undefined)).toEqual({
      kind: "checkpoint",
      small: ["config.json", "tokenizer.json", ...settings, "1_LogitScore/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"],
      weights: "model.safetensors",
    });
    expect(selectFiles(id, ["config.json", "vocab.json", "merges.txt", "model.safetensors"], undefined)).toMatchObject({
      small: ["config.json", "vocab.json", "merges.txt"],
    });
  });

  it("says why nothing fits", () => {
    expect(() => selectFiles(id, ["config.json", "pytorch_model.bin"], undefined)).toThrow("can run code");
    expect(() => selectFiles(id, [], undefined)).toThrow("neither a .gguf file nor");
  });
});

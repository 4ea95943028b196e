// A stand-in for huggingface.co: its real routes on one port, the storage host of large files on another.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { readTestTensors, safetensorsBytes } from "./unit/convert-fixtures.js";

export interface ServedFile {
  readonly content: Buffer;
  /** Large files are stored on the other host and known by SHA-256. */
  readonly large: boolean;
}

export interface ServedRepository {
  readonly files: Readonly<Record<string, ServedFile>>;
  readonly commit: string;
  /** Token that may read it. */
  readonly gate?: string;
}

export interface Hit {
  readonly host: "hub" | "storage";
  readonly method: string;
  readonly path: string;
  readonly range: string | undefined;
  readonly authorization: string | undefined;
}

/** What goes wrong with an answer. `cutAfter`: bytes of the body before the connection is closed. */
export interface Fault {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly cutAfter?: number;
  /** Answer with the whole file though a range was asked for. */
  readonly ignoreRange?: boolean;
  /** Serve these bytes instead. */
  readonly content?: Buffer;
  /** Send the headers, and the body only when this resolves. */
  readonly hold?: Promise<unknown>;
}

export interface HubServer {
  readonly endpoint: string;
  readonly storage: string;
  readonly repositories: Map<string, ServedRepository>;
  /** Every request, in order. */
  readonly hits: Hit[];
  /** Asked before each answer. */
  fault: (hit: Hit) => Fault | undefined;
  /** Body bytes a second; 0 is as fast as it goes. */
  bytesPerSecond: number;
  /** Body bytes of large files sent so far. */
  sentBytes: number;
  close(): Promise<void>;
}

export async function startHub(): Promise<HubServer> {
  const repositories = new Map<string, ServedRepository>();
  const stored = new Map<string, Buffer>();
  const hits: Hit[] = [];
  const hub = createServer((request, response) => serve("hub", request, response));
  const storage = createServer((request, response) => serve("storage", request, response));
  const state: HubServer = {
    endpoint: await listen(hub),
    storage: await listen(storage),
    repositories,
    hits,
    fault: () => undefined,
    bytesPerSecond: 0,
    sentBytes: 0,
    async close() {
      await Promise.all([hub, storage].map((server) => new Promise((done) => server.close(done) && server.closeAllConnections())));
    },
  };

  function serve(host: Hit["host"], request: IncomingMessage, response: ServerResponse): unknown {
    const { range, authorization } = request.headers;
    const hit = { host, method: request.method ?? "", path: request.url ?? "", range, authorization };
    hits.push(hit);
    const fault = state.fault(hit) ?? {};
    if (fault.status) return fail(response, fault.status, undefined, fault.headers);
    if (host === "storage") {
      const content = stored.get(hit.path.split("/").at(-1)?.split("?")[0] ?? "");
      return content ? send(response, hit, content, {}, fault) : fail(response, 404);
    }
    const listing = /^\/api\/models\/([\w.-]+\/[\w.-]+)\/revision\/([^?]+)/.exec(hit.path);
    const resolve = /^\/([\w.-]+\/[\w.-]+)\/resolve\/([^/]+)\/(.+)$/.exec(hit.path);
    const [, id = "", revision = "", file = ""] = (listing ?? resolve ?? []).map((part) => decodeURIComponent(part ?? ""));
    const repository = repositories.get(id);
    if (!repository) return fail(response, authorization ? 404 : 401, "RepoNotFound");
    if (repository.gate && authorization !== `Bearer ${repository.gate}`) return fail(response, authorization ? 403 : 401, "GatedRepo");
    if (revision !== "main" && revision !== repository.commit) return fail(response, 404, "RevisionNotFound");
    if (listing) return send(response, hit, Buffer.from(JSON.stringify(listingOf(id, repository))), {}, fault);
    const served = Object.hasOwn(repository.files, file) ? repository.files[file] : undefined;
    if (!served) return fail(response, 404, "EntryNotFound");
    const headers = { "x-repo-commit": repository.commit };
    if (!served.large) return send(response, hit, served.content, { ...headers, etag: `"${gitHash(served.content)}"` }, fault);
    const sha256 = hashOf(served.content);
    stored.set(sha256, served.content);
    response.writeHead(302, {
      ...headers,
      "x-linked-etag": `"${sha256}"`,
      "x-linked-size": String(served.content.length),
      location: `${state.storage}/${id}/${sha256}?signature=${sha256.slice(0, 8)}`,
    });
    return response.end();
  }

  async function send(response: ServerResponse, hit: Hit, whole: Buffer, headers: Record<string, string>, fault: Fault): Promise<unknown> {
    const content = fault.content ?? whole;
    const [, from = "0", to = ""] = (!fault.ignoreRange && /^bytes=(\d+)-(\d*)$/.exec(hit.range ?? "")) || [];
    const start = Number(from);
    const stop = to === "" ? content.length : Math.min(content.length, Number(to) + 1);
    if (start > 0 && start >= content.length) return fail(response, 416, undefined, { "content-range": `bytes */${content.length}` });
    const body = content.subarray(start, stop);
    const partial = body.length < content.length;
    const range = partial ? { "content-range": `bytes ${start}-${stop - 1}/${content.length}` } : {};
    response.writeHead(partial ? 206 : 200, { ...headers, ...range, "content-length": body.length, "accept-ranges": "bytes" });
    if (hit.method === "HEAD") return response.end();
    if (fault.hold) {
      response.flushHeaders();
      await fault.hold;
    }
    const end = Math.min(body.length, fault.cutAfter ?? body.length);
    const step = state.bytesPerSecond > 0 ? Math.ceil(state.bytesPerSecond / 50) : end;
    for (let at = 0; at < end && !response.destroyed; at += step) {
      const piece = body.subarray(at, Math.min(end, at + step));
      response.write(piece);
      if (hit.host === "storage") state.sentBytes += piece.length;
      if (state.bytesPerSecond > 0) await new Promise((done) => setTimeout(done, 20));
    }
    if (end < body.length) return setTimeout(() => response.destroy(), 20);
    return response.end();
  }

  return state;
}

/** A folder in checkpoint layout as a repository; weights and vocabularies are large files, as on the hub. */
export function repositoryOf(folder: string, commit: string): ServedRepository {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = entries.map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)).split(path.sep).join("/"));
  const names = paths.filter((name) => !/^(cases(\.[\w-]+)?|tokenization)\.json$/.test(name));
  const files = names.map((name) => {
    const large = /\.(safetensors|model|gguf)$|^tokenizer\.json$/.test(name);
    return [name, { content: readFileSync(path.join(folder, name)), large }] as const;
  });
  const extra = { content: Buffer.from("not wanted"), large: true };
  return { commit, files: { ...Object.fromEntries(files), "pytorch_model.bin": extra, "onnx/model.onnx": extra } };
}

export const SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] as const;

/** The same with every other tensor in a second shard, so that layers and stacked heads come from both. */
export async function shardedRepositoryOf(folder: string, commit: string): Promise<ServedRepository> {
  const { "model.safetensors": _, ...files } = repositoryOf(folder, commit).files;
  const tensors = Object.entries(await readTestTensors(path.join(folder, "model.safetensors")));
  const shard = (n: number) => ({ content: safetensorsBytes(Object.fromEntries(tensors.filter((__, i) => i % 2 === n))), large: true });
  const weight_map = Object.fromEntries(tensors.map(([tensor], i) => [tensor, SHARDS[i % 2]]));
  const index = { content: Buffer.from(JSON.stringify({ metadata: {}, weight_map })), large: false };
  return { commit, files: { ...files, [SHARDS[0]]: shard(0), [SHARDS[1]]: shard(1), "model.safetensors.index.json": index } };
}

/** Whether a request is for the table at the front of a weight file, ahead of the rest. */
export const isForFront = ({ range }: Hit): boolean => range !== undefined && /^bytes=0-\d+$/.test(range);

const hashes = new WeakMap<Buffer, string>(); // large files are asked for often

export function hashOf(content: Buffer): string {
  const hash = hashes.get(content) ?? createHash("sha256").update(content).digest("hex");
  hashes.set(content, hash);
  return hash;
}

export const gitHash = (content: Buffer): string => createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");

function listingOf(id: string, { commit, files }: ServedRepository): object {
  const siblings = Object.entries(files).map(([rfilename, { content, large }]) => ({
    rfilename,
    size: content.length,
    blobId: gitHash(large ? Buffer.from(`version https://git-lfs.github.com/spec/v1\noid sha256:${hashOf(content)}\n`) : content),
    ...(large && { lfs: { sha256: hashOf(content), size: content.length, pointerSize: 135 } }),
  }));
  return { id, modelId: id, sha: commit, private: false, gated: false, siblings };
}

function fail(response: ServerResponse, status: number, code?: string, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { ...headers, ...(code && { "x-error-code": code, "x-error-message": code }) });
  response.end();
}

function listen(server: Server): Promise<string> {
  return new Promise((resolve) => {
    server.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));
  });
}

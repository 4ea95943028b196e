// Outputs at presigned addresses: a worker needs no credentials and no SDK, and can touch nothing else.
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { request as requestPlain } from "node:http";
import { request as requestSecure } from "node:https";
import { pipeline } from "node:stream/promises";
import { RerankerError } from "../../index.js";
import type { PendingOutput, PresignedObject, Storage, StoragePlace } from "./storage.js";
import { temporaryOutput } from "./temporary-output.js";

type Place = Extract<StoragePlace, { kind: "presigned" }>;

// A store that says nothing for so long is gone.
const TIMEOUT_MS = 60_000;

export class PresignedStorage implements Storage {
  readonly name: string;
  readonly #objects: Place["objects"];

  constructor({ name, objects }: Place) {
    this.name = name;
    this.#objects = objects;
  }

  async create(name: string): Promise<PendingOutput> {
    const { put } = this.#object(name);
    return temporaryOutput(name, async (path) => {
      const { status } = await this.#send("PUT", name, put, path);
      if (status >= 300) throw this.#refused("write", name, status);
    });
  }

  async read(name: string): Promise<Buffer | undefined> {
    const { get } = this.#object(name);
    if (get === undefined) return undefined;
    const { status, body } = await this.#send("GET", name, get);
    if (status === 404) return undefined;
    if (status >= 300) throw this.#refused("read", name, status);
    return body;
  }

  async size(name: string): Promise<number | undefined> {
    const { head } = this.#object(name);
    if (head === undefined) return undefined;
    const { status, length } = await this.#send("HEAD", name, head);
    if (status === 404) return undefined;
    if (status >= 300) throw this.#refused("read", name, status);
    return length;
  }

  async remove(name: string): Promise<void> {
    throw new RerankerError("IO", `Cannot remove ${name}: presigned addresses only write and read`);
  }

  async sweep(): Promise<void> {}

  #object(name: string): PresignedObject {
    const object = this.#objects[name];
    if (!object) throw new RerankerError("IO", `This job has no address for ${name}`);
    return object;
  }

  #refused(what: string, name: string, status: number): RerankerError {
    const advice = status === 403 ? ". Addresses expire: enqueue again with a longer --presign" : "";
    return new RerankerError("IO", `Cannot ${what} ${name} at ${this.name}: the store answered ${status}${advice}`);
  }

  async #send(method: "PUT" | "GET" | "HEAD", name: string, address: string, path?: string): Promise<Answer> {
    try {
      return await send(method, new URL(address), path);
    } catch (cause) {
      throw new RerankerError("IO", `Cannot reach ${this.name} for ${name}: ${(cause as Error).message}`, { cause });
    }
  }
}

interface Answer {
  readonly status: number;
  readonly length: number;
  readonly body: Buffer;
}

/** Not fetch: S3 wants the length of what is sent before it comes. */
async function send(method: string, url: URL, path: string | undefined): Promise<Answer> {
  const length = path === undefined ? 0 : (await stat(path)).size;
  const make = url.protocol === "https:" ? requestSecure : requestPlain;
  return new Promise((resolve, reject) => {
    const request = make(
      url,
      { method, timeout: TIMEOUT_MS, headers: path === undefined ? {} : { "content-length": length } },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.once("error", reject);
        response.once("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            length: Number(response.headers["content-length"] ?? 0),
            body: Buffer.concat(chunks),
          }),
        );
      },
    );
    request.once("error", reject);
    request.once("timeout", () => request.destroy(new Error(`no answer in ${TIMEOUT_MS / 1000} s`)));
    if (path === undefined) request.end();
    else pipeline(createReadStream(path), request).catch(reject);
  });
}

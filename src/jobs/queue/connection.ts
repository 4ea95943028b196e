// Redis or Valkey, and BullMQ on it: optional dependencies, loaded by the commands of the queue alone.
import type { Redis } from "ioredis";
import { RerankerError } from "../../index.js";

export type BullMq = typeof import("bullmq");

export interface Connection {
  readonly bullmq: BullMq;
  readonly redis: Redis;
  /** What is worth knowing of the server, for standard error. */
  readonly warnings: readonly string[];
  close(): Promise<void>;
}

export const DEFAULT_REDIS = "redis://127.0.0.1:6379";

/**
 * @param url - `redis://` or `rediss://` with user, password and database.
 * @throws {RerankerError} `IO`: not installed, not reachable, or the server may throw jobs away.
 */
export async function connect(url: string): Promise<Connection> {
  const [bullmq, { Redis }] = await Promise.all([import("bullmq"), import("ioredis")]).catch((cause: unknown) => {
    throw new RerankerError("IO", "The queue needs BullMQ and its Redis client: npm install bullmq ioredis", { cause });
  });
  const redis = new Redis(url, { maxRetriesPerRequest: null, lazyConnect: true, enableReadyCheck: true });
  redis.on("error", () => undefined); // told by whoever waits for an answer
  const place = url.replace(/\/\/[^@/]*@/, "//");
  try {
    await reach(redis, place);
    return { bullmq, redis, warnings: await checkServer(redis, place), close: async () => redis.disconnect() };
  } catch (error) {
    redis.disconnect();
    throw error;
  }
}

const REACH_MS = 10_000;

async function reach(redis: Redis, place: string): Promise<void> {
  let last: Error | undefined;
  redis.on("error", (error: Error) => {
    last = error;
  });
  const connecting = redis.connect();
  connecting.catch(() => undefined); // ioredis goes on trying
  const deadline = Date.now() + REACH_MS;
  while (redis.status !== "ready") {
    if (Date.now() > deadline || /NOAUTH|WRONGPASS/.test(last?.message ?? "")) {
      throw new RerankerError(
        "IO",
        `Cannot reach Redis at ${place}: ${last?.message || "no answer"}. Is it running, and is --redis right?`,
        {
          cause: last,
        },
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A server that evicts keys loses jobs without a word. INFO is allowed where CONFIG is not. */
async function checkServer(redis: Redis, place: string): Promise<string[]> {
  const info = await redis.info();
  const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1];
  const policy = field("maxmemory_policy");
  if (policy !== undefined && policy !== "noeviction") {
    throw new RerankerError(
      "IO",
      `Redis at ${place} has maxmemory-policy ${policy}, under which jobs vanish when memory is short. Set it to noeviction: redis-cli config set maxmemory-policy noeviction`,
    );
  }
  const [major = 0, minor = 0] = (field("redis_version") ?? "").split(".").map(Number);
  if (major < 6 || (major === 6 && minor < 2))
    throw new RerankerError("IO", `Redis at ${place} is ${field("redis_version")}; BullMQ needs 6.2 or newer`);
  return field("aof_enabled") === "0"
    ? [`Redis at ${place} has no append-only file: jobs since its last snapshot are lost if it dies (appendonly yes)`]
    : [];
}

// The options of createHandler() and serve(): what they do, their defaults, their checks.
import type { LoadOptions, Reranker } from "../index.js";
import { type Bytes, type Duration, parseBytes, parseDuration } from "./units.js";

/** A model to serve: loaded already, by name as `Reranker.load` takes it, or by name with options of its own. */
export type ModelInput = Reranker | string | ModelEntry;

export interface ModelEntry {
  /** A loaded reranker, which stays yours to dispose of, or what `Reranker.load` takes. */
  readonly model: Reranker | string;
  /** Name in answers and in /v1/models. @default from the model */
  readonly name?: string | undefined;
  /** Other names that requests may use. */
  readonly aliases?: readonly string[] | undefined;
  /** Options of loading, beside those of all models. */
  readonly load?: LoadOptions | undefined;
}

export interface HandlerOptions {
  /**
   * What is served; the first is for requests that name no model. A record's keys are the names.
   * @default the embedded model
   */
  readonly models?: ModelInput | readonly ModelInput[] | Readonly<Record<string, ModelInput>> | undefined;
  /** One model, as `models`. */
  readonly model?: ModelInput | undefined;
  /** One loaded reranker, as `models`. */
  readonly reranker?: Reranker | undefined;
  /** Options of loading for all models that are given by name. */
  readonly load?: LoadOptions | undefined;
  /**
   * When models are loaded: `"first"` the first one at once, `"all"`, or `"none"`, each with its first request.
   * @default "none"; serve(): "first"
   */
  readonly preload?: "first" | "all" | "none" | undefined;
  /** Keys, one of which a request must bear. Health, metrics, version, the OpenAPI document and the page need none. @default no keys */
  readonly apiKey?: string | readonly string[] | undefined;
  /** Idle time after which a model is released; the next request loads it again. @default never */
  readonly keepAlive?: Duration | undefined;
  /** Most memory of all models together; the least recently used one makes room. @default no limit */
  readonly maxMemory?: Bytes | undefined;
  /** Memory for scores computed before, of each model that is given by name; 0: none are kept. @default "64MB" */
  readonly cacheSize?: Bytes | undefined;
  /** Most tokens, estimated, that may wait or run; more is refused with 429. @default 500,000 */
  readonly maxQueueTokens?: number | undefined;
  /** Most requests worked on at once; more are refused with 429. @default 512 */
  readonly maxConcurrent?: number | undefined;
  /** Most documents of a request; more is a 413. @default 1,000 */
  readonly maxDocuments?: number | undefined;
  /** Largest body, unpacked; more is a 413. @default "16MB" */
  readonly maxBody?: Bytes | undefined;
  /** Longest that a request may take, from its first byte. @default "60s" */
  readonly requestTimeout?: Duration | undefined;
  /** Origins whose pages may call, or `"*"`. @default none */
  readonly cors?: string | readonly string[] | undefined;
  /** Scores are logits unless a request asks for 0 to 1. @default false */
  readonly rawScores?: boolean | undefined;
  /** Give each result its logit, tokens and truncation unasked. @default false */
  readonly returnDetails?: boolean | undefined;
  /** An unknown model name is a 404, with one model too. @default false */
  readonly strictModel?: boolean | undefined;
  /** The page at `/`. @default true */
  readonly page?: boolean | undefined;
  /** Lines about requests: to standard error, or to a function of yours. Never a text. @default "off"; serve(): "json" */
  readonly log?: "json" | "pretty" | "off" | ((line: LogLine) => void) | undefined;
  /** Path under which the handler is mounted, such as `/api`. @default none */
  readonly basePath?: string | undefined;
}

export type LogLine = Readonly<Record<string, unknown>> & { readonly level: "info" | "warn" | "error"; readonly msg: string };

export interface ServeOptions extends HandlerOptions {
  /** @default 8787; 0: any free one */
  readonly port?: number | undefined;
  /** @default "127.0.0.1" */
  readonly host?: string | undefined;
  /** Longest that close() waits for requests in flight. @default "30s" */
  readonly drainTimeout?: Duration | undefined;
  /** Closes the server when it aborts. */
  readonly signal?: AbortSignal | undefined;
}

/** Options, decided. */
export interface Settings {
  readonly apiKeys: readonly string[];
  readonly keepAliveMs: number | undefined;
  readonly maxMemoryBytes: number | undefined;
  readonly cacheBytes: number;
  readonly maxQueueTokens: number;
  readonly maxConcurrent: number;
  readonly maxDocuments: number;
  readonly maxBodyBytes: number;
  readonly requestTimeoutMs: number;
  readonly cors: readonly string[];
  readonly rawScores: boolean;
  readonly returnDetails: boolean;
  readonly strictModel: boolean;
  readonly page: boolean;
  readonly preload: "first" | "all" | "none";
  readonly log: HandlerOptions["log"] & {};
  readonly basePath: string;
}

const NAMES: readonly (keyof HandlerOptions)[] = [
  "models", "model", "reranker", "load", "preload", "apiKey", "keepAlive", "maxMemory", "cacheSize", "maxQueueTokens", "maxConcurrent", "maxDocuments",
  "maxBody", "requestTimeout", "cors", "rawScores", "returnDetails", "strictModel", "page", "log", "basePath",
]; // biome-ignore format: one table

/** @throws {TypeError | RangeError} An option that does not exist, or a value that it does not take. */
export function decide(options: HandlerOptions): Settings {
  if (typeof options !== "object" || options === null)
    throw new TypeError(`Expected the options to be an object, got \`${String(options)}\``);
  for (const name of Object.keys(options)) {
    if (!(NAMES as readonly string[]).includes(name))
      throw new TypeError(`Unknown option \`${name}\`. Known options: ${[...NAMES].sort().join(", ")}`);
  }
  const { keepAlive, maxMemory } = options;
  return {
    apiKeys: texts("apiKey", options.apiKey),
    keepAliveMs: keepAlive === undefined ? undefined : parseDuration("keepAlive", keepAlive),
    maxMemoryBytes: maxMemory === undefined ? undefined : parseBytes("maxMemory", maxMemory),
    cacheBytes: parseBytes("cacheSize", options.cacheSize ?? "64MB"),
    maxQueueTokens: count("maxQueueTokens", options.maxQueueTokens, 500_000),
    maxConcurrent: count("maxConcurrent", options.maxConcurrent, 512),
    maxDocuments: count("maxDocuments", options.maxDocuments, 1000),
    maxBodyBytes: positive("maxBody", parseBytes("maxBody", options.maxBody ?? "16MB")),
    requestTimeoutMs: positive("requestTimeout", parseDuration("requestTimeout", options.requestTimeout ?? "60s")),
    cors: texts("cors", options.cors),
    rawScores: flag("rawScores", options.rawScores, false),
    returnDetails: flag("returnDetails", options.returnDetails, false),
    strictModel: flag("strictModel", options.strictModel, false),
    page: flag("page", options.page, true),
    preload: oneOf("preload", options.preload ?? "none", ["first", "all", "none"]),
    log: typeof options.log === "function" ? options.log : oneOf("log", options.log ?? "off", ["json", "pretty", "off"]),
    basePath: basePath(options.basePath ?? ""),
  };
}

function texts(name: string, value: string | readonly string[] | undefined): readonly string[] {
  const list: readonly unknown[] = value === undefined ? [] : Array.isArray(value) ? value : [value];
  // An empty key would let everyone in who sends none.
  if (list.every((each): each is string => typeof each === "string" && each !== "")) return list;
  throw new TypeError(`Expected \`${name}\` to be a string or an array of strings, none of them empty`);
}

function count(name: string, value: number | undefined, byDefault: number): number {
  if (value === undefined) return byDefault;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 1) return value;
  throw new RangeError(`Expected \`${name}\` to be an integer of at least 1, got \`${String(value)}\``);
}

function positive(name: string, value: number): number {
  // Node's timers hold no more.
  if (value >= 1 && value < 2 ** 31) return value;
  throw new RangeError(`Expected \`${name}\` to be from 1 to ${2 ** 31 - 1}, got \`${value}\``);
}

function flag(name: string, value: boolean | undefined, byDefault: boolean): boolean {
  if (value === undefined || typeof value === "boolean") return value ?? byDefault;
  throw new TypeError(`Expected \`${name}\` to be true or false, got \`${String(value)}\``);
}

function oneOf<const W extends string>(name: string, value: string, words: readonly W[]): W {
  const found = words.find((word) => word === value);
  if (found !== undefined) return found;
  throw new RangeError(`Expected \`${name}\` to be one of ${words.join(", ")}, got \`${String(value)}\``);
}

function basePath(path: string): string {
  if (typeof path !== "string" || (path !== "" && !path.startsWith("/"))) {
    throw new TypeError(`Expected \`basePath\` to begin with a slash, got \`${String(path)}\``);
  }
  return path.replace(/\/+$/, "");
}

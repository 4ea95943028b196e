// bge-reranker serve: the HTTP server.
import { existsSync } from "node:fs";
import type { ModelEntry, ServeOptions, Server } from "bge-reranker/server";
import { type Command, InvalidArgumentError, Option } from "commander";
import { type LoadOptions, version } from "../index.js";
import { addLoadOptions, loadOptionsOf, type ModelOptions, parseInteger, UsageError } from "./arguments.js";
import { loadingLine } from "./loading.js";
import { applySources, collect } from "./option-sources.js";
import { write } from "./terminal.js";

/** Options of loading that other commands have no flags for. */
interface MoreLoadOptions {
  readonly weightMode?: string;
  readonly maxLayer?: number;
  readonly maxBatchTokens?: number;
  readonly attentionSoftcap?: true;
  readonly specialTokens?: boolean;
  readonly lora?: string;
  readonly queryInstructionFormat?: string;
  readonly passageInstructionFormat?: string;
}

interface Options extends Omit<ModelOptions, "model">, MoreLoadOptions {
  readonly model?: string[];
  readonly alias?: string[];
  readonly host: string;
  readonly port: number;
  readonly apiKey?: string[];
  readonly keepAlive?: number;
  readonly cacheSize?: string;
  readonly maxQueueTokens?: number;
  readonly maxConcurrent?: number;
  readonly maxDocuments?: number;
  readonly maxBody?: string;
  readonly requestTimeout?: number;
  readonly drainTimeout?: number;
  readonly cors?: string[];
  readonly rawScores?: boolean;
  readonly returnDetails?: boolean;
  readonly strictModel?: boolean;
  readonly preload?: string;
  readonly page: boolean;
  readonly log?: string;
}

export function addServe(program: Command, signal: AbortSignal): void {
  const command = program
    .command("serve")
    .description("Serve models over HTTP, for every rerank client")
    .option("-m, --model <model>", "what to serve, again for more; NAME=MODEL names it (default: the embedded model)", collect)
    .option("--alias <name=model>", "another name for a served model, again for more", collect)
    .option("--host <address>", "address to listen on; 0.0.0.0 for all", "127.0.0.1")
    .option("-p, --port <n>", "port; 0 for any free one", parseInteger, 8787)
    .option("--api-key <key>", "key that requests must bear, again for more (better in BGE_API_KEY)", collect)
    .option("--max-memory <bytes>", "most memory of all models, such as 4GB; the least recently used one makes room")
    .option("--keep-alive <time>", "release a model that was not used for so long, such as 5m (default: never)", parseTime)
    .option("--cache-size <bytes>", "memory for scores computed before, of each model; 0 keeps none (default: 64MB)")
    .option("--preload <which>", "models to load at the start: first, all or none", "first")
    .option("--max-queue-tokens <n>", "most tokens waiting or running; more is refused with 429 (default: 500000)", parseInteger)
    .option("--max-concurrent <n>", "most requests at once; more are refused with 429 (default: 512)", parseInteger)
    .option("--max-documents <n>", "most documents of a request (default: 1000)", parseInteger)
    .option("--max-body <bytes>", "largest request body (default: 16MB)")
    .option("--request-timeout <time>", "longest that a request may take (default: 60s)", parseTime)
    .option("--drain-timeout <time>", "longest that requests in flight may take after SIGTERM (default: 30s)", parseTime)
    .option("--cors <origin>", "origin whose pages may call, * for all; again for more", collect)
    .option("--raw-scores", "logits instead of scores from 0 to 1, where a request does not say")
    .option("--return-details", "logit, tokens and truncation in every result")
    .option("--strict-model", "an unknown model name is a 404, with one model too")
    .option("--no-page", "no page at /")
    .addOption(
      new Option("--log <format>", "lines on standard error (default: pretty in a terminal, else json)").choices(["json", "pretty", "off"]),
    )
    .option("--config <file>", "JSON file with these options; flags and BGE_* variables win");
  addMoreLoadOptions(addLoadOptions(command))
    .addHelpText(
      "after",
      `
Every option is also a variable: BGE_API_KEY for --api-key, BGE_PORT for --port. Lists have commas there.

Examples:
  $ bge-reranker serve
  $ bge-reranker serve -m v2-m3 -m small=./small.gguf --max-memory 4GB --keep-alive 5m
  $ curl http://127.0.0.1:8787/v1/rerank -d '{"query":"what is a panda?","documents":["hi","The giant panda is a bear."]}'`,
    )
    .action(() => {
      applySources(command);
      return run(command.opts<Options>(), signal);
    });
}

function addMoreLoadOptions(command: Command): Command {
  return command
    .addOption(new Option("--weight-mode <mode>", "fast and row-int8 compute faster, and coarser").choices(["native", "fast", "row-int8"]))
    .option("--max-layer <n>", "load no layers above (layerwise, lightweight)", parseInteger)
    .option("--max-batch-tokens <n>", "most tokens computed at once (default: chosen from the calls)", parseInteger)
    .option("--attention-softcap", "cap attention scores as Gemma 2 was trained (lightweight)")
    .option("--no-special-tokens", "read special tokens spelled out in texts as plain text")
    .option("--lora <folder>", "adapter merged while a checkpoint is converted (LLM rerankers)")
    .option("--query-instruction-format <format>", "how instruction and query are joined (default: {}{})")
    .option("--passage-instruction-format <format>", "how instruction and document are joined (default: {}{})");
}

function moreLoadOptionsOf(options: MoreLoadOptions): LoadOptions {
  return {
    weightMode: options.weightMode as LoadOptions["weightMode"],
    maxLayer: options.maxLayer,
    maxBatchTokens: options.maxBatchTokens,
    attentionSoftcap: options.attentionSoftcap,
    parseSpecialTokens: options.specialTokens === false ? false : undefined,
    peftPath: options.lora,
    queryInstructionFormat: options.queryInstructionFormat,
    passageInstructionFormat: options.passageInstructionFormat,
  };
}

async function run(options: Options, signal: AbortSignal): Promise<void> {
  const { serve } = await import("bge-reranker/server");
  const started = performance.now();
  const { onProgress, end } = loadingLine(false);
  const server = await serve(serveOptionsOf(options, onProgress)).catch((error: NodeJS.ErrnoException) => {
    const { host, port } = options;
    if (error.code === "EADDRINUSE") throw new Error(`Port ${port} of ${host} is taken: another server runs there. Choose one with --port`);
    if (error.code === "EACCES" && error.syscall === "listen")
      throw new Error(`Port ${port} needs rights that this user lacks. Choose one with --port`);
    if (error.code === "EADDRNOTAVAIL") throw new Error(`This machine has no address ${host} (--host)`);
    throw error;
  });
  const close = () => void server.close();
  signal.addEventListener("abort", close, { once: true });
  if (signal.aborted) close();
  try {
    await Promise.race([server.ready, server.closed]);
    if (!signal.aborted) await write(process.stdout, greeting(server, options, performance.now() - started));
  } catch (error) {
    await server.close();
    throw error;
  } finally {
    end();
  }
  await server.closed;
}

function serveOptionsOf(options: Options, onProgress: ReturnType<typeof loadingLine>["onProgress"]): ServeOptions {
  const { host, port, apiKey, keepAlive, maxMemory, maxQueueTokens, maxConcurrent, maxDocuments, maxBody, requestTimeout, drainTimeout } =
    options;
  const { cors, rawScores, returnDetails, strictModel, page, preload } = options;
  const { maxMemory: _, normalize: __, ...load } = loadOptionsOf({ ...options, model: "" }, { onProgress });
  return {
    host,
    port,
    models: modelsOf(options),
    load: { ...load, ...moreLoadOptionsOf(options) },
    apiKey,
    keepAlive,
    maxMemory,
    cacheSize: options.cacheSize,
    maxQueueTokens,
    maxConcurrent,
    maxDocuments,
    maxBody,
    requestTimeout,
    drainTimeout,
    cors,
    rawScores,
    returnDetails,
    strictModel,
    page,
    preload: preload as ServeOptions["preload"],
    log: (options.log as "json" | undefined) ?? (process.stderr.isTTY ? "pretty" : "json"),
  };
}

function modelsOf({ model = ["default"], alias = [] }: Options): readonly ModelEntry[] {
  const aliases = alias.map((text) => {
    const [name, of] = splitName(text);
    if (name === undefined) throw new UsageError(`Expected --alias to be NAME=MODEL, got ${text}`);
    return { name, of };
  });
  const entries = model.map((text) => {
    const [name, source] = existsSync(text) ? [undefined, text] : splitName(text);
    return { name, model: source, aliases: aliases.filter(({ of }) => of === source || of === name).map((each) => each.name) };
  });
  const missed = aliases.find(({ name }) => !entries.some((entry) => entry.aliases.includes(name)));
  if (missed) throw new UsageError(`--alias ${missed.name}=${missed.of} is for a model that no --model names`);
  return entries;
}

/** `NAME=REST`; without a name, undefined and the text. */
function splitName(text: string): [string | undefined, string] {
  const [, name, rest] = /^([^=]+)=(.+)$/.exec(text) ?? [];
  return rest === undefined ? [undefined, text] : [name, rest];
}

/** Seconds, or with a unit: 500ms, 30s, 5m, 1h. @returns milliseconds */
function parseTime(value: string): number {
  const [, number, unit = "s"] = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(value.trim()) ?? [];
  if (number === undefined) throw new InvalidArgumentError("Expected seconds, or a time such as 500ms, 30s, 5m, 1h.");
  return Number(number) * { ms: 1, s: 1e3, m: 60e3, h: 3600e3 }[unit as "s"];
}

function greeting({ url, handler }: Server, { apiKey, host }: Options, startMs: number): string {
  const address = url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:");
  const key = apiKey ? ' -H "Authorization: Bearer $BGE_API_KEY"' : "";
  const body = '{"query":"what is a panda?","documents":["hi","The giant panda is a bear."]}';
  const open =
    apiKey || /^(127\.|::1$|localhost$)/.test(host) ? "" : "Whoever reaches this address may use it: --api-key asks for a key.\n\n";
  return `bge-reranker ${version} serves ${handler.models().join(", ")} at ${url} (ready in ${(startMs / 1000).toFixed(1)} s)\n\n  curl ${address}/v1/rerank${key} -d '${body}'\n\n${open}`;
}

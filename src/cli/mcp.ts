// bge-reranker mcp: a server of the Model Context Protocol, for assistants and editors.
import type { Command } from "commander";
import { addModelOptions, loadOptionsOf, type ModelOptions, parseInteger, UsageError } from "./arguments.js";

interface Options extends ModelOptions {
  readonly root?: string[];
  readonly http?: true;
  readonly host: string;
  readonly port: number;
  readonly allowedHost?: string[];
  readonly apiKey?: string;
}

export function addMcp(program: Command, signal: AbortSignal): void {
  const collect = (value: string, before: string[] = []) => [...before, value];
  const command = program
    .command("mcp")
    .description("Serve the tools rerank, score and list_models to assistants and editors (Model Context Protocol)")
    .option("--root <folder>", "folder whose text files may be ranked, repeatable (default: those that the client opens)", collect)
    .option("--http", "serve streamable HTTP at /mcp instead of standard input and output; only files of --root are read")
    .option("--host <address>", "with --http: where to listen; another than this machine needs a key", "127.0.0.1")
    .option("--port <n>", "with --http", parseInteger, 8091)
    .option(
      "--allowed-host <name>",
      "with --http: host name that requests may be addressed to, repeatable (default: this machine)",
      collect,
    )
    .option("--api-key <key>", "with --http: what requests bring as bearer token (default: $BGE_RERANKER_API_KEY)");
  addModelOptions(command)
    .addHelpText(
      "after",
      `
The model is loaded at the first call.

Examples:
  $ claude mcp add reranker -- npx -y bge-reranker mcp --root ~/notes
  $ bge-reranker mcp --http --model v2-m3 --outtype q8_0 --root ./docs`,
    )
    .action((options: Options) => serve(options, signal));
}

async function serve(options: Options, signal: AbortSignal): Promise<void> {
  const { serveMcpHttp, serveMcpStdio } = await import("bge-reranker/mcp");
  const load = loadOptionsOf(options, {});
  const shared = { model: options.model, load, roots: options.root };
  const stopped = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  if (!options.http) {
    const service = serveMcpStdio(shared);
    await Promise.race([service.closed, stopped]);
    return service.close();
  }
  const apiKey = options.apiKey ?? process.env.BGE_RERANKER_API_KEY;
  if (apiKey === "") throw new UsageError("--api-key is empty");
  const { host, port, allowedHost } = options;
  const service = await serveMcpHttp({ ...shared, host, port, apiKey, allowedHosts: allowedHost });
  if (!options.quiet) process.stderr.write(`MCP at ${service.url}\n`);
  await stopped;
  await service.close();
}

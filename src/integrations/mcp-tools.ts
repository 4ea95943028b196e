// The tools of the MCP server: their schemas, and what they do.
import { fileURLToPath } from "node:url";
import {
  type CallToolResult,
  CLIENT_CAPABILITIES_META_KEY,
  type ClientCapabilities,
  type InputRequiredResult,
  inputRequired,
  McpServer,
  type ServerContext,
} from "@modelcontextprotocol/server";
import { z } from "zod";
import { listModels, type Progress, RerankerError, type RerankOptions, type RerankResult, version } from "../index.js";
import type { LazyReranker } from "./lazy-reranker.js";
import { FileRequestError, readTextFiles, type TextFile } from "./mcp-files.js";

export interface ToolSettings {
  readonly lazy: LazyReranker;
  readonly options: RerankOptions;
  /** Folders whose files may be ranked. */
  readonly roots: readonly string[];
  /** Whether the client may open folders of its own when there are no `roots`: only one on this machine may. */
  readonly clientRoots: boolean;
}

const MAX_DOCUMENTS = 10_000;
const PROGRESS_MS = 200; // between two notifications of progress
const EXCERPT = 2000; // characters of a document that an answer quotes

const readOnly = { readOnlyHint: true, idempotentHint: true, openWorldHint: false, destructiveHint: false };
const documents = z.array(z.string()).min(1).max(MAX_DOCUMENTS);

const ranked = z.object({
  index: z.int().describe("Place in the documents given, from 0; of files, in the order read"),
  file: z.string().optional(),
  score: z.number().describe("Relevance, 0 to 1"),
  excerpt: z.string().describe("The passage that fits best, or the beginning"),
  start: z.int().describe("Where the excerpt begins in the document, in UTF-16 units"),
  truncated: z.boolean().describe("Whether the model did not read all of the document"),
});

const rerankOutput = z.object({
  model: z.string(),
  results: z.array(ranked).describe("Best first"),
  documents: z.int().describe("Documents that were ranked"),
  skipped: z.array(z.string()).optional().describe("Files of folders that are no text or too large"),
  warnings: z.array(z.string()).optional(),
});

/** A server with the tools registered, for one connection or request. */
export function createServer(settings: ToolSettings): McpServer {
  const server = new McpServer(
    { name: "bge-reranker", version },
    {
      instructions:
        "Ranks texts or files by how well they answer a query, on this machine. Use it to pick what to read from many candidates.",
    },
  );
  server.registerTool(
    "rerank",
    {
      title: "Rank documents for a query",
      description:
        "Ranks texts (`documents`) or text files (`files`: paths of files or folders within the open roots) by relevance to a query, and quotes the passage of each that fits best.",
      inputSchema: z.object({
        query: z.string().min(1),
        documents: documents.optional(),
        files: z.array(z.string().min(1)).min(1).max(1000).optional().describe("Files, or folders whose text files are ranked"),
        topN: z.int().min(1).optional().describe("Return only the best so many; 10 when absent"),
        minScore: z.number().min(0).max(1).optional().describe("Leave out what scores less"),
      }),
      outputSchema: rerankOutput,
      annotations: readOnly,
    },
    (input, context) => answer(() => rerank(server, settings, input, context)),
  );
  server.registerTool(
    "score",
    {
      title: "Score pairs of query and document",
      description: "How well each document answers its query, 0 to 1, in the order given.",
      inputSchema: z.object({
        pairs: z
          .array(z.object({ query: z.string(), document: z.string() }))
          .min(1)
          .max(MAX_DOCUMENTS),
      }),
      outputSchema: z.object({ model: z.string(), scores: z.array(z.number()) }),
      annotations: readOnly,
    },
    ({ pairs }, context) => answer(() => score(settings, pairs, context)),
  );
  server.registerTool(
    "list_models",
    {
      title: "List models",
      description: "The model in use, and the rerankers this machine has or can download.",
      inputSchema: z.object({}),
      outputSchema: z.object({
        current: z.string(),
        models: z.array(z.object({ name: z.string(), id: z.string(), onDisk: z.boolean() })),
      }),
      annotations: readOnly,
    },
    () => answer(() => models(settings)),
  );
  return server;
}

interface RerankInput {
  readonly query: string;
  readonly documents?: string[] | undefined;
  readonly files?: string[] | undefined;
  readonly topN?: number | undefined;
  readonly minScore?: number | undefined;
}

type Output = { readonly structured: Record<string, unknown> } | InputRequiredResult;

async function rerank(server: McpServer, settings: ToolSettings, input: RerankInput, context: ServerContext): Promise<Output> {
  if ((input.documents === undefined) === (input.files === undefined)) {
    throw new FileRequestError("Give either `documents`, the texts themselves, or `files`");
  }
  const roots = input.files ? await rootsOf(server, settings, context) : [];
  if (!Array.isArray(roots)) return roots as InputRequiredResult;
  const read = input.files ? await readTextFiles(roots, input.files, context.mcpReq.signal) : undefined;
  const items: readonly TextFile[] = read?.files ?? (input.documents ?? []).map((text) => ({ name: "", text }));
  const reranker = await settings.lazy.get();
  const progress = progressOf(context);
  const results = await reranker.rerank(input.query, items, {
    normalize: true,
    overflow: "chunk",
    ...settings.options,
    topN: input.topN ?? 10,
    minScore: input.minScore,
    signal: context.mcpReq.signal,
    onProgress: progress.onProgress,
  });
  await progress.sent();
  const warnings = warningsOf(results);
  return {
    structured: {
      model: reranker.model.name ?? settings.lazy.name,
      results: results.map((result) => ({
        index: result.index,
        ...(result.document.name && { file: result.document.name }),
        score: result.score,
        ...excerptOf(result),
        truncated: result.truncated,
      })),
      documents: items.length,
      ...(read && read.skipped.length > 0 && { skipped: read.skipped }),
      ...(warnings.length > 0 && { warnings }),
    },
  };
}

function excerptOf({ document: { text }, chunk }: RerankResult<TextFile>): { excerpt: string; start: number } {
  const { start, end } = chunk ?? { start: 0, end: text.length };
  const long = end - start > EXCERPT;
  return { excerpt: `${text.slice(start, long ? start + EXCERPT : end)}${long ? "…" : ""}`, start };
}

function warningsOf(results: readonly RerankResult<TextFile>[]): string[] {
  if (results.some(({ queryTruncated }) => queryTruncated)) return ["The query is too long for the model and was cut: ask more briefly"];
  const cut = results.filter(({ truncated }) => truncated).length;
  return cut > 0 ? [`The model did not read ${cut} of these documents to the end`] : [];
}

/** Configured roots, or the client's own. @returns A question to the client where the protocol asks that way. */
async function rootsOf(
  server: McpServer,
  settings: ToolSettings,
  context: ServerContext,
): Promise<readonly string[] | InputRequiredResult> {
  const { roots, clientRoots } = settings;
  const { envelope, inputResponses } = context.mcpReq; // the first since 2026-07-28: before, the server asks by itself
  const declared = (envelope as { readonly [CLIENT_CAPABILITIES_META_KEY]?: ClientCapabilities } | undefined)?.[
    CLIENT_CAPABILITIES_META_KEY
  ];
  const capabilities = declared ?? server.server.getClientCapabilities();
  if (roots.length > 0 || !clientRoots || !capabilities?.roots) return roots;
  if (!envelope) return foldersOf((await server.server.listRoots()).roots);
  const given = inputResponses?.roots as { readonly roots?: readonly { readonly uri?: unknown }[] } | undefined;
  if (Array.isArray(given?.roots)) return foldersOf(given.roots);
  return inputRequired({ inputRequests: { roots: inputRequired.listRoots() } });
}

function foldersOf(roots: readonly { readonly uri?: unknown }[]): string[] {
  return roots.flatMap(({ uri }) => (typeof uri === "string" && uri.startsWith("file://") ? [fileURLToPath(uri)] : []));
}

async function score(
  settings: ToolSettings,
  pairs: readonly { query: string; document: string }[],
  context: ServerContext,
): Promise<Output> {
  const reranker = await settings.lazy.get();
  const { topN: _, minScore: __, overflow: ___, maxChunks: ____, chunkOverlap: _____, cascade: ______, ...options } = settings.options;
  const progress = progressOf(context);
  const scores = await reranker.computeScore(
    pairs.map(({ query, document }) => [query, document] as const),
    { normalize: true, ...options, signal: context.mcpReq.signal, onProgress: progress.onProgress },
  );
  await progress.sent();
  return { structured: { model: reranker.model.name ?? settings.lazy.name, scores } };
}

async function models({ lazy }: ToolSettings): Promise<Output> {
  const { known, embedded } = await listModels();
  const listed = known.map(({ name, id, snapshot }) => ({ name, id, onDisk: snapshot !== null }));
  return {
    structured: { current: lazy.name, models: [...(embedded ? [{ name: "default", id: "default", onDisk: true }] : []), ...listed] },
  };
}

interface Progressing {
  readonly onProgress: ((progress: Progress) => void) | undefined;
  /** Resolves when all was sent: what comes after the answer is lost. */
  sent(): Promise<unknown>;
}

/** Tells of progress, where the client asked to hear of it. */
function progressOf({ mcpReq }: ServerContext): Progressing {
  const progressToken = mcpReq._meta?.progressToken;
  if (progressToken === undefined) return { onProgress: undefined, sent: async () => {} };
  let last = Number.NEGATIVE_INFINITY;
  let sending: Promise<unknown> = Promise.resolve();
  const onProgress = ({ done, total }: Progress) => {
    if (done < total && performance.now() - last < PROGRESS_MS) return;
    last = performance.now();
    const params = { progressToken, progress: done, total };
    // A client that has gone is no reason to fail: the call ends by its signal.
    sending = Promise.all([sending, mcpReq.notify({ method: "notifications/progress", params }).catch(() => {})]);
  };
  return { onProgress, sent: () => sending };
}

/** Mistakes that the caller can mend are answers; anything else too, as the error's own words: there is nobody else to hear it. */
async function answer(work: () => Promise<Output>): Promise<CallToolResult | InputRequiredResult> {
  try {
    const output = await work();
    if (!("structured" in output)) return output as InputRequiredResult;
    const structuredContent = output.structured as Record<string, unknown>;
    return { content: [{ type: "text", text: JSON.stringify(structuredContent) }], structuredContent };
  } catch (error) {
    const text =
      error instanceof RerankerError ? `${error.message} (${error.code})` : error instanceof Error ? error.message : String(error);
    return { content: [{ type: "text", text }], isError: true };
  }
}

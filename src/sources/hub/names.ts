// Names of models on the hub: repository ids, the short names of those known, and one file of a repository.

/** Repositories by the short names people use, in lower case. */
export const HUB_IDS: Readonly<Record<string, string>> = {
  "bge-reranker-base": "BAAI/bge-reranker-base",
  "bge-reranker-large": "BAAI/bge-reranker-large",
  "bge-reranker-v2-m3": "BAAI/bge-reranker-v2-m3",
  "bge-reranker-v2-gemma": "BAAI/bge-reranker-v2-gemma",
  "bge-reranker-v2-minicpm-layerwise": "BAAI/bge-reranker-v2-minicpm-layerwise",
  "bge-reranker-v2.5-gemma2-lightweight": "BAAI/bge-reranker-v2.5-gemma2-lightweight",
  "qwen3-reranker-0.6b": "Qwen/Qwen3-Reranker-0.6B",
  "qwen3-reranker-4b": "Qwen/Qwen3-Reranker-4B",
  "qwen3-reranker-8b": "Qwen/Qwen3-Reranker-8B",
  "mxbai-rerank-base-v2": "mixedbread-ai/mxbai-rerank-base-v2",
  "mxbai-rerank-large-v2": "mixedbread-ai/mxbai-rerank-large-v2",
  "zerank-1-small": "zeroentropy/zerank-1-small",
  "zerank-1": "zeroentropy/zerank-1",
  "zerank-2": "zeroentropy/zerank-2",
  "gte-reranker-modernbert-base": "Alibaba-NLP/gte-reranker-modernbert-base",
  "gte-multilingual-reranker-base": "Alibaba-NLP/gte-multilingual-reranker-base",
  "ettin-reranker-17m-v1": "cross-encoder/ettin-reranker-17m-v1",
  "ettin-reranker-32m-v1": "cross-encoder/ettin-reranker-32m-v1",
  "ettin-reranker-68m-v1": "cross-encoder/ettin-reranker-68m-v1",
  "ettin-reranker-150m-v1": "cross-encoder/ettin-reranker-150m-v1",
  "ettin-reranker-400m-v1": "cross-encoder/ettin-reranker-400m-v1",
  "ettin-reranker-1b-v1": "cross-encoder/ettin-reranker-1b-v1",
  "ms-marco-tinybert-l2-v2": "cross-encoder/ms-marco-TinyBERT-L2-v2",
  "ms-marco-minilm-l6-v2": "cross-encoder/ms-marco-MiniLM-L6-v2",
  "ms-marco-minilm-l12-v2": "cross-encoder/ms-marco-MiniLM-L12-v2",
  "ms-marco-electra-base": "cross-encoder/ms-marco-electra-base",
  "mxbai-rerank-xsmall-v1": "mixedbread-ai/mxbai-rerank-xsmall-v1",
  "mxbai-rerank-base-v1": "mixedbread-ai/mxbai-rerank-base-v1",
  "mxbai-rerank-large-v1": "mixedbread-ai/mxbai-rerank-large-v1",
  "bce-reranker-base_v1": "maidalun1020/bce-reranker-base_v1",
};

export interface HubName {
  /** Such as `BAAI/bge-reranker-v2-m3`. */
  readonly id: string;
  /** The file named after a colon: `org/repo:model-Q8_0.gguf`. */
  readonly file: string | undefined;
}

/** What a name says, or undefined when it can only be a path: a typing mistake must not become a request. */
export function parseHubName(name: string): HubName | undefined {
  const colon = name.indexOf(":");
  const repository = colon < 0 ? name : name.slice(0, colon);
  const file = colon < 0 ? undefined : name.slice(colon + 1);
  if (file !== undefined && (!file.endsWith(".gguf") || !isSafePath(file))) return undefined;
  const id = shortName(repository) ?? (isRepositoryId(repository) ? repository : undefined);
  return id === undefined ? undefined : { id, file };
}

/** `bge-reranker-v2-m3`, or `v2-m3` for short; `Qwen3-Reranker-0.6B` in any case. */
function shortName(name: string): string | undefined {
  const found = [name, `bge-reranker-${name}`, name.toLowerCase()].find((each) => Object.hasOwn(HUB_IDS, each));
  return found === undefined ? undefined : HUB_IDS[found];
}

/** The hub's own rule for `organisation/name`; a name that ends in .gguf is a path to a missing file. */
function isRepositoryId(name: string): boolean {
  const segment = /^[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?$/;
  const parts = name.split("/");
  return parts.length === 2 && parts.every((part) => segment.test(part)) && !/--|\.\.|\.gguf$/.test(name);
}

/** Branch, tag or commit. It becomes part of a path in the cache. */
export function isRevision(name: string): boolean {
  return name.length <= 255 && isSafePath(name) && /^[\w./-]+$/.test(name);
}

/** Whether a file name of a repository stays inside the folder it is written to, on every platform. */
export function isSafePath(name: string): boolean {
  if (name.length === 0 || name.length > 1024) return false;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\\:*?"<>|\u0000-\u001f\u007f]/.test(name)) return false;
  return name.split("/").every((part) => part !== "" && part !== "." && part !== ".." && !/[. ]$/.test(part));
}

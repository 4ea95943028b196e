// What a repository on the hub holds, and which of its files a reranker needs.

import { RerankerError } from "../../errors.js";
import { isObject } from "../../files/json.js";
import { COMMIT } from "./cache.js";
import { isSafePath } from "./names.js";
import { type HubConnection, readBody, request, withRetries } from "./request.js";

/** The hub's own pages stop at fewer. */
const MAX_FILES = 20_000;
const MAX_LISTING_BYTES = 32 * 1024 * 1024;

export interface RepositoryFile {
  readonly path: string;
  readonly sizeBytes: number | undefined;
  /** SHA-256 of a file in large file storage, or git's SHA-1 of any other: its name in the cache, and the check of its bytes. */
  readonly hash: string | undefined;
}

export interface RepositoryListing {
  readonly id: string;
  readonly commit: string;
  readonly files: ReadonlyMap<string, RepositoryFile>;
}

export async function listRepository(connection: HubConnection, id: string, revision: string): Promise<RepositoryListing> {
  const what = `Listing ${id}`;
  const path = `/api/models/${id}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const body = await withRetries(connection, what, async () =>
    readBody(await request(connection, path, id), MAX_LISTING_BYTES, `The list of files of ${id}`),
  );
  return parseListing(body, id);
}

export function parseListing(body: Buffer, id: string): RepositoryListing {
  const bad = (why: string) => new RerankerError("DOWNLOAD_FAILED", `The list of files of ${id} is refused: ${why}. Check HF_ENDPOINT`);
  let json: unknown;
  try {
    json = JSON.parse(body.toString("utf8"));
  } catch {
    throw bad("it is not JSON");
  }
  if (!isObject(json)) throw bad("it is no object");
  const { sha, siblings } = json;
  if (typeof sha !== "string" || !COMMIT.test(sha)) throw bad("`sha` is no commit");
  if (!Array.isArray(siblings) || siblings.length > MAX_FILES) throw bad(`\`siblings\` is no list of at most ${MAX_FILES} files`);
  const files = new Map<string, RepositoryFile>();
  for (const sibling of siblings as unknown[]) {
    if (!isObject(sibling) || typeof sibling.rfilename !== "string") throw bad("a sibling has no `rfilename`");
    if (!isSafePath(sibling.rfilename)) throw bad(`the file name ${JSON.stringify(sibling.rfilename)} leads out of its folder`);
    files.set(sibling.rfilename, fileOf(sibling.rfilename, sibling));
  }
  return { id, commit: sha, files };
}

function fileOf(path: string, { size, blobId, lfs }: Readonly<Record<string, unknown>>): RepositoryFile {
  const large = isObject(lfs) ? lfs : {};
  const hash = [large.sha256, large.oid, blobId].find((each) => typeof each === "string" && isHash(each));
  const count = [large.size, size].find((each) => Number.isSafeInteger(each) && Number(each) >= 0);
  return { path, sizeBytes: count as number | undefined, hash: hash as string | undefined };
}

export function isHash(value: string): boolean {
  return /^([0-9a-f]{64}|[0-9a-f]{40})$/.test(value);
}

/** What to fetch: one GGUF, or the parts of a checkpoint. */
export type Selection =
  | { readonly kind: "gguf"; readonly file: string }
  | {
      readonly kind: "checkpoint";
      /** Read before the weights are fetched. The weights come last: where they are, all else is. */
      readonly small: readonly string[];
      /** Undefined when the index among the small files names the shards. */
      readonly weights: string | undefined;
    };

const TOKENIZER_SETTINGS = ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"];
/** What says how pairs are laid out, cut and scored, beside config.json. */
const RERANKER_SETTINGS = [
  "modules.json",
  "config_sentence_transformers.json",
  "sentence_bert_config.json",
  "chat_template.jinja",
  "chat_template.json",
];
/** Settings and weights of the modules that sentence-transformers puts behind the transformer: `1_Pooling/config.json`. */
const MODULE_FILE = /^\d+_\w+\/(config\.json|model\.safetensors)$/;
/** The first that is there is read; see vocabulary.ts. */
export const VOCABULARIES = ["tokenizer.json", "sentencepiece.bpe.model", "tokenizer.model", "vocab.txt", "vocab.json"];
export const WEIGHTS = "model.safetensors";
export const WEIGHTS_INDEX = `${WEIGHTS}.index.json`;

/** @param wantedFile - The GGUF that the user named. */
export function selectFiles(id: string, names: Iterable<string>, wantedFile: string | undefined): Selection {
  const present = new Set(names);
  const ggufs = [...present].filter((name) => name.endsWith(".gguf")).sort();
  if (wantedFile !== undefined) {
    if (present.has(wantedFile)) return { kind: "gguf", file: wantedFile };
    throw new RerankerError("MODEL_NOT_FOUND", `${id} has no ${wantedFile}; it has ${ggufs.join(", ") || "no .gguf file"}`);
  }
  const index = present.has(WEIGHTS_INDEX);
  if (present.has("config.json") && (index || present.has(WEIGHTS))) {
    const vocabulary = VOCABULARIES.find((name) => present.has(name));
    const merges = vocabulary === "vocab.json" ? ["merges.txt"] : [];
    const settings = [...merges, ...TOKENIZER_SETTINGS, ...RERANKER_SETTINGS].filter((name) => present.has(name));
    const modules = present.has("modules.json") ? [...present].filter((name) => MODULE_FILE.test(name)).sort() : [];
    const small = ["config.json", ...(vocabulary ? [vocabulary] : []), ...settings, ...modules];
    // The single file first, as transformers does: an index beside it is of an earlier save.
    return present.has(WEIGHTS)
      ? { kind: "checkpoint", small, weights: WEIGHTS }
      : { kind: "checkpoint", small: [...small, WEIGHTS_INDEX], weights: undefined };
  }
  const [only] = ggufs;
  if (ggufs.length === 1 && only !== undefined) return { kind: "gguf", file: only };
  if (ggufs.length > 1) {
    const list = ggufs.slice(0, 20).map((file) => `${id}:${file}`);
    throw new RerankerError("MODEL_NOT_FOUND", `${id} has several .gguf files; name one: ${list.join(", ")}`);
  }
  const pickled = [...present].some((name) => name.endsWith(".bin"));
  throw new RerankerError(
    "MODEL_NOT_FOUND",
    `${id} has neither a .gguf file nor config.json with ${WEIGHTS}${pickled ? "; its .bin weights can run code when opened and are not read" : ""}`,
  );
}

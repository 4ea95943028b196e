// JSON files of a checkpoint come from strangers: size and depth are bounded before they are parsed.
import { basename } from "node:path";
import { RerankerError } from "../errors.js";
import { readBounded } from "./bounded-file.js";

/** config.json and adapter_config.json are a few kB; a weight index with long names stays below this too. */
export const MAX_JSON_BYTES = 64 * 1024 * 1024;
/** Real files nest five deep at most. */
const MAX_JSON_DEPTH = 64;

export type JsonObject = { readonly [field: string]: unknown };

/** @param what - How the file is called in error messages. */
export function parseJsonObject(bytes: Uint8Array, what: string): JsonObject {
  const value = parseJson(bytes, what);
  if (!isObject(value)) throw new RerankerError("CONVERT_FAILED", `${what} must hold a JSON object.`);
  return value;
}

function parseJson(bytes: Uint8Array, what: string): unknown {
  const text = decode(bytes, what);
  if (nestingDepth(text) > MAX_JSON_DEPTH) {
    throw new RerankerError("CONVERT_FAILED", `${what} nests deeper than ${MAX_JSON_DEPTH} levels; the file is damaged or hostile.`);
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new RerankerError("CONVERT_FAILED", `${what} is not valid JSON; download it again.`, { cause });
  }
}

/** Returns undefined when there is no such file. */
export async function readJsonObject(path: string): Promise<JsonObject | undefined> {
  const bytes = await readWhole(path);
  return bytes && parseJsonObject(bytes, `\`${basename(path)}\``);
}

/** Returns undefined when there is no such file; it may hold a list, as modules.json does. */
export async function readJson(path: string): Promise<unknown> {
  const bytes = await readWhole(path);
  return bytes && parseJson(bytes, `\`${basename(path)}\``);
}

function readWhole(path: string): Promise<Uint8Array | undefined> {
  return readBounded(path, MAX_JSON_BYTES, (why) => new RerankerError("CONVERT_FAILED", `${why}.`));
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function decode(bytes: Uint8Array, what: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new RerankerError("CONVERT_FAILED", `${what} is not valid UTF-8; download it again.`, { cause });
  }
}

export function nestingDepth(text: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (inString) {
      if (c === 0x5c)
        i++; // a backslash takes the next character with it
      else if (c === 0x22) inString = false;
    } else if (c === 0x22) inString = true;
    else if (c === 0x7b || c === 0x5b) deepest = Math.max(deepest, ++depth);
    else if (c === 0x7d || c === 0x5d) depth--;
  }
  return deepest;
}

// Where the hub and its cache are, as the environment variables of huggingface_hub say.
import { join } from "node:path";
import { show } from "../../checks.js";
import { RerankerError } from "../../errors.js";
import { readText } from "../../files/bounded-file.js";
import { cacheHome } from "../../files/cache-folder.js";

export interface HubSettings {
  readonly endpoint: string;
  readonly token: string | undefined;
  /** true: no request is made at all. */
  readonly offline: boolean;
  /** Folder of downloads, shared with Python. */
  readonly cache: string;
}

export async function hubSettings(): Promise<HubSettings> {
  return {
    endpoint: readEndpoint(),
    token: await readToken(),
    offline: isOn("HF_HUB_OFFLINE") || isOn("TRANSFORMERS_OFFLINE"),
    cache: hubCache(),
  };
}

function readEndpoint(): string {
  const endpoint = process.env.HF_ENDPOINT || "https://huggingface.co";
  if (/^https?:/.test(endpoint) && URL.canParse(endpoint)) return endpoint.replace(/\/+$/, "");
  throw new RerankerError("DOWNLOAD_FAILED", `HF_ENDPOINT is ${show(endpoint)}; it must begin with https:// or http://`);
}

/** Where huggingface_hub and the `hf` command keep downloads. */
export function hubCache(): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE } = process.env;
  return HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE || join(hubHome(), "hub");
}

function hubHome(): string {
  return process.env.HF_HOME || join(cacheHome(), "huggingface");
}

async function readToken(): Promise<string | undefined> {
  const { HF_TOKEN, HUGGING_FACE_HUB_TOKEN, HF_TOKEN_PATH } = process.env;
  const named = HF_TOKEN || HUGGING_FACE_HUB_TOKEN;
  if (named) return named.trim() || undefined;
  if (isOn("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return undefined;
  const stored = await readText(HF_TOKEN_PATH || join(hubHome(), "token"));
  return stored?.trim() || undefined;
}

function isOn(variable: string): boolean {
  return /^(1|on|yes|true)$/i.test(process.env[variable] ?? "");
}

// The table of profiles: what this package supports, one row per architecture.
import { bert } from "./bert.js";
import { debertaV2 } from "./deberta-v2.js";
import { gemma } from "./gemma.js";
import { gemma2 } from "./gemma2.js";
import { gte } from "./gte.js";
import { llama } from "./llama.js";
import { minicpm } from "./minicpm.js";
import { modernBert } from "./modern-bert.js";
import type { ChatTemplate, CheckpointProfile, ModelProfile, RerankerForm } from "./profile.js";
import { qwen2 } from "./qwen2.js";
import { qwen3 } from "./qwen3.js";

export type * from "./profile.js";

/** A pair laid out by a chat template. */
export function templateText(template: ChatTemplate, instruction: string, query: string, document: string): string {
  const texts = { instruction, query, document };
  return template.map((part) => (typeof part === "string" ? part : texts[part.slot])).join("");
}

export const profiles: readonly ModelProfile[] = [bert, gemma, minicpm, gemma2, modernBert, debertaV2, gte, qwen2, qwen3, llama];

/** The profile of a GGUF's `general.architecture`. */
export function findProfile(architecture: string): ModelProfile | undefined {
  return profiles.find((profile) => profile.architecture === architecture);
}

/** The form of that name; without one, the profile's own. */
export function findForm(profile: ModelProfile, name: string | undefined): RerankerForm | undefined {
  return name === undefined ? profile : profile.forms?.find(({ form }) => form === name);
}

/** The profile for `architectures[0]` of a checkpoint's config.json. */
export function findCheckpoint(name: string): { readonly profile: ModelProfile; readonly checkpoint: CheckpointProfile } | undefined {
  for (const profile of profiles) {
    const checkpoint = profile.checkpoints.find((candidate) => candidate.names.includes(name));
    if (checkpoint) return { profile, checkpoint };
  }
  return undefined;
}

// The table of profiles: what this package supports, one row per architecture.
import { bert } from "./bert.js";
import { debertaV2 } from "./deberta-v2.js";
import { gemma } from "./gemma.js";
import { gemma2 } from "./gemma2.js";
import { gte } from "./gte.js";
import { minicpm } from "./minicpm.js";
import { modernBert } from "./modern-bert.js";
import type { CheckpointProfile, ModelProfile } from "./profile.js";

export type * from "./profile.js";

export const profiles: readonly ModelProfile[] = [bert, gemma, minicpm, gemma2, modernBert, debertaV2, gte];

/** The profile of a GGUF's `general.architecture`. */
export function findProfile(architecture: string): ModelProfile | undefined {
  return profiles.find((profile) => profile.architecture === architecture);
}

/** The profile for `architectures[0]` of a checkpoint's config.json. */
export function findCheckpoint(name: string): { readonly profile: ModelProfile; readonly checkpoint: CheckpointProfile } | undefined {
  for (const profile of profiles) {
    const checkpoint = profile.checkpoints.find((candidate) => candidate.names.includes(name));
    if (checkpoint) return { profile, checkpoint };
  }
  return undefined;
}

// What the loop that keeps the locks and the thread that scores say to each other.
import type { LoadOptions } from "../../index.js";
import type { PartPayload, PartResult } from "./payload.js";

/** Options of this machine, for every model it loads; scores do not depend on them. */
export type MachineOptions = Pick<LoadOptions, "devices" | "threads" | "batchSize" | "maxMemory" | "cacheDir" | "revision" | "outtype">;

export interface ScoringStart {
  readonly model: string;
  readonly machine: MachineOptions;
}

export type ToScoring =
  | { readonly kind: "score"; readonly id: number; readonly payload: PartPayload }
  | { readonly kind: "abort"; readonly id: number }
  | { readonly kind: "close" };

export type FromScoring =
  | { readonly kind: "loaded"; readonly name: string | null; readonly sha256: string; readonly device: string }
  | { readonly kind: "work"; readonly id: number; readonly pairs: number; readonly tokens: number; readonly rows: number }
  | { readonly kind: "done"; readonly id: number; readonly result: PartResult }
  | { readonly kind: "failed"; readonly id: number; readonly error: ScoringFailure };

export interface ScoringFailure {
  readonly message: string;
  /** Of a RerankerError; `WRONG_MODEL` when the job wants the scores of another file. */
  readonly code: string;
}

export const WRONG_MODEL = "WRONG_MODEL";

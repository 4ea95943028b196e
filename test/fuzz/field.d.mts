export interface FieldFuzz {
  readonly part: string;
  readonly runs: number;
  readonly scored: number;
  readonly refused: number;
  readonly untyped: readonly string[];
  readonly crashes: readonly string[];
  readonly wrong: readonly string[];
}
export function fuzzField(part: "gguf" | "checkpoint" | "tools", count: number, seed?: number): FieldFuzz;

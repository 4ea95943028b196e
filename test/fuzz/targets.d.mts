import type { Random } from "./mutate.mjs";

export interface Target {
  seeds(): Buffer[];
  mutate(bytes: Buffer, random: Random): Buffer;
  run(bytes: Buffer, fill: (contents: Readonly<Record<string, Uint8Array | string>>) => string): Promise<void>;
}
type Parser = (...args: never[]) => unknown;
export function safetensors(parsers: { readonly readSafetensorsFolder: Parser }): Target;
export function tokenizerJson(parsers: { readonly readVocabulary: Parser; readonly tokenizerSpecOf: Parser }): Target;
export function sentencepiece(parsers: { readonly readSentencePieceModel: Parser; readonly readVocabulary: Parser }): Target;

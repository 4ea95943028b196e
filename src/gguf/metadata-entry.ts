// One key of a GGUF file's metadata.
import type { GgufType, GgufValue } from "../addon/native.js";

export type MetadataEntry = readonly [key: string, type: GgufType, value: GgufValue];

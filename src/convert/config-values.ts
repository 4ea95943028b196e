// Values of config.json that a GGUF states as something other than a number.
import { RerankerError, shown } from "../errors.js";
import type { MetadataEntry } from "../gguf/metadata-entry.js";
import type { MetadataValue } from "../models/index.js";
import { type CheckpointConfig, quantity } from "./config.js";

/** @throws {RerankerError} `CONVERT_FAILED` for a value that has no name here. */
export function namedValue({ json }: CheckpointConfig, { field, otherwise, names }: Extract<MetadataValue, { names: object }>): string {
  const value = json[field] === undefined ? otherwise : json[field];
  if (typeof value === "string" && Object.hasOwn(names, value)) return names[value] as string;
  throw new RerankerError(
    "CONVERT_FAILED",
    `\`${field}\` in config.json is ${shown(value ?? null)}; supported: ${Object.keys(names).join(", ")}.`,
  );
}

/** transformers 5 lists the type of every layer; before it was every nth layer. The list counts where both are there. */
export function localLayers(config: CheckpointConfig, key: string, rule: Extract<MetadataValue, { localLayers: object }>): MetadataEntry {
  const count = quantity(config, "n_layer");
  const { field, value } = rule.localLayers;
  const types = config.json[field] ?? undefined;
  const period = config.json[rule.every.field] ?? rule.every.otherwise;
  if (types === undefined) {
    if (Number.isInteger(period) && (period as number) >= 1 && (period as number) <= 1024) return [key, "u32", period as number];
    throw new RerankerError("CONVERT_FAILED", `\`${rule.every.field}\` in config.json is ${shown(period)}; it is a number from 1 to 1024.`);
  }
  const known = [value, "full_attention"];
  if (!Array.isArray(types) || types.length !== count || types.some((type) => !known.includes(type as string))) {
    throw new RerankerError(
      "CONVERT_FAILED",
      `\`${field}\` in config.json should name ${count} layers, each ${known.join(" or ")}, got ${shown(types)}.`,
    );
  }
  const local = types.map((type) => type === value);
  const regular = local.indexOf(false, 1) < 0 ? count : local.indexOf(false, 1);
  const isRegular = local.every((each, i) => each === (i % regular !== 0));
  return isRegular ? [key, "u32", regular] : [key, "bool[]", local];
}

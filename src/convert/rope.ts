// The base of rotary positions, wherever a release of transformers wrote it: `rope_theta` up to 4.x, `rope_parameters` from 5
// on, there also nested by layer type. Scaled positions are refused in every spelling.
// Source: transformers 5 modeling_rope_utils.py, RotaryEmbeddingConfigMixin.
import { RerankerError, shown } from "../errors.js";
import { isObject, type JsonObject } from "../files/json.js";
import type { ConfigField } from "../models/index.js";

/**
 * @param source - `rope` says for which layers; "all" needs the same value for each type of layer.
 * @throws {RerankerError} `CONVERT_FAILED` for scaled positions, and where two fields say different things.
 */
export function ropeTheta(json: JsonObject, { field, otherwise, rope = "all" }: ConfigField): number {
  throwIfScaled(json["rope_scaling"], "rope_scaling");
  throwIfPartial(json, "config.json");
  const given = json[field] ?? undefined;
  if (Object.hasOwn(json, field) && given === undefined)
    throw wrong(`\`${field}\` is null`, "Give it the value the model was trained with");
  const thetas = parametersFor(json["rope_parameters"], rope).map(({ path, parameters }) => {
    throwIfScaled(parameters, path);
    throwIfPartial(parameters, path);
    return { path: `${path}.rope_theta`, theta: parameters["rope_theta"] ?? undefined };
  });
  const stated = [{ path: field, theta: given }, ...thetas].filter(({ theta }) => theta !== undefined);
  const [first, ...others] = stated;
  const other = others.find(({ theta }) => theta !== first?.theta);
  if (first && other) {
    throw wrong(
      `\`${first.path}\` is ${shown(first.theta)} and \`${other.path}\` is ${shown(other.theta)}`,
      "Releases of transformers before and from 5 on read different ones; leave only the one the model was trained with",
    );
  }
  const theta = first ? first.theta : otherwise;
  if (typeof theta === "number" && Number.isFinite(theta) && theta > 0) return theta;
  throw wrong(
    `\`${first?.path ?? field}\` must be a positive number, got ${shown(theta ?? null)}`,
    "Give it the value the model was trained with",
  );
}

/**
 * @returns Factor of NTK interpolation, 1 where there is none.
 * @throws {RerankerError} `CONVERT_FAILED` for other ways of scaling.
 */
export function ntkFactor(json: JsonObject): number {
  const scaling = json["rope_scaling"] ?? undefined;
  if (scaling === undefined) return 1;
  const type = isObject(scaling) ? (scaling["type"] ?? scaling["rope_type"]) : undefined;
  if (type === "default") return 1;
  const factor = isObject(scaling) ? scaling["factor"] : undefined;
  const mixed = isObject(scaling) ? (scaling["mixed_b"] ?? undefined) : undefined;
  if (type === "ntk" && mixed === undefined && typeof factor === "number" && Number.isFinite(factor) && factor > 0) return factor;
  throw wrong(`\`rope_scaling\` is ${shown(scaling)}`, "Only NTK interpolation with a factor is supported with this architecture");
}

interface Parameters {
  readonly path: string;
  readonly parameters: JsonObject;
}

function parametersFor(value: unknown, layers: string): Parameters[] {
  if (value === undefined || value === null) return [];
  if (!isObject(value)) throw wrong(`\`rope_parameters\` is ${shown(value)}`, "It is an object");
  const nested = Object.entries(value).filter((entry): entry is [string, JsonObject] => isObject(entry[1]));
  if (nested.length === 0) return [{ path: "rope_parameters", parameters: value }];
  const wanted = nested.filter(([type]) => layers === "all" || type === layers);
  if (wanted.length === 0) throw wrong(`\`rope_parameters\` has no ${layers}`, "config.json belongs to another architecture");
  return wanted.map(([type, parameters]) => ({ path: `rope_parameters.${type}`, parameters }));
}

function throwIfScaled(value: unknown, path: string): void {
  if (value === undefined || value === null) return;
  const type = isObject(value) ? (value["rope_type"] ?? value["type"]) : value;
  // A rope_scaling without a type means no known scaling; rope_parameters without one means none.
  if (type === "default" || (type === undefined && path !== "rope_scaling")) return;
  throw wrong(
    `\`${path}\` is ${shown(value)}`,
    "Scaled rotary positions are not supported; use a checkpoint trained without `rope_scaling`",
  );
}

function throwIfPartial(json: JsonObject, path: string): void {
  const factor = json["partial_rotary_factor"] ?? 1;
  if (factor !== 1)
    throw wrong(`\`partial_rotary_factor\` in ${path} is ${shown(factor)}`, "Only positions that turn the whole head are supported");
}

function wrong(what: string, advice: string): RerankerError {
  return new RerankerError("CONVERT_FAILED", `In config.json, ${what}. ${advice}.`);
}

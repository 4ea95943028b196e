// From config.json to the numbers a GGUF states. What would be scored wrong is refused here, saying what to do.
import { RerankerError } from "../errors.js";
import type { JsonObject } from "../files/json.js";
import { isObject } from "../files/json.js";
import {
  type Activation,
  type CheckpointProfile,
  type ConfigField,
  findCheckpoint,
  type ModelProfile,
  profiles,
  type Quantity,
} from "../models/index.js";
import { type Labels, readLabels } from "./labels.js";
import { ntkFactor, ropeTheta } from "./rope.js";

export interface CheckpointConfig {
  readonly profile: ModelProfile;
  readonly checkpoint: CheckpointProfile;
  /** `architectures[0]`. */
  readonly name: string;
  readonly activation: Activation;
  readonly quantities: ReadonlyMap<Quantity, number>;
  readonly padTokenId: number;
  /** Of a classifier. */
  readonly labels: Labels | undefined;
  /** false: a language-model head of its own scores. */
  readonly tiedEmbeddings: boolean;
  /** `reranker_max_length`, our own key: tokens a pair is cut to unless told otherwise. The reference cuts every model to 512. */
  readonly maxLength: number | undefined;
  readonly json: JsonObject;
}

// Far above any model of these architectures; they keep a hostile config from sizing loops and arrays.
const LIMITS: Readonly<Partial<Record<Quantity, number>>> = {
  n_layer: 1024,
  n_embd: 1 << 20,
  n_ff: 1 << 22,
  n_vocab: 1 << 24,
  n_head: 4096,
  n_head_kv: 4096,
  n_embd_head: 1 << 16,
  n_position: 1 << 24,
  n_ctx_train: 1 << 30,
  n_token_type: 1024,
  n_embd_table: 1 << 20,
  n_label: 1024,
  sliding_window: 1 << 30,
  start_layer: 1024,
  layer_step: 1024,
};

export function readConfig(json: JsonObject): CheckpointConfig {
  const { profile, checkpoint, name } = checkpointOf(json);
  throwIfUnsupported(json, checkpoint);
  // Without reserved positions padding is the tokenizer's business alone, and null is a value.
  const padTokenId = checkpoint.reservedPositions === "none" ? 0 : wholeNumber(json, "pad_token_id", 1 << 24, 1);
  const isClassifier = !checkpoint.modules && Object.values(checkpoint.tensors).some(({ name }) => name === "cls.output.weight");
  const labels = isClassifier ? readLabels(json) : undefined;
  const quantities = new Map<Quantity, number>();
  for (const [quantity, source] of Object.entries(checkpoint.fields) as [Quantity, ConfigField][]) {
    if (source.zeroIsNone && json[source.field] === 0) continue;
    if (source.derived && (json[source.field] ?? null) === null) continue;
    const isTheta = source.rope !== undefined && source.rope !== "ntk";
    quantities.set(quantity, isTheta ? ropeTheta(json, source) : fieldValue(json, quantity, source, quantities));
  }
  if (labels) quantities.set("n_label", labels.count);
  derive(quantities, json, checkpoint, padTokenId);
  return {
    profile,
    checkpoint,
    name,
    activation: activationOf(json, checkpoint),
    quantities,
    padTokenId,
    labels,
    tiedEmbeddings: tiedEmbeddings(json, checkpoint),
    maxLength: json.reranker_max_length === undefined ? undefined : wholeNumber(json, "reranker_max_length", 1 << 24, undefined, 1),
    json,
  };
}

/** The field, or what stands for an absent one in transformers. null is absent for nobody but those who say so. */
function fieldValue(json: JsonObject, quantity: Quantity, source: ConfigField, known: ReadonlyMap<Quantity, number>): number {
  const stand = (value: ConfigField["otherwise"]) => (typeof value === "string" ? known.get(value) : value);
  const { field } = source;
  if (json[field] === null && source.orNull !== undefined) return stand(source.orNull) ?? 0;
  if (json[field] === null)
    throw new RerankerError("CONVERT_FAILED", `\`${field}\` in config.json is null, which transformers does not take either.`);
  const otherwise = stand(source.otherwise);
  const limit = LIMITS[quantity];
  return limit ? wholeNumber(json, field, limit, otherwise, 1) : realNumber(json, field, otherwise);
}

function tiedEmbeddings(json: JsonObject, { tied }: CheckpointProfile): boolean {
  const value = json["tie_word_embeddings"];
  if (value === undefined) return tied?.otherwise ?? true;
  if (typeof value === "boolean" || value === null) return value === true;
  throw new RerankerError("CONVERT_FAILED", `\`tie_word_embeddings\` in config.json is ${JSON.stringify(value)}; it is true or false.`);
}

export function quantity(config: CheckpointConfig, name: Quantity): number {
  const value = config.quantities.get(name);
  if (value === undefined) throw new RerankerError("CONVERT_FAILED", `config.json of ${config.name} does not say ${name}.`);
  return value;
}

function checkpointOf(json: JsonObject): Pick<CheckpointConfig, "profile" | "checkpoint" | "name"> {
  const architectures = json.architectures;
  const name: unknown = Array.isArray(architectures) ? architectures[0] : undefined;
  const known = profiles.flatMap((profile) => profile.checkpoints.flatMap((checkpoint) => checkpoint.names));
  if (typeof name !== "string") {
    throw new RerankerError("CONVERT_FAILED", `\`architectures\` in config.json is missing; it must name one of ${known.join(", ")}.`);
  }
  const found = findCheckpoint(name);
  if (found) return { ...found, name };
  const headless = /^(XLMRoberta|Roberta|Bert|Gemma2?|MiniCPM)(Model|ForMaskedLM)$/.test(name);
  const code = isObject(json.auto_map) ? " Its code is part of the repository (`auto_map`), which is not run here." : "";
  const why = headless
    ? "is a model without a score head, such as an embedding model; a reranker's config.json names a ...ForSequenceClassification or ...ForCausalLM class"
    : "is not supported";
  throw new RerankerError("CONVERT_FAILED", `Architecture ${JSON.stringify(name)} ${why}.${code} Supported: ${known.join(", ")}.`);
}

function throwIfUnsupported(json: JsonObject, checkpoint: CheckpointProfile): void {
  if (isObject(json.quantization_config)) {
    throw new RerankerError(
      "CONVERT_FAILED",
      "The checkpoint is quantised already (`quantization_config`); convert the original F32, F16 or BF16 weights.",
    );
  }
  for (const { field, values, advice } of checkpoint.requires) {
    const value = Object.hasOwn(json, field) ? json[field] : undefined;
    if (!values.some((legal) => isLegal(legal, value, layerCount(json, checkpoint)))) {
      throw new RerankerError("CONVERT_FAILED", `\`${field}\` in config.json is ${JSON.stringify(value) ?? "missing"}. ${advice}`);
    }
  }
  throwIfChanged(json, checkpoint);
}

function layerCount(json: JsonObject, { fields: { n_layer } }: CheckpointProfile): unknown {
  const value = n_layer && json[n_layer.field];
  return value === undefined ? n_layer?.otherwise : value;
}

function isLegal(legal: unknown, value: unknown, layers: unknown): boolean {
  if (isObject(legal)) {
    const items = legal["repeats"] as readonly string[];
    // A number of layers that is none is refused where it is read.
    const isWhole = (list: readonly unknown[]) => typeof layers !== "number" || list.length === layers;
    return Array.isArray(value) && isWhole(value) && value.every((item, i) => item === items[i % items.length]);
  }
  if (!Array.isArray(legal) || !Array.isArray(value)) return legal === value;
  return legal.length === value.length && legal.every((item) => value.includes(item));
}

/** What changes any model of transformers, whatever its class. */
function throwIfChanged(json: JsonObject, { modelTypes }: CheckpointProfile): void {
  const type = json["model_type"];
  if (type !== undefined && modelTypes && !modelTypes.some((known) => known === type)) {
    throw new RerankerError(
      "CONVERT_FAILED",
      `\`model_type\` in config.json is ${JSON.stringify(type)}, and \`architectures\` names a class of ${modelTypes.join(" or ")}: transformers goes by the former, so that the weights would not fit.`,
    );
  }
  const pruned = json["pruned_heads"];
  if (isObject(pruned) && Object.keys(pruned).length > 0)
    throw new RerankerError("CONVERT_FAILED", "Heads were pruned from the model (`pruned_heads` in config.json), which is not supported.");
  if (json["is_encoder_decoder"] === true)
    throw new RerankerError("CONVERT_FAILED", "`is_encoder_decoder` in config.json is true, which no model of this class is.");
}

function activationOf(json: JsonObject, { activation }: CheckpointProfile): Activation {
  const value = json[activation.field] === undefined ? activation.otherwise : json[activation.field];
  if (typeof value === "string" && Object.hasOwn(activation.names, value)) return activation.names[value] as Activation;
  throw new RerankerError(
    "CONVERT_FAILED",
    `\`${activation.field}\` in config.json is ${JSON.stringify(value)}; supported: ${Object.keys(activation.names).join(", ")}.`,
  );
}

/** Fills in what follows from the fields read, and checks that they fit together. */
function derive(quantities: Map<Quantity, number>, json: JsonObject, checkpoint: CheckpointProfile, padTokenId: number): void {
  const get = (name: Quantity) => quantities.get(name) ?? 0;
  const setMissing = (name: Quantity, value: number) => {
    if (!quantities.has(name)) quantities.set(name, value);
  };
  setMissing("n_head_kv", get("n_head"));
  if (get("n_head") % get("n_head_kv") !== 0) throw inconsistent("`num_attention_heads` is no multiple of `num_key_value_heads`");
  if (!quantities.has("n_embd_head") && get("n_embd") % get("n_head") !== 0) {
    throw inconsistent("`hidden_size` is no multiple of `num_attention_heads`");
  }
  setMissing("n_embd_head", get("n_embd") / get("n_head"));
  if (checkpoint.fields.rope_theta && get("n_embd_head") % 2 !== 0)
    throw inconsistent("the head size is odd, which rotary positions cannot have");
  quantities.set("n_embd_q", get("n_head") * get("n_embd_head"));
  quantities.set("n_embd_kv", get("n_head_kv") * get("n_embd_head"));
  quantities.set("n_embd_qkv", get("n_embd_q") + 2 * get("n_embd_kv"));
  quantities.set("n_ff_gated", 2 * get("n_ff"));
  if (quantities.has("n_position")) {
    const used = get("n_position") - (checkpoint.reservedPositions === "none" ? 0 : padTokenId + 1);
    if (used < 1) throw inconsistent("`max_position_embeddings` leaves no position for a token");
    quantities.set("n_ctx_train", used);
  }
  deriveScales(quantities, json, checkpoint);
  deriveHeads(quantities, json);
  if (checkpoint.fields.rope_theta?.rope === "ntk") scaleByNtk(quantities, json);
  else quantities.set("rope_factor", 1);
  if (checkpoint.metadata.some(([, , value]) => value === "max_distance")) deriveDistances(quantities, json);
}

/** NTK interpolation, whatever the length: another base, and every frequency divided. Source: text-embeddings-inference gte.rs. */
function scaleByNtk(quantities: Map<Quantity, number>, json: JsonObject): void {
  const factor = ntkFactor(json);
  quantities.set("rope_theta", (quantities.get("rope_theta") ?? 1) * factor);
  quantities.set("rope_factor", factor ** (2 / (quantities.get("n_embd_head") ?? 1)));
}

/** Source: transformers modeling_deberta_v2.py, DebertaV2Encoder. */
function deriveDistances(quantities: Map<Quantity, number>, json: JsonObject): void {
  const given = (field: string) => (json[field] === undefined || json[field] === -1 ? 0 : wholeNumber(json, field, 1 << 20));
  const maxDistance = given("max_relative_positions") || (quantities.get("n_ctx_train") ?? 0);
  const buckets = given("position_buckets");
  quantities.set("max_distance", maxDistance);
  quantities.set("position_buckets", buckets);
  quantities.set("n_distance", 2 * (buckets || maxDistance));
}

function deriveScales(quantities: Map<Quantity, number>, json: JsonObject, checkpoint: CheckpointProfile): void {
  const uses = (name: Quantity) => checkpoint.metadata.some(([, , value]) => value === name);
  const n_layer = quantities.get("n_layer") ?? 1;
  if (uses("residual_scale")) quantities.set("residual_scale", realNumber(json, "scale_depth", 1) / Math.sqrt(n_layer));
  if (uses("logit_scale")) quantities.set("logit_scale", (quantities.get("n_embd") ?? 1) / realNumber(json, "dim_model_base", 1));
  // gemma-2-9b was published with 224 first and 256 later, so there is no safe default.
  if (uses("attention_scale")) quantities.set("attention_scale", realNumber(json, "query_pre_attn_scalar") ** -0.5);
}

function deriveHeads(quantities: Map<Quantity, number>, json: JsonObject): void {
  const start = quantities.get("start_layer");
  if (start === undefined) return;
  const last = quantities.get("n_layer") ?? 0;
  const step = quantities.get("layer_step") ?? 1;
  quantities.set("layer_step", step);
  if (start > last) throw inconsistent(`\`start_layer\` is ${start}, but the model has ${last} layers`);
  quantities.set("n_score_head", json.head_multi === false ? 1 : Math.floor((last - start) / step) + 1);
}

function wholeNumber(json: JsonObject, field: string, limit: number, otherwise?: number, least = 0): number {
  const value = json[field] === undefined ? otherwise : json[field];
  if (Number.isInteger(value) && (value as number) >= least && (value as number) <= limit) return value as number;
  throw new RerankerError(
    "CONVERT_FAILED",
    `\`${field}\` in config.json must be an integer from ${least} to ${limit}, got ${JSON.stringify(value) ?? "nothing"}.`,
  );
}

function realNumber(json: JsonObject, field: string, otherwise?: number): number {
  const value = json[field] === undefined ? otherwise : json[field];
  if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
  throw new RerankerError(
    "CONVERT_FAILED",
    `\`${field}\` in config.json must be a positive number, got ${JSON.stringify(value) ?? "nothing"}.`,
  );
}

function inconsistent(problem: string): RerankerError {
  return new RerankerError("CONVERT_FAILED", `config.json contradicts itself: ${problem}.`);
}

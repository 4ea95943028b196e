// A LoRA adapter folder of the peft library, merged into the weights while they are converted: W + (alpha / r) B A in float32.
import { join } from "node:path";
import type { NativeAddon } from "../addon/native.js";
import { RerankerError } from "../errors.js";
import { type JsonObject, readJsonObject } from "../files/json.js";
import type { RowEdit } from "./row-stream.js";
import { readSafetensorsFolder, type SafeTensor } from "./safetensors.js";

export interface LoraAdapter {
  readonly rank: number;
  /** Names of the checkpoint's tensors that it changes. */
  readonly targets: readonly string[];
  /** Throws when the adapter changes a tensor that the model does not have, or one of another shape. */
  check(shapeOf: (name: string) => readonly number[] | undefined): void;
  /** Whether the tensor was trained whole (`modules_to_save`) and takes the place of the model's own. */
  replaces(name: string): boolean;
  /** @throws {RerankerError} `CONVERT_FAILED` with the reason when the adapter changes that tensor. */
  throwIfChanged(name: string, why: string): void;
  /** Two names of one tensor: changes of either go to both, as peft merges them into what a model has tied. */
  tie(name: string, other: string): void;
  /** Loads what is needed to change one tensor; undefined when the adapter leaves it alone. */
  editOf(name: string, addon: NativeAddon): Promise<RowEdit | undefined>;
}

interface Update {
  a?: SafeTensor;
  b?: SafeTensor;
  /** The two are of an embedding table, which peft stores transposed. */
  table?: true;
  /** The model's own tensor, saved with the adapter because its table had grown. */
  base?: SafeTensor;
  /** A tensor trained whole (`modules_to_save`): it takes the place of the model's own. */
  whole?: SafeTensor;
}

// Other settings of peft that change the arithmetic; with one of them on, W + (alpha / r) B A is wrong.
const REFUSED_SETTINGS = {
  use_dora: "DoRA scales whole columns",
  use_qalora: "QA-LoRA groups inputs",
  alpha_pattern: "scales that differ by layer are not supported",
  layer_replication: "repeated layers are not supported",
  megatron_config: "Megatron layers are not supported",
  trainable_token_indices: "trained token embeddings are not supported",
  target_parameters: "adapters on bare parameters are not supported",
  lora_bias: "biases on LoRA layers are not supported",
} as const;

/** Initialisations that also change the base model, so that the published base no longer fits the adapter. */
const BASE_CHANGING_INIT = /^(pissa|olora|corda|loftq)/i;

export async function readLora(folder: string): Promise<LoraAdapter> {
  const config = await readJsonObject(join(folder, "adapter_config.json"));
  if (!config)
    throw new RerankerError("CONVERT_FAILED", `\`${folder}\` has no adapter_config.json; give the folder of a peft LoRA adapter.`);
  throwIfUnsupported(config);
  const rank = positive(config, "r");
  const alpha = positive(config, "lora_alpha");
  const ranksDiffer = isSet(config.rank_pattern);
  const { tensors } = await readSafetensorsFolder(folder, "adapter_model");
  const updates = collect(tensors);
  for (const [name, update] of updates) checkPair(name, update, ranksDiffer ? undefined : rank);
  const scale = (r: number) => alpha / (config.use_rslora === true ? Math.sqrt(r) : r);

  const ties = new Map<string, string>();
  const editsOf = async (update: Update, addon: NativeAddon, isFirst: boolean): Promise<RowEdit[]> => {
    const whole = isFirst ? (update.whole ?? update.base) : undefined; // of tied tensors one base is enough
    const edits = whole ? [replacement(await floats(whole, addon))] : [];
    if (!update.a || !update.b) return edits;
    const { rows, columns, r } = await factors(update.a, update.b, update.table === true, addon);
    return [...edits, addProduct(rows, columns, r, scale(r))];
  };

  return {
    rank,
    targets: [...updates.keys()],
    check(shapeOf) {
      for (const [name, update] of updates) checkFit(name, update, shapeOf(name));
    },
    replaces: (name) => updates.get(name)?.whole !== undefined,
    throwIfChanged(name, why) {
      if (updates.has(name)) throw unsupported(`it changes \`${name}\` although ${why}`);
    },
    tie(name, other) {
      ties.set(name, other);
    },
    async editOf(name, addon) {
      const names = [name, ...(ties.has(name) ? [ties.get(name) as string] : [])];
      const found = names.map((each) => updates.get(each)).filter((update) => update !== undefined);
      const edits: RowEdit[] = [];
      for (const [i, update] of found.entries()) edits.push(...(await editsOf(update, addon, i === 0)));
      if (edits.length === 0) return undefined;
      return (values, firstRow, columns) => {
        for (const edit of edits) edit(values, firstRow, columns);
      };
    },
  };
}

/** W += scale * rows columns, where `rows` has a row for each of W's. */
async function factors(a: SafeTensor, b: SafeTensor, table: boolean, addon: NativeAddon) {
  const r = a.shape[0] ?? 0;
  const [first, second] = [await floats(a, addon), await floats(b, addon)];
  // Of a table: A is [r, tokens], B [width, r], and W grows by their product transposed.
  return table ? { rows: transposed(first, r), columns: transposed(second, second.length / r), r } : { rows: second, columns: first, r };
}

function transposed(values: Float32Array, rows: number): Float32Array {
  const columns = values.length / rows;
  const result = new Float32Array(values.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) result[j * rows + i] = values[i * columns + j] as number;
  return result;
}

function throwIfUnsupported(config: JsonObject): void {
  if (config.peft_type !== "LORA") throw unsupported(`its \`peft_type\` is ${JSON.stringify(config.peft_type)}; LORA can be merged`);
  for (const [field, why] of Object.entries(REFUSED_SETTINGS)) {
    if (isSet(config[field])) throw unsupported(`\`${field}\` is ${JSON.stringify(config[field])}: ${why}`);
  }
  if (config.fan_in_fan_out === true)
    throw unsupported("`fan_in_fan_out` is true, which none of our architectures has (its layers are all nn.Linear)");
  if (config.bias !== undefined && config.bias !== "none")
    throw unsupported(`\`bias\` is ${JSON.stringify(config.bias)}; only "none" can be merged`);
  const init = config.init_lora_weights;
  if (typeof init === "string" && BASE_CHANGING_INIT.test(init)) {
    throw unsupported(
      `\`init_lora_weights\` is "${init}", which changed the base model too; convert it to plain LoRA when saving (peft: \`path_initial_model_for_weight_conversion\`)`,
    );
  }
}

/** On, in the sense of peft's config: absent, null, false and empty all mean off. */
function isSet(value: unknown): boolean {
  if (typeof value === "object" && value !== null) return Object.keys(value).length > 0;
  return value !== undefined && value !== null && value !== false;
}

/** `base_model.model.<name>.lora_A.weight` and its partner, by `<name>.weight`; of a table `<name>.lora_embedding_A`. */
function collect(tensors: ReadonlyMap<string, SafeTensor>): Map<string, Update> {
  const updates = new Map<string, Update>();
  for (const [key, tensor] of tensors) {
    const name = key.replace(/^base_model\.model\./, "");
    const linear = /^(.+)\.lora_([AB])(?:\.default)?\.weight$/.exec(name);
    const match = linear ?? /^(.+)\.lora_embedding_([AB])(?:\.default)?$/.exec(name);
    if (!match && /lora_|original_module/.test(name))
      throw unsupported(`tensor \`${key}\` is not understood; adapters on linear layers and tables can be merged`);
    const isBase = /\.base_layer\.weight$/.test(name);
    const plain = name.replace(/\.modules_to_save(\.default)?\./, ".").replace(/\.base_layer\./, ".");
    const target = match ? `${match[1]}.weight` : plain;
    const update = updates.get(target) ?? {};
    const part = match ? (match[2] === "A" ? "a" : "b") : isBase ? "base" : "whole";
    if (update[part]) throw unsupported(`tensor \`${key}\` is there twice`);
    update[part] = tensor;
    if (match && !linear) update.table = true;
    updates.set(target, update);
  }
  if (updates.size === 0) throw unsupported("it holds no tensors");
  return updates;
}

function checkPair(name: string, { a, b, whole, base }: Update, rank: number | undefined): void {
  if (whole) {
    if (a || b || base) throw unsupported(`\`${name}\` is both adapted and saved whole`);
    return;
  }
  if (!a || !b) throw unsupported(`\`${name}\` has only one of lora_A and lora_B`);
  if (a.shape.length !== 2 || b.shape.length !== 2 || a.shape[0] !== b.shape[1] || a.shape[0] === 0) {
    throw unsupported(`lora_A [${a.shape}] and lora_B [${b.shape}] of \`${name}\` do not fit together`);
  }
  if (rank !== undefined && a.shape[0] !== rank)
    throw unsupported(`lora_A of \`${name}\` has rank ${a.shape[0]}, adapter_config.json says ${rank}`);
}

function checkFit(name: string, { a, b, whole, base, table }: Update, shape: readonly number[] | undefined): void {
  if (!shape) {
    throw unsupported(
      `it changes \`${name}\`, which this model does not have. Was it trained on another model, or on a module that the reranker does not use?`,
    );
  }
  const stored = whole ?? base;
  if (stored) checkShape(name, stored.shape, shape);
  if (a && b) checkShape(name, table ? [a.shape[1], b.shape[0]] : [b.shape[0], a.shape[1]], shape);
}

function checkShape(name: string, wanted: readonly (number | undefined)[], shape: readonly number[]): void {
  if (wanted.length !== shape.length || wanted.some((n, i) => n !== shape[i])) {
    throw unsupported(`its update of \`${name}\` is [${wanted.join(", ")}], the model's tensor [${shape.join(", ")}]`);
  }
}

async function floats(tensor: SafeTensor, addon: NativeAddon): Promise<Float32Array> {
  if (!["F32", "F16", "BF16"].includes(tensor.dtype))
    throw unsupported(`tensor \`${tensor.name}\` has type ${tensor.dtype}; F32, F16 and BF16 can be merged`);
  const reader = await tensor.file.open();
  try {
    const bytes = await reader.read(tensor.sizeBytes, tensor.offset);
    const converted = await addon.convertRows(bytes, tensor.dtype, "F32", tensor.shape.at(-1) ?? 1);
    return new Float32Array(new Uint8Array(converted).buffer);
  } finally {
    await reader.close();
  }
}

/** values += scale * B A, for the rows of B that belong to them. */
function addProduct(b: Float32Array, a: Float32Array, rank: number, scale: number): RowEdit {
  return (values, firstRow, columns) => {
    const delta = new Float64Array(columns);
    for (let row = 0; row * columns < values.length; row++) {
      delta.fill(0);
      for (let r = 0; r < rank; r++) {
        const factor = b[(firstRow + row) * rank + r] as number;
        for (let c = 0; c < columns; c++) delta[c] = (delta[c] as number) + factor * (a[r * columns + c] as number);
      }
      const at = row * columns;
      for (let c = 0; c < columns; c++) values[at + c] = (values[at + c] as number) + scale * (delta[c] as number);
    }
  };
}

function replacement(weights: Float32Array): RowEdit {
  return (values, firstRow, columns) => values.set(weights.subarray(firstRow * columns, firstRow * columns + values.length));
}

function positive(config: JsonObject, field: string): number {
  const value = config[field];
  if (typeof value === "number" && Number.isFinite(value) && value > 0) return value;
  throw unsupported(`\`${field}\` in adapter_config.json must be a positive number, got ${JSON.stringify(value) ?? "nothing"}`);
}

function unsupported(problem: string): RerankerError {
  return new RerankerError("CONVERT_FAILED", `This LoRA adapter cannot be merged: ${problem}.`);
}

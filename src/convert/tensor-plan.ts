// Accounts for every tensor of a checkpoint: mapped to a GGUF tensor, or dropped by name. Anything else is an error.

import type { TensorType } from "../addon/native.js";
import { RerankerError } from "../errors.js";
import type { Quantity, TensorRule, Transform } from "../models/index.js";
import { type CheckpointConfig, quantity } from "./config.js";
import type { SafeTensor } from "./safetensors.js";

/** Whole rows of a source tensor that become rows of the target, from `targetRow` on. */
export interface PlannedPart {
  readonly source: SafeTensor;
  readonly sourceType: TensorType;
  readonly firstRow: number;
  readonly rows: number;
  readonly targetRow: number;
  /** Name under which a LoRA adapter changes it, where that is not the source's; null: it leaves it alone. */
  readonly adaptedAs?: string | null;
}

export interface PlannedTensor {
  /** GGUF name. */
  readonly name: string;
  /** ggml order, fastest dimension first. */
  readonly shape: readonly number[];
  /** Elements of a row, which is what types are converted by. */
  readonly columns: number;
  readonly transform: Transform | undefined;
  readonly parts: readonly PlannedPart[];
}

export interface TensorPlan {
  readonly tensors: readonly PlannedTensor[];
  readonly dropped: readonly { readonly tensor: string; readonly reason: string }[];
}

/** Where the rows of a head come from that is not the embedding table. */
export interface OwnHead {
  readonly source: SafeTensor;
  /** Name under which an adapter changes it, where that is not its own; null: it does not. */
  readonly adaptedAs?: string | null;
}

const SOURCE_TYPES: Readonly<Record<string, TensorType>> = { F32: "F32", F16: "F16", BF16: "BF16" };

export function planTensors(config: CheckpointConfig, source: ReadonlyMap<string, SafeTensor>): TensorPlan {
  const available = renamed(config, source);
  const tensors: PlannedTensor[] = [];
  for (const [pattern, rule] of Object.entries(config.checkpoint.tensors)) {
    if (!belongs(config, rule)) continue;
    for (const layer of indices(pattern, "{i}", quantity(config, "n_layer"))) {
      if (layer < (rule.firstLayer ?? 0)) continue;
      tensors.push(
        planTensor(config, available, pattern.replace("{i}", `${layer}`), { ...rule, name: rule.name.replace("{i}", `${layer}`) }),
      );
    }
  }
  const dropped = dropRest(config, available, new Set(tensors.flatMap((tensor) => tensor.parts.map((part) => part.source))));
  return { tensors: tensors.sort(byLayer), dropped };
}

/** Whether the checkpoint has the rule's tensor. */
function belongs({ json, quantities }: CheckpointConfig, { when }: TensorRule): boolean {
  if (when === undefined) return true;
  if ("exists" in when) return quantities.has(when.exists);
  if ("differ" in when) return quantities.get(when.differ[0]) !== quantities.get(when.differ[1]);
  return (json[when.field] ?? when.otherwise) === when.value;
}

/** Tensors in the order a model runs: tables first, then layer by layer, then the heads. */
function byLayer(a: PlannedTensor, b: PlannedTensor): number {
  const place = ({ name }: PlannedTensor) => {
    const layer = /^blk\.(\d+)\./.exec(name);
    return layer ? Number(layer[1]) : /^(token|position|relative)/.test(name) ? -1 : Number.MAX_SAFE_INTEGER;
  };
  return place(a) - place(b);
}

function planTensor(
  config: CheckpointConfig,
  available: ReadonlyMap<string, SafeTensor>,
  pattern: string,
  rule: TensorRule,
): PlannedTensor {
  const shape = rule.shape.map((dimension) => (dimension === 1 ? 1 : quantity(config, dimension)));
  const columns = shape.at(-1) ?? 1;
  const sourceRows = shape.length > 1 ? (shape[0] ?? 1) : 1;
  if (rule.transform === "label-difference") return planScore(config, take(config, available, pattern, shape, rule.shape), rule);
  const firstRow = rule.transform === "drop-reserved-positions" ? reservedPositions(config) : 0;
  const rows = sourceRows - firstRow;
  const names = indices(pattern, "{h}", config.quantities.get("n_score_head") ?? 1).map((head) => pattern.replace("{h}", `${head}`));
  const parts = names.map((name, i) => {
    const tensor = take(config, available, name, shape, rule.shape);
    return { source: tensor, sourceType: sourceType(tensor), firstRow, rows, targetRow: i * rows };
  });
  return {
    name: rule.name,
    shape: shape.length > 1 ? [columns, rows * parts.length] : [columns],
    columns,
    transform: rule.transform,
    parts,
  };
}

/** One row of outputs: the only one, or that of "relevant", from which the other is taken. */
function planScore({ labels }: CheckpointConfig, source: SafeTensor, rule: TensorRule): PlannedTensor {
  const isMatrix = source.shape.length > 1;
  const columns = isMatrix ? (source.shape[1] ?? 1) : 1;
  const firstRow = labels?.count === 2 ? labels.relevant : 0;
  return {
    name: rule.name,
    shape: isMatrix ? [columns, 1] : [1],
    columns,
    transform: labels?.count === 2 ? rule.transform : undefined,
    parts: [{ source, sourceType: sourceType(source), firstRow, rows: 1, targetRow: 0 }],
  };
}

/** The rows of scored tokens as a tensor of their own. */
export function withHead(plan: TensorPlan, head: OwnHead, name: string, tokenIds: readonly number[]): TensorPlan {
  const { source, adaptedAs } = head;
  const columns = source.shape.at(-1) ?? 1;
  const n_rows = source.shape[0] ?? 0;
  const beyond = tokenIds.find((id) => id >= n_rows);
  if (beyond !== undefined)
    throw new RerankerError(
      "CONVERT_FAILED",
      `The scored token ${beyond} is beyond the ${n_rows} rows of \`${source.name}\`: the tokenizer belongs to another model.`,
    );
  const part = { source, sourceType: sourceType(source), rows: 1, ...(adaptedAs === undefined ? {} : { adaptedAs }) };
  const parts = tokenIds.map((id, i) => ({ ...part, firstRow: id, targetRow: i }));
  return {
    tensors: [...plan.tensors, { name, shape: [columns, parts.length], columns, transform: undefined, parts }],
    dropped: plan.dropped.filter(({ tensor }) => tensor !== source.name),
  };
}

/** Rows of the position table before the first token's. */
export function reservedPositions(config: CheckpointConfig): number {
  return config.checkpoint.reservedPositions === "none" ? 0 : config.padTokenId + 1;
}

function take(
  config: CheckpointConfig,
  available: ReadonlyMap<string, SafeTensor>,
  name: string,
  shape: readonly number[],
  dimensions: readonly (Quantity | 1)[],
): SafeTensor {
  const tensor = available.get(name);
  if (!tensor) throw new RerankerError("CONVERT_FAILED", missing(config, available, name));
  const same = tensor.shape.length === shape.length && tensor.shape.every((n, i) => n === shape[i]);
  if (same) return tensor;
  throw new RerankerError(
    "CONVERT_FAILED",
    `Tensor \`${name}\` has shape [${tensor.shape.join(", ")}], but config.json says [${shape.join(", ")}] (${dimensions.join(" x ")}). ` +
      "The weights and config.json belong to different models.",
  );
}

function missing(config: CheckpointConfig, available: ReadonlyMap<string, SafeTensor>, name: string): string {
  const head = /^(classifier|lm_head)\.|pooler/.test(name);
  const adapter = [...available.keys()].some((key) => key.includes(".lora_"));
  if (adapter) return `Tensor \`${name}\` is missing and there are LoRA tensors: give the base model's folder, and this one as \`lora\`.`;
  if (head)
    return `Tensor \`${name}\` of the score head is missing: this ${config.name} is no trained reranker, or its conversion to safetensors dropped the head.`;
  return `Tensor \`${name}\` is missing; ${config.name} needs it. The checkpoint is incomplete or config.json belongs to another model.`;
}

function sourceType(tensor: SafeTensor): TensorType {
  const type = SOURCE_TYPES[tensor.dtype];
  if (type) return type;
  throw new RerankerError(
    "CONVERT_FAILED",
    `Tensor \`${tensor.name}\` has type ${tensor.dtype}; F32, F16 and BF16 weights can be converted.`,
  );
}

function dropRest(
  config: CheckpointConfig,
  available: ReadonlyMap<string, SafeTensor>,
  used: ReadonlySet<SafeTensor>,
): TensorPlan["dropped"] {
  // Without a prototype, so that a tensor called "constructor" is not found.
  const reasons: Readonly<Record<string, string>> = Object.assign(Object.create(null), config.checkpoint.dropped);
  const dropped: { tensor: string; reason: string }[] = [];
  for (const [name, tensor] of available) {
    if (used.has(tensor)) continue;
    const reason = reasons[name] ?? reasons[name.replace(/\.\d+\./, ".{i}.")];
    if (reason === undefined) throw new RerankerError("CONVERT_FAILED", unknown(config, name));
    dropped.push({ tensor: tensor.name, reason });
  }
  return dropped;
}

function unknown(config: CheckpointConfig, name: string): string {
  return `Tensor \`${name}\` has no place in ${config.name} as config.json describes it, and leaving it out would change scores. Check that config.json belongs to these weights.`;
}

function renamed(config: CheckpointConfig, source: ReadonlyMap<string, SafeTensor>): Map<string, SafeTensor> {
  const renames = Object.entries(config.checkpoint.renames ?? {});
  const prefixes = Object.entries(config.checkpoint.prefixes ?? {});
  const result = new Map<string, SafeTensor>();
  for (const [name, tensor] of source) {
    const rename = renames.find(([ending]) => name.endsWith(ending));
    const ended = rename ? name.slice(0, -rename[0].length) + rename[1] : name;
    const prefix = prefixes.find(([beginning]) => ended.startsWith(beginning));
    const today = prefix ? prefix[1] + ended.slice(prefix[0].length) : ended;
    if (result.has(today)) throw new RerankerError("CONVERT_FAILED", `Tensor \`${today}\` is there under two names.`);
    result.set(today, tensor);
  }
  return result;
}

function indices(pattern: string, mark: string, count: number): number[] {
  return pattern.includes(mark) ? Array.from({ length: count }, (_, i) => i) : [0];
}

// What a GGUF says of the reranker in it: class, layout, score head, defaults. Refuses what cannot be scored right.

import type { GgufHeader, GgufValue, InputLayout } from "../addon/native.js";
import { RerankerError, shown } from "../errors.js";
import {
  type ChatTemplate,
  type ClassOption,
  findForm,
  findProfile,
  type ModelProfile,
  type PairLayout,
  profiles,
  type RerankClass,
  type RerankerForm,
  type ScoreHead,
  type TokenRole,
  type Truncation,
} from "../models/index.js";
import { foreignForm } from "./foreign.js";

export interface ModelFacts {
  /** Such as `bge-reranker-v2-m3`; null when the file does not say. */
  readonly name: string | null;
  readonly architecture: string;
  readonly class: RerankClass;
  /** How a language model is used: `qwen3-reranker`, `zerank`, `mxbai-v2`, `flag-llm`; null for the others. */
  readonly form: string | null;
  /** Options of this class that others lack. */
  readonly options: readonly ClassOption[];
  readonly layerCount: number;
  readonly hiddenSize: number;
  readonly feedForwardSize: number;
  readonly headCount: number;
  /** Units of a token's queries and of its keys in one layer, which may be more or fewer than `hiddenSize`. */
  readonly querySize: number;
  readonly keySize: number;
  /** Tokens the model was made for. */
  readonly contextLength: number;
  /** Most tokens one pair may have, where positions are a table; null where they are computed. */
  readonly positions: number | null;
  /** Legal cutoff layers, ascending; empty for classes without cutoffs. */
  readonly cutoffLayers: readonly number[];
  readonly headSelection: "rank" | "layer";
  /** Rows of the head matrix; 0 for other score heads. */
  readonly scoreHeadCount: number;
  /** Vocabulary id whose logit is the score, else -1. */
  readonly tokenId: number;
  /** The score is this sum of the logits of the rows of `cls.output.weight`; empty for other score heads. */
  readonly labelWeights: readonly number[];
  readonly layout: InputLayout;
  /** What a pair is made of, for models with a chat template. */
  readonly template: ChatTemplate | null;
  /** Whether texts lose the white space at their ends before they are laid out. */
  readonly stripsTexts: boolean;
  /** What stands around an instruction before the query, for models that take one there. */
  readonly instructionFormat: readonly [before: string, after: string] | null;
  readonly defaults: {
    readonly queryInstruction: string | null;
    readonly documentInstruction: string | null;
    readonly separator: string;
    readonly prompt: string | null;
    /** Of models with the option `instruction`. */
    readonly instruction: string | null;
    readonly maxLength: number;
    readonly truncation: Truncation;
    /** Where texts that are too long are cut: `left` keeps their end. */
    readonly truncationSide: "left" | "right";
    readonly batchSize: number;
    readonly attentionSoftcap: boolean;
    /** Whether special tokens spelled in a text are parsed. */
    readonly parseSpecialTokens: boolean;
  };
  /** Ids the converter found for separator and prompt, to check the tokenizer with; null when the file has none. */
  readonly separatorIds: readonly number[] | null;
  readonly promptIds: readonly number[] | null;
  /** The same for what stands in the place of bos, and for the template around two empty texts. */
  readonly prefixIds: readonly number[] | null;
  readonly templateIds: readonly number[] | null;
  readonly compress: { readonly ratios: readonly number[]; readonly layers: readonly number[] } | null;
  /** Tensors by type. */
  readonly tensorTypes: Readonly<Record<string, number>>;
  readonly sizeBytes: number;
}

/** false: the document has token type 0, though the layout has another. */
export const TOKEN_TYPES_KEY = "reranker.token_types";
/** `left`: texts that are too long lose their beginning. */
export const TRUNCATION_SIDE_KEY = "reranker.truncation_side";
/** false: special tokens spelled in a text are text, unless a call says otherwise. */
export const PARSE_SPECIAL_KEY = "reranker.parse_special_tokens";

// Far above any model; a file that says more is damaged, and arrays of that length must not be made from it.
const MAX_LAYERS = 1024;

/** @throws {RerankerError} `MODEL_UNSUPPORTED` saying what is missing, `MODEL_INVALID` naming the damaged key. */
export function describeModel(header: GgufHeader, file: string): ModelFacts {
  const metadata = new Metadata(header, file);
  const architecture = metadata.string("general.architecture") ?? "";
  const profile = findProfile(architecture);
  if (!profile) {
    const known = profiles.map((each) => each.architecture).join(", ");
    throw unsupported(file, `its architecture is "${architecture}"; supported: ${known}`);
  }
  const form = formOf(metadata, header, profile, file);
  throwIfHeadless(header, form, file);
  const layerCount = metadata.count(`${architecture}.block_count`, MAX_LAYERS);
  const cutoffLayers = form.score.kind === "layer-head" ? legalCutoffs(metadata, layerCount) : [];
  const heads = header.tensors.find((tensor) => tensor.name === "reranker.head.weight");
  const scoreHeadCount = heads ? (heads.shape[1] ?? 1) : 0;
  if (scoreHeadCount !== 1 && scoreHeadCount < cutoffLayers.length) {
    throw metadata.invalid("reranker.head.weight", `${scoreHeadCount} heads for ${cutoffLayers.length} cutoff layers`);
  }
  const headSelection = form.score.kind === "layer-head" ? (metadata.headSelection() ?? form.score.select) : "layer";
  const template = chatTemplate(metadata, form);
  const hiddenSize = metadata.count(`${architecture}.embedding_length`);
  const headCount = metadata.count(`${architecture}.attention.head_count`);
  const headSize = metadata.optionalCount(`${architecture}.attention.key_length`) ?? hiddenSize / headCount;
  return {
    name: metadata.string("reranker.model") ?? metadata.string("general.name") ?? null,
    architecture,
    class: form.class,
    form: form.form ?? null,
    options: optionsOf(form, template),
    layerCount,
    hiddenSize,
    feedForwardSize: metadata.optionalCount(`${architecture}.feed_forward_length`) ?? 0,
    headCount,
    querySize: headCount * headSize,
    keySize: (metadata.optionalCount(`${architecture}.attention.head_count_kv`) ?? headCount) * headSize,
    contextLength: metadata.count(`${architecture}.context_length`),
    positions: header.tensors.some(({ name }) => name === "position_embd.weight") ? metadata.count(`${architecture}.context_length`) : null,
    cutoffLayers,
    headSelection,
    scoreHeadCount,
    tokenId: form.score.kind === "token-logit" ? metadata.count("reranker.token_id") : -1,
    labelWeights: form.score.kind === "labels" ? labelWeights(metadata, header, form.score) : [],
    layout: template ? { kind: "chat" } : inputLayout(metadata, form),
    template,
    stripsTexts: metadata.boolean("reranker.strips_texts") ?? (form.layout.kind === "chat" && form.layout.stripsTexts),
    instructionFormat: !template && form.layout.kind === "prompt" ? (form.layout.instruction ?? null) : null,
    defaults: {
      queryInstruction: metadata.string("reranker.query_instruction") ?? (template ? null : form.defaults.queryInstruction),
      documentInstruction: metadata.string("reranker.document_instruction") ?? (template ? null : form.defaults.documentInstruction),
      separator: metadata.string("reranker.separator") ?? (form.layout.kind === "prompt" ? form.layout.separator : ""),
      prompt: template ? null : (metadata.string("reranker.prompt") ?? form.defaults.prompt),
      instruction: metadata.string("reranker.instruction") ?? form.defaults.instruction ?? null,
      maxLength: metadata.optionalCount("reranker.max_length") || form.defaults.maxLength,
      truncation: metadata.truncation() ?? form.defaults.truncation ?? "only_second",
      truncationSide: metadata.truncationSide(),
      batchSize: form.defaults.batchSize,
      attentionSoftcap: metadata.boolean("reranker.attention.softcap") ?? false,
      parseSpecialTokens: metadata.boolean(PARSE_SPECIAL_KEY) ?? true,
    },
    separatorIds: metadata.integers("reranker.separator_ids") ?? null,
    promptIds: metadata.integers("reranker.prompt_ids") ?? null,
    prefixIds: metadata.integers("reranker.prefix_ids") ?? null,
    templateIds: metadata.integers("reranker.template_ids") ?? null,
    compress: form.options.includes("compressLayers") ? compression(metadata, profile) : null,
    tensorTypes: countTypes(header),
    sizeBytes: header.fileSizeBytes,
  };
}

function formOf(metadata: Metadata, header: GgufHeader, profile: ModelProfile, file: string): RerankerForm {
  const name = metadata.string("reranker.class");
  const called = metadata.string("reranker.form");
  const form = findForm(profile, called);
  if (!form)
    throw unsupported(
      file,
      `its form is ${shown(called)}; known for ${profile.architecture}: ${profile.forms?.map((each) => each.form).join(", ")}`,
    );
  if (name === form.class) return form;
  if (name !== undefined) throw unsupported(file, `it says class "${name}", but ${profile.architecture} models are "${form.class}"`);
  const foreign = foreignForm(header, profile);
  if (typeof foreign === "object") return foreign;
  if (foreign !== undefined) throw unsupported(file, foreign);
  // A language model of the same architecture would load and give plausible numbers without meaning.
  if (profile.score.kind === "cls") return profile;
  throw unsupported(
    file,
    `\`reranker.class\` is missing, so it may be any ${profile.architecture} model; convert the checkpoint with \`bge-reranker convert\``,
  );
}

/** The file's own template, or the form's. */
function chatTemplate(metadata: Metadata, form: RerankerForm): ChatTemplate | null {
  const stored = metadata.texts("reranker.template");
  if (!stored) return form.layout.kind === "chat" ? form.layout.template : null;
  return stored.map((part) => {
    const slot = /^\{(instruction|query|document)\}$/.exec(part)?.[1];
    return slot === undefined ? part : { slot: slot as "instruction" | "query" | "document" };
  });
}

function optionsOf(form: RerankerForm, template: ChatTemplate | null): readonly ClassOption[] {
  const hasPlace = !template || template.some((part) => typeof part !== "string" && part.slot === "instruction");
  return form.options.filter((option) => option !== "instruction" || hasPlace);
}

function labelWeights(metadata: Metadata, header: GgufHeader, { labels }: Extract<ScoreHead, { kind: "labels" }>): readonly number[] {
  const weights = metadata.floats("reranker.label_weights") ?? labels.map(({ weight }) => weight);
  const rows = header.tensors.find(({ name }) => name === "cls.output.weight")?.shape[1] ?? 1;
  if (rows === weights.length) return weights;
  throw metadata.invalid("reranker.label_weights", `${weights.length} weights for the ${rows} rows of cls.output.weight`);
}

function throwIfHeadless(header: GgufHeader, profile: RerankerForm, file: string): void {
  const shapeOf = (name: string) => header.tensors.find((tensor) => tensor.name === name)?.shape;
  if (profile.score.kind === "cls") {
    const output = shapeOf("cls.output.weight");
    const missing = output === undefined ? "cls.output.weight" : shapeOf("cls.weight") === undefined ? "cls.weight" : undefined;
    if (missing)
      throw unsupported(file, `it has no score head (tensor \`${missing}\`): an embedding model, or a conversion that dropped it`);
    const outputs = output?.[1] ?? 1;
    if (outputs !== 1) throw unsupported(file, `its head has ${outputs} outputs; a reranker has 1`);
  }
  if (profile.score.kind === "labels" && shapeOf("cls.output.weight") === undefined) {
    throw unsupported(file, "it has no score head (tensor `cls.output.weight`); convert the checkpoint with `bge-reranker convert`");
  }
  if (profile.score.kind === "layer-head" && shapeOf("reranker.head.weight") === undefined) {
    throw unsupported(file, "it has no score heads (tensor `reranker.head.weight`); convert the checkpoint with `bge-reranker convert`");
  }
}

function legalCutoffs(metadata: Metadata, layerCount: number): readonly number[] {
  const start = metadata.count("reranker.head.start_layer", layerCount);
  const step = metadata.optionalCount("reranker.head.layer_step") ?? 1;
  if (start < 1 || step < 1) throw metadata.invalid("reranker.head.start_layer", "start and step must be at least 1");
  const layers: number[] = [];
  for (let layer = start; layer <= layerCount; layer += step) layers.push(layer);
  return layers;
}

/** How the pairs of a file are laid out, from its metadata alone. */
export function inputLayoutOf(header: Pick<GgufHeader, "metadata">, profile: RerankerForm, file: string): InputLayout {
  return inputLayout(new Metadata(header, file), profile);
}

function inputLayout(metadata: Metadata, profile: RerankerForm): InputLayout {
  if (profile.layout.kind === "chat") return { kind: "chat" };
  if (profile.layout.kind === "prompt") {
    if (profile.layout.prefix === undefined) return { kind: "prompt", bos: beginning(metadata, profile), frameOnTop: false };
    const ids = metadata.integers("reranker.prefix_ids");
    if (!ids) throw metadata.invalid("reranker.prefix_ids", "it is missing");
    return { kind: "prompt", bos: ids, frameOnTop: true };
  }
  const tokenizer = metadata.string("tokenizer.ggml.model") ?? "";
  const layout: PairLayout | undefined = Object.hasOwn(profile.layout.byTokenizer, tokenizer)
    ? profile.layout.byTokenizer[tokenizer]
    : undefined;
  if (!layout) {
    throw new RerankerError(
      "TOKENIZER_UNSUPPORTED",
      `${metadata.file} has tokenizer "${tokenizer}"; known: ${Object.keys(profile.layout.byTokenizer).join(", ")}`,
    );
  }
  const ids = (roles: readonly TokenRole[]) => roles.map((role) => specialToken(metadata, role));
  return {
    kind: "pair",
    before: ids(layout.before),
    between: ids(layout.between),
    after: ids(layout.after),
    documentTokenType: metadata.boolean(TOKEN_TYPES_KEY) === false ? 0 : layout.documentTokenType,
    padding: profile.layout.readsBeforePadding ? metadata.count("tokenizer.ggml.padding_token_id") : -1,
  };
}

/** FlagLLMReranker leaves BOS out when the tokenizer has none, or the same as the padding; the others always add it. */
function beginning(metadata: Metadata, profile: RerankerForm): readonly number[] {
  const bos = metadata.optionalCount("tokenizer.ggml.bos_token_id");
  if (profile.class === "decoder-only-base" && (bos === undefined || bos === metadata.optionalCount("tokenizer.ggml.padding_token_id")))
    return [];
  return [metadata.count("tokenizer.ggml.bos_token_id")];
}

function specialToken(metadata: Metadata, role: TokenRole): number {
  switch (role) {
    case "cls":
      return metadata.optionalCount("tokenizer.ggml.cls_token_id") ?? metadata.count("tokenizer.ggml.bos_token_id");
    case "separator": // llama.cpp's spelling
      return metadata.optionalCount("tokenizer.ggml.seperator_token_id") ?? metadata.count("tokenizer.ggml.eos_token_id");
    default:
      throw role satisfies never;
  }
}

function compression(metadata: Metadata, profile: ModelProfile): ModelFacts["compress"] {
  const ratios = metadata.integers("reranker.compress.ratios") ?? profile.compress?.ratios;
  const layers = metadata.integers("reranker.compress.layers") ?? profile.compress?.layers;
  return ratios && layers ? { ratios, layers } : null;
}

function countTypes(header: GgufHeader): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { type } of header.tensors) counts[type] = (counts[type] ?? 0) + 1;
  return counts;
}

function unsupported(file: string, why: string): RerankerError {
  return new RerankerError("MODEL_UNSUPPORTED", `${file} cannot be scored: ${why}`);
}

/** Typed reading of GGUF metadata: a key of the wrong type is a damaged file. */
class Metadata {
  readonly file: string;
  readonly #values: GgufHeader["metadata"];

  constructor(header: Pick<GgufHeader, "metadata">, file: string) {
    this.file = file;
    this.#values = header.metadata;
  }

  string(key: string): string | undefined {
    const value = this.#get(key);
    if (value !== undefined && typeof value !== "string") throw this.invalid(key, "it is not a string");
    return value;
  }

  boolean(key: string): boolean | undefined {
    const value = this.#get(key);
    if (value !== undefined && typeof value !== "boolean") throw this.invalid(key, "it is not a boolean");
    return value;
  }

  headSelection(): "rank" | "layer" | undefined {
    const value = this.string("reranker.head.select");
    if (value === undefined || value === "rank" || value === "layer") return value;
    throw this.invalid("reranker.head.select", `"${value}" is neither rank nor layer`);
  }

  truncation(): Truncation | undefined {
    const value = this.string("reranker.truncation");
    if (value === undefined || value === "only_second" || value === "longest_first") return value;
    throw this.invalid("reranker.truncation", `"${value}" is neither only_second nor longest_first`);
  }

  truncationSide(): "left" | "right" {
    const value = this.string(TRUNCATION_SIDE_KEY) ?? "right";
    if (value === "left" || value === "right") return value;
    throw this.invalid(TRUNCATION_SIDE_KEY, `"${value}" is neither left nor right`);
  }

  optionalCount(key: string, limit = 2 ** 31 - 1): number | undefined {
    const value = this.#get(key);
    if (value === undefined) return undefined;
    const count = typeof value === "bigint" ? Number(value) : value;
    if (typeof count !== "number" || !Number.isInteger(count) || count < 0 || count > limit)
      throw this.invalid(key, `it is not an integer from 0 to ${limit}`);
    return count;
  }

  count(key: string, limit?: number): number {
    const value = this.optionalCount(key, limit);
    if (value === undefined) throw this.invalid(key, "it is missing");
    return value;
  }

  integers(key: string): readonly number[] | undefined {
    const value = this.#get(key);
    if (value === undefined) return undefined;
    const list = typeof value === "object" ? Array.from(value as ArrayLike<unknown>, Number) : [Number.NaN];
    if (list.some((item) => !Number.isInteger(item))) throw this.invalid(key, "it is not an array of integers");
    return list;
  }

  floats(key: string): readonly number[] | undefined {
    const value = this.#get(key);
    if (value === undefined) return undefined;
    const list = typeof value === "object" ? Array.from(value as ArrayLike<unknown>, Number) : [Number.NaN];
    if (!list.every(Number.isFinite)) throw this.invalid(key, "it is not an array of numbers");
    return list;
  }

  texts(key: string): readonly string[] | undefined {
    const value = this.#get(key);
    if (value === undefined) return undefined;
    const list: readonly unknown[] = Array.isArray(value) ? value : [value];
    if (!list.every((item) => typeof item === "string")) throw this.invalid(key, "it is not an array of strings");
    return list as readonly string[];
  }

  invalid(key: string, why: string): RerankerError {
    return new RerankerError("MODEL_INVALID", `${this.file} is damaged: \`${key}\`: ${why}`);
  }

  #get(key: string): GgufValue | undefined {
    return Object.hasOwn(this.#values, key) ? this.#values[key]?.value : undefined;
  }
}

// ModelProfile: all there is to know about an architecture outside its graph, as data. The loader reads the defaults,
// prompts and score head; the converter reads the checkpoints.
/** FlagEmbedding's own names for its four reranker classes, and sentence-transformers' for what FlagEmbedding never had. */
export type RerankClass =
  | "encoder-only-base"
  | "decoder-only-base"
  | "decoder-only-layerwise"
  | "decoder-only-lightweight"
  | "cross-encoder";

/** Options that only some classes have; one that is not listed in a profile is an error for its models. */
// biome-ignore format: one list
export type ClassOption = "prompt" | "instruction" | "cutoffLayers" | "compressLayers" | "compressRatio" | "headSelection" | "attentionSoftcap" | "cascade";

/**
 * What a pair loses that is too long: the end of the document (FlagEmbedding, after the query was cut to its own limit), or first
 * the end of the longer text (fast tokenizers, and with them sentence-transformers).
 */
export type Truncation = "only_second" | "longest_first";

/** A special token by its part in a pair. cls: `tokenizer.ggml.cls_token_id`, else bos; separator: `.seperator_token_id`, else eos. */
export type TokenRole = "cls" | "separator";

export interface PairLayout {
  readonly before: readonly TokenRole[];
  readonly between: readonly TokenRole[];
  readonly after: readonly TokenRole[];
  /** Token type of everything from the document on. */
  readonly documentTokenType: 0 | 1;
}

export type ProfileLayout =
  /** The specials depend on the tokenizer: keyed by `tokenizer.ggml.model`. */
  | {
      readonly kind: "pair";
      readonly byTokenizer: Readonly<Record<string, PairLayout>>;
      /** The score is read at the last token that is not padding, be it spelled in the document. */
      readonly readsBeforePadding?: true;
    }
  /** bos query separator document separator prompt. */
  | {
      readonly kind: "prompt";
      readonly separator: string;
      /** Text in the place of bos. It, separator and prompt come on top of `maxLength` then. */
      readonly prefix?: string;
      /** What stands around an instruction, all of it before the query. */
      readonly instruction?: readonly [before: string, after: string];
    }
  /** A chat template around both texts, encoded as one text. */
  | { readonly kind: "chat"; readonly template: ChatTemplate; readonly stripsTexts: boolean };

/** What a pair is made of, in order. The first part is text and encoded by itself. */
export type ChatTemplate = readonly (string | { readonly slot: "instruction" | "query" | "document" })[];

export type ScoreHead =
  /** Classifier on the first token. */
  | { readonly kind: "cls" }
  /** Logit of the first id of `token` at the last position. */
  | { readonly kind: "token-logit"; readonly token: string }
  /** A weighted sum of the logits of the first ids of some words at the last position, or of the outputs of a classifier. */
  | { readonly kind: "labels"; readonly labels: readonly { readonly token: string; readonly weight: number }[] }
  /**
   * One vector per legal cutoff layer, read at the last position. `select` says which: the one of the layer, or the one of
   * the layer's rank among the cutoffs asked for.
   */
  | { readonly kind: "layer-head"; readonly select: "layer" | "rank" };

/** What the reference's class takes when neither the caller nor the file says otherwise. */
export interface ProfileDefaults {
  readonly queryInstruction: string | null;
  readonly documentInstruction: string | null;
  /** null: the class has no prompt. */
  readonly prompt: string | null;
  readonly maxLength: number;
  readonly batchSize: number;
  /** Of models with the option `instruction`; null: none. */
  readonly instruction?: string | null;
  /** Pair layouts: how the official code cuts. Absent: only_second, as FlagEmbedding does. */
  readonly truncation?: Truncation;
}

export type Activation = "gelu_erf" | "gelu_tanh" | "silu" | "relu" | "tanh";

/** A number read or derived from config.json (src/convert/config.ts says how), by the name ggml code would give it. */
// biome-ignore format: one table
export type Quantity =
  | "n_layer" | "n_embd" | "n_ff" | "n_vocab"
  | "n_head" | "n_head_kv" | "n_embd_head"
  /** Rows of the query and of the key/value projections: heads x head size. */
  | "n_embd_q" | "n_embd_kv"
  /** Rows of q, k and v as one, and of gate and up as one. */
  | "n_embd_qkv" | "n_ff_gated"
  /** Width of the embedding tables, where it is not that of the layers. */
  | "n_embd_table"
  /** Rows of the position table, and how many of them tokens use. */
  | "n_position" | "n_ctx_train"
  | "n_token_type"
  /** Outputs of a classifier. */
  | "n_label"
  | "norm_eps" | "rope_theta" | "rope_theta_local" | "rope_factor"
  /** Rows of a table of relative positions, its logarithmic buckets to each side (0: none), and where the last one begins. */
  | "n_distance" | "position_buckets" | "max_distance"
  | "embedding_scale" | "residual_scale" | "logit_scale"
  | "attention_scale" | "attention_softcap" | "final_softcap" | "sliding_window"
  /** Legal cutoffs start_layer, start_layer + layer_step, ... and the score heads stored for them. */
  | "start_layer" | "layer_step" | "n_score_head";

/** A field of config.json; `otherwise` is the value transformers takes when the field is absent. */
export interface ConfigField {
  readonly field: string;
  /** A quantity stands for its value. */
  readonly otherwise?: number | Quantity;
  /** What `null` stands for; without it null is an error, as it is for most fields of transformers. */
  readonly orNull?: number | Quantity;
  /** The field is the base of rotary positions, which newer files have in `rope_parameters`; for these layers. */
  readonly rope?: "all" | "full_attention" | "sliding_attention" | "ntk";
  /** 0 means that there is none of it. */
  readonly zeroIsNone?: true;
  /** Absent or null: derived from the other fields. */
  readonly derived?: true;
}

/** A field whose value decides whether we can score the model at all. */
export interface ConfigRequirement {
  readonly field: string;
  /** Legal values; an absent field is legal when `undefined` is listed, a list in any order, or one with an entry a layer that says the same over and over. */
  readonly values: readonly (string | number | boolean | null | undefined | readonly string[] | { readonly repeats: readonly string[] })[];
  /** What the user can do about it; ends the error message. */
  readonly advice: string;
}

/**
 * Arithmetic on a weight while converting, done in float32.
 * - `plus-one` w -> 1 + w, for norms that multiply by 1 + weight
 * - `drop-reserved-positions` the rows that token positions never reach
 * - `label-difference` of two outputs, relevant - irrelevant: the logit of the probability that their softmax gives
 * - `permute-rope` within each head: first half, second half -> interleaved pairs, as the adjacent-pair RoPE wants
 */
export type Transform = "plus-one" | "drop-reserved-positions" | "permute-rope" | "label-difference";

export interface TensorRule {
  /** GGUF name; `{i}` is the layer. */
  readonly name: string;
  /** Shape in the checkpoint, slowest dimension first. */
  readonly shape: readonly (Quantity | 1)[];
  readonly transform?: Transform;
  /** Stays F32 whatever type is asked: small, and the score hangs on it directly. */
  readonly keepF32?: true;
  /** The checkpoint's tensors `{h}` = 0, 1, ... become the rows of this one tensor. */
  readonly stacked?: true;
  /** The tensor belongs to checkpoints whose config.json has this value only; `otherwise` is that of an absent field. */
  readonly when?:
    | { readonly field: string; readonly value: boolean; readonly otherwise?: boolean }
    /** The tensor belongs to checkpoints that have the quantity, or where two differ. */
    | { readonly exists: Quantity }
    | { readonly differ: readonly [Quantity, Quantity] };
  /** Layers below this one have no such tensor. */
  readonly firstLayer?: number;
}

/** What a metadata entry states. */
export type MetadataValue =
  | Quantity
  | { readonly constant: string | number | boolean }
  /** A field of config.json by our names of its values. */
  | { readonly field: string; readonly otherwise?: string; readonly names: Readonly<Record<string, string>> }
  /**
   * Which layers see a window only: those of a list by type, or all but every nth from the first on. Written as that number where
   * one says it, else as one flag a layer.
   */
  | {
      readonly localLayers: { readonly field: string; readonly value: string };
      readonly every: { readonly field: string; readonly otherwise: number };
    };

export interface CheckpointProfile {
  /** `architectures[0]` of config.json, for which this holds. */
  readonly names: readonly string[];
  /** Values of `model_type`, by which transformers picks the class; `names` alone are only a note. */
  readonly modelTypes?: readonly string[];
  /**
   * Modules of sentence-transformers that make up the model, by the end of their types, in this order and no others. Their
   * settings are fields `modules.<number>.<field>` of config.json then, their tensors `modules.<number>.<name>`.
   */
  readonly modules?: readonly string[];
  /** How the official code cuts, where that is not the rule of the architecture. */
  readonly truncation?: Truncation;
  /** Of classifiers that read the last token which is not padding: `pad_token_id` where config.json has none; null: no token. */
  readonly padTokenId?: { readonly otherwise: number | null };
  readonly fields: Readonly<Partial<Record<Quantity, ConfigField>>>;
  readonly requires: readonly ConfigRequirement[];
  /** Field that names the activation, transformers' default, and what we call its values. */
  readonly activation: {
    readonly field: string;
    readonly otherwise?: string;
    readonly names: Readonly<Record<string, Activation>>;
  };
  /** Rows of the position table below the first token's: 0, or pad_token_id + 1. */
  readonly reservedPositions: "none" | "pad-id-plus-one";
  /** GGUF metadata beyond what every file has, in file order; the key's `{arch}` is the GGUF architecture. */
  readonly metadata: readonly (readonly [
    key: string,
    type: "u32" | "f32" | "bool" | "string" | "u32[]" | "f32[]" | "bool[]" | "string[]",
    value: MetadataValue,
  ])[];
  /** Checkpoint name -> GGUF tensor. `{i}` runs over the layers, `{h}` over the score heads. */
  readonly tensors: Readonly<Record<string, TensorRule>>;
  /** Tensors left out on purpose, with the reason. */
  readonly dropped: Readonly<Record<string, string>>;
  /**
   * The head that scores, which is the table `to` unless `tie_word_embeddings` says otherwise; `otherwise` is that of an absent
   * field. A head of its own becomes `reranker.head.weight`, a row for the scored token; with labels, either becomes
   * `cls.output.weight`, a row for each.
   */
  readonly tied?: { readonly name: string; readonly to: string; readonly otherwise: boolean };
  /** Endings of names that old checkpoints use, and what they are called today. */
  readonly renames?: Readonly<Record<string, string>>;
  /** Beginnings of names that others use, and what stands here for them. */
  readonly prefixes?: Readonly<Record<string, string>>;
}

/** How an architecture is used as a reranker: class, layout of a pair, and what its score is. */
export interface RerankerForm {
  /** `reranker.form`; profiles with one form have no name for it. */
  readonly form?: string;
  /** Checkpoints known by their names only. */
  readonly checkpointName?: RegExp;
  readonly class: RerankClass;
  readonly layout: ProfileLayout;
  readonly score: ScoreHead;
  readonly defaults: ProfileDefaults;
  /** Prompts the models were trained with, by a short name of ours. */
  readonly prompts: Readonly<Record<string, string>>;
  readonly options: readonly ClassOption[];
}

export interface ModelProfile extends RerankerForm {
  /** `general.architecture`, and the name of the graph in native/arch/. */
  readonly architecture: string;
  /** All of them, where there are several; the profile's own is the first. */
  readonly forms?: readonly RerankerForm[];
  /** Compression the models were trained with: advice, not a limit. */
  readonly compress?: { readonly ratios: readonly number[]; readonly layers: readonly number[] };
  readonly checkpoints: readonly CheckpointProfile[];
}

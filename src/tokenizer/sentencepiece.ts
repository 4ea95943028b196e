// SentencePiece .model files: a bounded reader of the few protobuf fields we need, and what transformers makes of such a
// file when a checkpoint has no tokenizer.json (convert_slow_tokenizer.py of transformers 4.46 to 4.57).
import { RerankerError } from "../errors.js";

export interface SentencePieceModel {
  readonly pieces: readonly SentencePiece[];
  readonly modelType: "unigram" | "bpe";
  readonly unknownPiece: string;
  readonly charsmap: Uint8Array;
  readonly addDummyPrefix: boolean;
  readonly removeExtraWhitespaces: boolean;
}

export interface SentencePiece {
  readonly piece: string;
  readonly score: number;
  /** 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte: the numbers of tokenizer.ggml.token_type. */
  readonly type: number;
}

/** What the conversion reads from tokenizer_config.json. */
export interface SlowTokenizerOptions {
  readonly legacy: boolean;
  readonly addPrefixSpace: boolean;
}

/** The content of a tokenizer.json, with scores for a BPE vocabulary in place of merges, which follow from them. */
export interface ConvertedTokenizer {
  readonly json: { readonly [field: string]: unknown };
  readonly scores: readonly number[];
}

const MAX_PIECES = 1 << 22; // the largest vocabulary there is has 262,144
const SPACE = "▁";
const BYTE = 6;

// --- reading

/** @throws {RerankerError} `MODEL_INVALID` for a file that is not a SentencePiece model. */
export function readSentencePieceModel(bytes: Uint8Array): SentencePieceModel {
  const pieces: SentencePiece[] = [];
  const trainer = { modelType: 1, unknownPiece: "<unk>" };
  const normalizer = { charsmap: new Uint8Array(), addDummyPrefix: true, removeExtraWhitespaces: true };
  for (const field of readFields(bytes)) {
    if (field.number === 1) {
      if (pieces.length >= MAX_PIECES) throw invalid(`more than ${MAX_PIECES} pieces`);
      pieces.push(readPiece(field));
    } else if (field.number === 2) {
      for (const item of readFields(bytesOf(field))) {
        if (item.number === 3) trainer.modelType = numberOf(item);
        if (item.number === 45) trainer.unknownPiece = textOf(item);
      }
    } else if (field.number === 3) {
      for (const item of readFields(bytesOf(field))) {
        if (item.number === 2) normalizer.charsmap = Uint8Array.from(bytesOf(item));
        if (item.number === 3) normalizer.addDummyPrefix = numberOf(item) !== 0;
        if (item.number === 4) normalizer.removeExtraWhitespaces = numberOf(item) !== 0;
      }
    }
  }
  if (pieces.length === 0) throw invalid("no pieces");
  if (trainer.modelType !== 1 && trainer.modelType !== 2) {
    throw new RerankerError(
      "TOKENIZER_UNSUPPORTED",
      `The SentencePiece model is of type ${trainer.modelType}; known are 1 (unigram) and 2 (BPE).`,
    );
  }
  return { pieces, modelType: trainer.modelType === 1 ? "unigram" : "bpe", unknownPiece: trainer.unknownPiece, ...normalizer };
}

function readPiece(field: Field): SentencePiece {
  const out = { piece: "", score: 0, type: 1 };
  for (const item of readFields(bytesOf(field))) {
    if (item.number === 1) out.piece = textOf(item);
    if (item.number === 2) out.score = floatOf(item);
    if (item.number === 3) out.type = numberOf(item);
  }
  if (!Number.isFinite(out.score)) throw invalid("a score that is not a finite number");
  if (out.type < 1 || out.type > 6) throw invalid(`a piece of type ${out.type}`);
  return out;
}

interface Field {
  readonly number: number;
  readonly value: number | Uint8Array;
}

/** The fields of one protobuf message. Every length is checked against what is left. */
function* readFields(bytes: Uint8Array): Generator<Field> {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 64; shift += 7) {
      const byte = bytes[at++];
      if (byte === undefined) throw invalid("cut short");
      value += (byte & 0x7f) * 2 ** shift; // inexact above 2^53, which no field we read reaches
      if (byte < 0x80) return value;
    }
    throw invalid("a number of more than 64 bits");
  };
  while (at < bytes.length) {
    const key = varint();
    const wireType = key % 8;
    const number = Math.floor(key / 8);
    if (wireType === 0) {
      yield { number, value: varint() };
      continue;
    }
    const size = wireType === 1 ? 8 : wireType === 2 ? varint() : wireType === 5 ? 4 : undefined;
    if (size === undefined) throw invalid(`wire type ${wireType}`);
    if (size > bytes.length - at) throw invalid("cut short");
    yield { number, value: bytes.subarray(at, at + size) };
    at += size;
  }
}

function bytesOf({ value }: Field): Uint8Array {
  if (typeof value === "number") throw invalid("a number where bytes belong");
  return value;
}

function numberOf({ value }: Field): number {
  if (typeof value !== "number") throw invalid("bytes where a number belongs");
  return value;
}

function textOf(field: Field): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytesOf(field));
  } catch (cause) {
    throw invalid("text that is not UTF-8", cause);
  }
}

function floatOf(field: Field): number {
  const bytes = bytesOf(field);
  if (bytes.length !== 4) throw invalid("a score that is not a float");
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getFloat32(0, true);
}

function invalid(what: string, cause?: unknown): RerankerError {
  return new RerankerError("MODEL_INVALID", `The SentencePiece model is damaged (${what}); download it again.`, { cause });
}

// --- converting

/** XLMRobertaConverter: ids move by one, as fairseq numbers them, and `<mask>` comes last. */
export function convertXlmRoberta(model: SentencePieceModel, options: SlowTokenizerOptions): ConvertedTokenizer {
  if (model.modelType !== "unigram")
    throw new RerankerError("TOKENIZER_UNSUPPORTED", "sentencepiece.bpe.model holds a BPE model; XLM-RoBERTa has a unigram one.");
  const first = ["<s>", "<pad>", "</s>", "<unk>"].map((piece) => [piece, 0] as const);
  const rest = model.pieces.slice(3).map(({ piece, score }) => [piece, score] as const);
  const vocab = [...first, ...rest, ["<mask>", 0] as const];
  const added = [
    ...first.map(([content], id) => addedToken(id, content, true)),
    { ...addedToken(vocab.length - 1, "<mask>", true), lstrip: true },
  ];
  return {
    json: {
      version: "1.0",
      added_tokens: added,
      normalizer: {
        type: "Sequence",
        normalizers: [
          ...precompiled(model),
          { type: "Strip", strip_left: false, strip_right: true },
          { type: "Replace", pattern: { Regex: " {2,}" }, content: SPACE },
        ],
      },
      pre_tokenizer: { type: "Metaspace", replacement: SPACE, prepend_scheme: prependScheme(options), split: true },
      model: { type: "Unigram", unk_id: 3, vocab },
    },
    scores: vocab.map(([, score]) => score),
  };
}

/** LlamaConverter, which MiniCPM goes through as well: every user defined piece is an added token. */
export function convertLlama(model: SentencePieceModel, options: SlowTokenizerOptions): ConvertedTokenizer {
  const prepend = options.addPrefixSpace ? [{ type: "Prepend", prepend: SPACE }] : [];
  const replace = { type: "Replace", pattern: { String: " " }, content: SPACE };
  return convertBpe(model, model.pieces, new Set(), {
    normalizer: options.legacy ? { type: "Sequence", normalizers: [...prepend, replace] } : null,
    pre_tokenizer: options.legacy ? null : { type: "Metaspace", replacement: SPACE, prepend_scheme: prependScheme(options), split: false },
  });
}

/** GemmaConverter: blanks become `▁`, nothing is prepended, and the piece of byte 9 is the tab itself. */
export function convertGemma(model: SentencePieceModel): ConvertedTokenizer {
  const pieces = model.pieces.map((piece) => (piece.piece === "<0x09>" ? { ...piece, piece: "\t", type: 1 } : piece));
  return convertBpe(model, pieces, new Set(["<start_of_turn>", "<end_of_turn>"]), {
    normalizer: { type: "Replace", pattern: { String: " " }, content: SPACE },
    pre_tokenizer: { type: "Split", pattern: { String: " " }, behavior: "MergedWithPrevious", invert: false },
  });
}

function convertBpe(
  model: SentencePieceModel,
  pieces: readonly SentencePiece[],
  special: ReadonlySet<string>,
  rules: { readonly normalizer: unknown; readonly pre_tokenizer: unknown },
): ConvertedTokenizer {
  if (model.modelType !== "bpe")
    throw new RerankerError("TOKENIZER_UNSUPPORTED", "tokenizer.model holds a unigram model; Llama and Gemma have BPE ones.");
  const added = pieces.flatMap(({ piece, type }, id) => {
    if (type !== 2 && type !== 3 && type !== 4) return [];
    return [addedToken(id, piece, type !== 4 || special.has(piece))];
  });
  return {
    json: {
      version: "1.0",
      added_tokens: added,
      ...rules,
      model: {
        type: "BPE",
        dropout: null,
        unk_token: model.unknownPiece,
        fuse_unk: true,
        byte_fallback: pieces.some(({ type }) => type === BYTE),
        vocab: pieces.map(({ piece }) => piece),
      },
    },
    scores: pieces.map(({ score }, id) => (id < 3 ? 0 : score)), // the converters give the first three a score of 0
  };
}

function precompiled(model: SentencePieceModel): { readonly type: string; readonly precompiled_charsmap: string }[] {
  return model.charsmap.length === 0 ? [] : [{ type: "Precompiled", precompiled_charsmap: Buffer.from(model.charsmap).toString("base64") }];
}

function prependScheme({ addPrefixSpace, legacy }: SlowTokenizerOptions): string {
  if (!addPrefixSpace) return "never";
  return legacy ? "always" : "first";
}

function addedToken(id: number, content: string, special: boolean) {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special };
}

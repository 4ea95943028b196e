import { describe, expect, it } from "vitest";
import { convertGemma, convertLlama, convertXlmRoberta, readSentencePieceModel } from "../../src/tokenizer/sentencepiece.js";

/** Protobuf by hand: [field number, value]. Numbers are varints, floats are wrapped in an array. */
type Value = number | string | Uint8Array | readonly [float: number] | readonly Field[];
type Field = readonly [number: number, value: Value];

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (; value >= 0x80; value = Math.floor(value / 128)) bytes.push((value % 128) | 0x80);
  return [...bytes, value];
}

function message(fields: readonly Field[]): Uint8Array {
  const bytes = fields.flatMap(([number, value]): number[] => {
    if (typeof value === "number") return [...varint(number * 8), ...varint(value)];
    if (Array.isArray(value) && value.length === 1 && typeof value[0] === "number") {
      return [...varint(number * 8 + 5), ...new Uint8Array(Float32Array.of(value[0]).buffer)];
    }
    const inner =
      typeof value === "string"
        ? new TextEncoder().encode(value)
        : value instanceof Uint8Array
          ? value
          : message(value as readonly Field[]);
    return [...varint(number * 8 + 2), ...varint(inner.length), ...inner];
  });
  return Uint8Array.from(bytes);
}

const piece = (text: string, score: number, type?: number): Field => [
  1,
  [[1, text], [2, [score]], ...(type === undefined ? [] : ([[3, type]] as const))],
];
const trainer = (type: number): Field => [
  2,
  [
    [3, type],
    [45, "<unk>"],
  ],
];
const options = { legacy: true, addPrefixSpace: true };

describe("readSentencePieceModel", () => {
  it("reads pieces, types and rules, and skips what it does not know", () => {
    const bytes = message([
      piece("<unk>", 0, 2),
      piece("▁a", -1.5),
      [9, "unknown field"],
      trainer(2),
      [
        3,
        [
          [1, "nmt_nfkc"],
          [2, Uint8Array.of(1, 2, 3)],
          [3, 0],
          [4, 0],
        ],
      ],
    ]);
    expect(readSentencePieceModel(bytes)).toEqual({
      pieces: [
        { piece: "<unk>", score: 0, type: 2 },
        { piece: "▁a", score: -1.5, type: 1 },
      ],
      modelType: "bpe",
      unknownPiece: "<unk>",
      charsmap: Uint8Array.of(1, 2, 3),
      addDummyPrefix: false,
      removeExtraWhitespaces: false,
    });
  });

  it("rejects every cut of a file, and noise", () => {
    const bytes = message([piece("<unk>", 0, 2), piece("abc", -1), trainer(1)]);
    for (let n = 0; n < bytes.length; n++) {
      try {
        readSentencePieceModel(bytes.subarray(0, n));
      } catch (error) {
        expect(error).toMatchObject({ code: "MODEL_INVALID" });
      }
    }
    expect(() => readSentencePieceModel(Uint8Array.of(0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f))).toThrow("cut short");
    expect(() => readSentencePieceModel(new Uint8Array(40).fill(0xff))).toThrow(expect.objectContaining({ code: "MODEL_INVALID" }));
    expect(() => readSentencePieceModel(new Uint8Array())).toThrow("no pieces");
    expect(() => readSentencePieceModel(message([piece("a", 0), trainer(4)]))).toThrow(
      expect.objectContaining({ code: "TOKENIZER_UNSUPPORTED" }),
    );
  });
});

describe("what transformers makes of a model", () => {
  const model = (type: number) =>
    readSentencePieceModel(
      message([
        piece("<unk>", 0, 2),
        piece("<s>", 0, 3),
        piece("</s>", 0, 3),
        piece("<sep>", -1, 4),
        piece("<0x09>", 0, 6),
        piece("a", -2),
        trainer(type),
      ]),
    );

  it("XLM-R: fairseq ids", () => {
    const { json } = convertXlmRoberta(model(1), options);
    expect((json["model"] as { vocab: unknown[] }).vocab).toEqual([
      ["<s>", 0],
      ["<pad>", 0],
      ["</s>", 0],
      ["<unk>", 0],
      ["<sep>", -1],
      ["<0x09>", 0],
      ["a", -2],
      ["<mask>", 0],
    ]);
    expect(json["added_tokens"]).toContainEqual(expect.objectContaining({ id: 7, content: "<mask>", lstrip: true }));
    expect(() => convertXlmRoberta(model(2), options)).toThrow(expect.objectContaining({ code: "TOKENIZER_UNSUPPORTED" }));
  });

  it("Llama: user defined pieces are added tokens, a prefix as `legacy` says", () => {
    const { json, scores } = convertLlama(model(2), options);
    expect(json["added_tokens"]).toMatchObject([
      { id: 0, special: true },
      { id: 1, special: true },
      { id: 2, special: true },
      { id: 3, special: false, normalized: false },
    ]);
    expect(json["normalizer"]).toMatchObject({ normalizers: [{ type: "Prepend" }, { type: "Replace" }] });
    expect(scores).toEqual([0, 0, 0, -1, 0, -2]);
    expect(convertLlama(model(2), { legacy: false, addPrefixSpace: true }).json).toMatchObject({
      normalizer: null,
      pre_tokenizer: { prepend_scheme: "first", split: false },
    });
    expect(convertLlama(model(2), { legacy: true, addPrefixSpace: false }).json).toMatchObject({
      normalizer: { normalizers: [{ type: "Replace" }] },
    });
  });

  it("Gemma: the piece of byte 9 is the tab", () => {
    expect((convertGemma(model(2)).json["model"] as { vocab: string[] }).vocab[4]).toBe("\t");
  });
});

// Seeds of the fuzz targets, made of the golden checkpoints: the same files with a few hundred tokens and layers of a few
// numbers, so that a fuzzer runs thousands of them a second.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const golden = path.join(path.dirname(fileURLToPath(import.meta.url)), "..", "golden");
const MAX_PIECES = 120; // of the model; bytes and added tokens come on top
const CHARSMAP_UNITS = 1024;

export const CHECKPOINTS = JSON.parse(readFileSync(path.join(golden, "checkpoints.json"), "utf8")).map(({ name }) => name);

export const readGolden = (checkpoint, name) => readFileSync(path.join(golden, checkpoint, name));

export const hasGolden = (checkpoint, name) => existsSync(path.join(golden, checkpoint, name));

// --- tokenizer.json, tokenizer.model and safetensors

const keeps = (piece, id, added) => id < MAX_PIECES || added.has(piece) || /^<0x[0-9A-F]{2}>$/.test(piece);

/** A tokenizer.json with the first pieces of the golden one and the merges among them. */
export function smallTokenizerJson(checkpoint) {
  const json = JSON.parse(readGolden(checkpoint, "tokenizer.json"));
  const { model } = json;
  const added = new Set(json.added_tokens.map(({ content }) => content));
  const all = Array.isArray(model.vocab) ? model.vocab : Object.entries(model.vocab).sort((a, b) => a[1] - b[1]);
  const kept = all.filter(([piece], id) => keeps(piece, id, added));
  const ids = new Map(kept.map(([piece], id) => [piece, id]));
  model.vocab = Array.isArray(model.vocab) ? kept : Object.fromEntries(ids);
  if (model.merges) {
    const pairs = model.merges.map((merge) => (typeof merge === "string" ? merge.split(" ") : merge));
    model.merges = pairs.filter(([left, right]) => ids.has(left) && ids.has(right) && ids.has(left + right));
  }
  for (const token of json.added_tokens) token.id = ids.get(token.content);
  const normalizers = json.normalizer?.normalizers ?? [json.normalizer];
  for (const step of normalizers) {
    if (step?.precompiled_charsmap)
      step.precompiled_charsmap = cutCharsmap(Buffer.from(step.precompiled_charsmap, "base64")).toString("base64");
  }
  return json;
}

/** The first units of the trie and whole strings for them to name. */
function cutCharsmap(blob) {
  const strings = blob.subarray(4 + blob.readUInt32LE(0));
  const header = Buffer.alloc(4);
  header.writeUInt32LE(CHARSMAP_UNITS * 4);
  return Buffer.concat([header, blob.subarray(4, 4 + CHARSMAP_UNITS * 4), strings.subarray(0, strings.lastIndexOf(0, 1024) + 1)]);
}

/** The first pieces of a SentencePiece model, and all that is no piece. */
export function smallSentencePieceModel(checkpoint, name) {
  const bytes = readGolden(checkpoint, name);
  const parts = [];
  let n_pieces = 0;
  for (let at = 0; at < bytes.length; ) {
    const begin = at;
    const number = bytes[at++] >> 3; // the fields of a ModelProto are few, so a key is one byte, and all are messages
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      size += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    at += size;
    if (number === 1 && n_pieces++ >= MAX_PIECES) continue;
    if (number !== 3) parts.push(bytes.subarray(begin, at));
    else parts.push(cutNormalizer(bytes.subarray(at - size, at)));
  }
  return Buffer.concat(parts);
}

/** A NormalizerSpec whose charsmap, field 2, is cut. */
function cutNormalizer(bytes) {
  const at = bytes.indexOf(0x12);
  let size = 0;
  let begin = at + 1;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[begin++];
    size += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) break;
  }
  const charsmap = size > CHARSMAP_UNITS * 4 ? cutCharsmap(bytes.subarray(begin, begin + size)) : bytes.subarray(begin, begin + size);
  const field = [...bytes.subarray(0, at), 0x12, ...varint(charsmap.length), ...charsmap, ...bytes.subarray(begin + size)];
  return Buffer.from([0x1a, ...varint(field.length), ...field]);
}

function varint(value) {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}

/** The tensors of the first layer, each cut to a few rows and columns. */
export function smallSafetensors(checkpoint) {
  const bytes = readGolden(checkpoint, "model.safetensors");
  const header = JSON.parse(bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE())).toString());
  let offset = 0;
  const entries = Object.entries(header).flatMap(([name, tensor]) => {
    if (name === "__metadata__") return [[name, tensor]];
    if (/layers?\.[1-9]/.test(name)) return [];
    const shape = tensor.shape.map((n) => Math.min(n, 3));
    const begin = offset;
    offset += shape.reduce((a, b) => a * b, tensor.dtype === "I64" ? 8 : 4);
    return [[name, { ...tensor, shape, data_offsets: [begin, offset] }]];
  });
  const table = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(table.length));
  return Buffer.concat([length, table, Buffer.alloc(offset)]);
}

// --- GGUF

/** TokenizerSpec as native targets read it, see test/native/fuzz/fuzz.h. */
function specLines({ model, normalizer, preTokenizer, options, addedTokens }) {
  const line = (...parts) => parts.join("\x1f");
  return [
    line("model", model),
    ...normalizer.map((step) => line("normalizer", ...step)),
    ...preTokenizer.map((step) => line("pre_tokenizer", ...step)),
    ...options.map((step) => line("option", ...step)),
    ...addedTokens.map(({ id, content, ...is }) =>
      line("added", id, is.special | (is.normalized << 1) | (is.lstrip << 2) | (is.rstrip << 3) | (is.singleWord << 4), content),
    ),
  ];
}

// What becomes of each size. Heads are 8 wide, the least there is.
const SIZES = (type) => ({
  embedding_length: type === "Q8_0" ? 32 : 8,
  feed_forward_length: type === "Q8_0" ? 64 : 16,
  positions: 32,
  layers: 2,
  heads: 3,
});
const WEIGHT_TYPES = ["F32", "F16", "Q8_0", "F32", "BF16", "F16"]; // of the checkpoints, in their order

/** A golden GGUF with a small vocabulary and two layers of small weights. */
async function smallGguf(addon, { metadata, tensors }, spec, type, output) {
  const architecture = metadata["general.architecture"].value;
  const of = (name) => metadata[`${architecture}.${name}`]?.value;
  const sizes = SIZES(type);
  const n_head = sizes.embedding_length / 8;
  const head = of("attention.key_length") ?? of("embedding_length") / of("attention.head_count");
  const n_head_kv = of("attention.head_count_kv") < of("attention.head_count") ? 1 : n_head;
  const added = new Set(spec.addedTokens.map(({ content }) => content));
  const tokens = metadata["tokenizer.ggml.tokens"].value;
  const kept = tokens.flatMap((piece, id) =>
    keeps(piece, id, added) || added.has(spec.addedTokens.find((t) => t.id === id)?.content) ? [id] : [],
  );
  const idOf = new Map(kept.map((old, id) => [old, id]));

  const changes = {
    [`${architecture}.block_count`]: sizes.layers,
    [`${architecture}.embedding_length`]: sizes.embedding_length,
    [`${architecture}.feed_forward_length`]: sizes.feed_forward_length,
    [`${architecture}.context_length`]: sizes.positions,
    [`${architecture}.attention.head_count`]: n_head,
    [`${architecture}.attention.head_count_kv`]: n_head_kv,
    [`${architecture}.attention.key_length`]: 8,
    [`${architecture}.attention.value_length`]: 8,
    [`${architecture}.rope.dimension_count`]: 8,
    "reranker.head.count": sizes.heads,
    "reranker.token_id": 5,
  };
  const entries = Object.entries(metadata).flatMap(([key, { type, value }]) => {
    if (key === "tokenizer.huggingface.json") return [];
    if (key.endsWith("sliding_window_pattern")) return [[key, "u32", 2]];
    if (Object.hasOwn(changes, key)) return [[key, type, changes[key]]];
    if (["tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type"].includes(key))
      return [[key, type, kept.map((id) => value[id])]];
    if (key === "tokenizer.ggml.merges")
      return [
        [
          key,
          type,
          value.filter(
            (merge) =>
              merge.split(" ").every((part) => kept.some((id) => tokens[id] === part)) &&
              kept.some((id) => tokens[id] === merge.replace(" ", "")),
          ),
        ],
      ];
    if (key === "tokenizer.ggml.precompiled_charsmap") return [[key, type, cutCharsmap(Buffer.from(value))]];
    if (key === "reranker.position.pad_row") return [[key, type, [...value].slice(0, sizes.embedding_length)]];
    if (/^tokenizer\.ggml\..*_token_id$/.test(key)) return idOf.has(value) ? [[key, type, idOf.get(value)]] : [];
    return [[key, type, value]];
  });
  const options = spec.options.filter(([name]) => name !== "vocab_size");
  const addedTokens = spec.addedTokens.filter(({ id }) => idOf.has(id)).map((token) => ({ ...token, id: idOf.get(token.id) }));
  entries.push(["fuzz.tokenizer", "string[]", specLines({ ...spec, options, addedTokens })]);

  const changed = new Map([
    [head, 8], // norms of heads
    [of("attention.head_count") * head, n_head * 8],
    [(of("attention.head_count_kv") ?? of("attention.head_count")) * head, n_head_kv * 8],
    [of("embedding_length"), sizes.embedding_length],
    [of("feed_forward_length"), sizes.feed_forward_length],
    [tokens.length, kept.length],
    // q, k and v as one, gate and up as one, and tables of another width.
    [3 * of("embedding_length"), 3 * sizes.embedding_length],
    [2 * of("feed_forward_length"), 2 * sizes.feed_forward_length],
    [tensors.find(({ name }) => name === "token_embd.weight").shape[0], sizes.embedding_length],
  ]);
  const small = tensors.flatMap((tensor) => {
    if (/^blk\.(?!0\.|1\.)|^token_embd_proj/.test(tensor.name)) return []; // the tables are as wide as the layers
    let shape = tensor.shape.map((n) => changed.get(n) ?? n);
    if (tensor.name === "position_embd.weight") shape = [sizes.embedding_length, sizes.positions];
    if (tensor.name === "reranker.head.weight") shape = [sizes.embedding_length, sizes.heads];
    const isMatrix = /^blk\..*(attn|ffn)_(q|k|v|qkv|output|up|down|gate)\.weight$/.test(tensor.name);
    return [{ name: tensor.name, type: isMatrix ? type : tensor.type, shape }];
  });
  const header = addon.writeGgufHeader(output, entries, small);
  const parts = [readFileSync(output).subarray(0, header.dataOffset)];
  for (const tensor of header.tensors) {
    const values = Float32Array.from({ length: tensor.shape.reduce((a, b) => a * b, 1) }, (_, i) => ((i * 37) % 19) / 19 - 0.4);
    const bytes = Buffer.from(values.buffer);
    const data = tensor.type === "F32" ? bytes : await addon.convertRows(bytes, "F32", tensor.type, tensor.shape[0]);
    parts.push(data, Buffer.alloc((32 - (data.length % 32)) % 32));
  }
  writeFileSync(output, Buffer.concat(parts));
}

const READABLE = /^(general\.architecture|tokenizer\.ggml\.(?!add_|pre$))/;

/** Files for the native targets: small models to begin with, and whole vocabularies. */
export async function makeNativeSeeds(folder, { convert, loadNative, tokenizerSpecOf, defaultTokenizerSpec }) {
  const addon = loadNative();
  const work = mkdtempSync(path.join(tmpdir(), "bge-fuzz-"));
  for (const name of ["gguf", "vocabularies"]) mkdirSync(path.join(folder, name), { recursive: true });
  try {
    for (const [i, checkpoint] of CHECKPOINTS.entries()) {
      const whole = path.join(work, `${checkpoint}.gguf`);
      await convert(path.join(golden, checkpoint), { output: whole, outtype: "f32" });
      const header = addon.readGguf(whole);
      const spec = tokenizerSpecOf(header);
      const vocabulary = Object.entries(header.metadata).flatMap(([key, { type, value }]) =>
        READABLE.test(key) ? [[key, type, value]] : [],
      );
      addon.writeGgufHeader(
        path.join(folder, "vocabularies", `${checkpoint}.gguf`),
        [...vocabulary, ["fuzz.tokenizer", "string[]", specLines(spec)]],
        [],
      );
      await smallGguf(addon, header, spec, WEIGHT_TYPES[i % WEIGHT_TYPES.length], path.join(folder, "gguf", `${checkpoint}.gguf`));
      await smallGguf(
        addon,
        header,
        defaultTokenizerSpec(header.metadata),
        "F32",
        path.join(folder, "gguf", `${checkpoint}-llama-cpp.gguf`),
      );
    }
  } finally {
    rmSync(work, { recursive: true });
  }
}

/** Texts of the reference, each behind the two bytes that test/native/fuzz/tokenizer.cpp begins with. */
export function makeTextSeeds(folder) {
  mkdirSync(folder, { recursive: true });
  for (const [i, checkpoint] of CHECKPOINTS.entries()) {
    const { strings } = JSON.parse(readGolden(checkpoint, "tokenization.json"));
    for (const [k, { text }] of strings.entries()) {
      if (text.length > 2000) continue;
      const which = i | (k % 2 ? 0x80 : 0);
      const limitAndRepeats = ((k % 16) << 4) | (k % 32 === 0 ? 10 : 0); // long texts are slow
      writeFileSync(path.join(folder, `${i}-${k}`), Buffer.concat([Buffer.from([which, limitAndRepeats]), Buffer.from(text)]));
    }
  }
}

// What is fuzzed in TypeScript: each parser with its seeds, its mutations, and what must hold of every answer. The parsers are
// handed in, compiled for `npm run fuzz` and as sources for the unit tests; so is the folder they read, as a function that
// fills it anew.
import { mutateBytes, mutateJson, mutateProtobuf, mutateSafetensors } from "./mutate.mjs";
import { CHECKPOINTS, hasGolden, readGolden, smallSafetensors, smallSentencePieceModel, smallTokenizerJson } from "./seeds.mjs";

const MAX_MESSAGE = 1000;
const DTYPE_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
};

export class PropertyBroken extends Error {}

function require(holds, what) {
  if (!holds) throw new PropertyBroken(what);
}

/** Runs a parser: it answers, or throws an error of a known code that names the file and the place. */
async function attempt(parse, { codes, names }) {
  try {
    return await parse();
  } catch (error) {
    const { name, code, message } = error;
    if (name !== "RerankerError") throw new PropertyBroken(`not a typed error: ${error?.stack}`);
    require(codes.includes(code), `the code ${code}: ${message.slice(0, 200)}`);
    require(message.length > 20 && message.length < MAX_MESSAGE, `a message of ${message.length} characters: ${message.slice(0, 200)}`);
    require(names.test(message), `a message without a place: ${message.slice(0, 200)}`);
    return undefined;
  }
}

/** Safetensors files; and, when the input begins like JSON, the index of a sharded checkpoint. */
export function safetensors({ readSafetensorsFolder }) {
  const shard = smallSafetensors(CHECKPOINTS[0]);
  return {
    seeds: () => [
      ...CHECKPOINTS.map(smallSafetensors),
      Buffer.from(JSON.stringify({ metadata: { total_size: 1 }, weight_map: { a: "model-1.safetensors", b: "model-1.safetensors" } })),
    ],
    mutate: (bytes, random) => (bytes[0] === 0x7b ? mutateJson(bytes, random) : mutateSafetensors(bytes, random)),
    async run(bytes, fill) {
      const isIndex = bytes[0] === 0x7b;
      const folder = fill(
        isIndex ? { "model.safetensors.index.json": bytes, "model-1.safetensors": shard } : { "model.safetensors": bytes },
      );
      const found = await attempt(() => readSafetensorsFolder(folder), {
        codes: ["CONVERT_FAILED", "MODEL_NOT_FOUND"],
        names: /\.safetensors/,
      });
      if (isIndex || !found) return;
      let total = 0;
      for (const [name, tensor] of found.tensors) {
        const size = tensor.shape.reduce((product, n) => product * n, DTYPE_BYTES[tensor.dtype]);
        require(tensor.name === name && tensor.sizeBytes === size, `the size of ${name}`);
        require(Number.isSafeInteger(tensor.offset) && tensor.offset >= 8 && tensor.offset + size <= bytes.length, `the place of ${name}`);
        total += size;
      }
      require(total < bytes.length, "tensors side by side");
    },
  };
}

const TOKENIZER_CODES = ["CONVERT_FAILED", "MODEL_INVALID", "TOKENIZER_UNSUPPORTED"];
const TOKENIZER_NAMES =
  /tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|SentencePiece|sentencepiece|tokenizer\.model|vocab\.txt|tokenizer\.huggingface\.json|_token\b/;

function checkVocabulary({ metadata, size, spec }) {
  const values = new Map(metadata.map(([key, , value]) => [key, value]));
  const tokens = values.get("tokenizer.ggml.tokens");
  require(tokens.length === size && tokens.every((token) => typeof token === "string"), "one string for every token");
  require(tokens.length <= 1 << 22, "a bounded vocabulary");
  require(values.get("tokenizer.ggml.token_type").every((type) => type >= 1 && type <= 6), "types from 1 to 6");
  const scores = values.get("tokenizer.ggml.scores");
  require(!scores || (scores.length === size && scores.every(Number.isFinite)), "a finite score for every token");
  for (const [key, , value] of metadata) if (key.endsWith("_token_id")) require(value >= 0 && value < size, `${key} in the vocabulary`);
  for (const { id } of spec.addedTokens) require(id >= 0 && id < size, "added tokens in the vocabulary");
}

/** tokenizer.json, and behind NUL bytes tokenizer_config.json and special_tokens_map.json; or, when it does not begin like JSON, vocab.txt. */
export function tokenizerJson({ readVocabulary, tokenizerSpecOf }) {
  const files = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];
  return {
    seeds: () => [
      ...CHECKPOINTS.map((checkpoint) =>
        Buffer.from(
          [
            JSON.stringify(smallTokenizerJson(checkpoint)),
            ...files.slice(1).map((name) => (hasGolden(checkpoint, name) ? readGolden(checkpoint, name) : "{}")),
          ].join("\0"),
        ),
      ),
      readGolden("bert-reranker", "vocab.txt").subarray(0, 1000),
    ],
    mutate(bytes, random) {
      if (bytes[0] !== 0x7b) return mutateBytes(bytes, random);
      const parts = splitAtNul(bytes);
      const i = random(4) > 0 ? 0 : random(parts.length);
      parts[i] = mutateJson(parts[i], random);
      return Buffer.concat(parts.flatMap((part, k) => (k === 0 ? [part] : [Buffer.from([0]), part])));
    },
    async run(bytes, fill) {
      const parts = bytes[0] === 0x7b ? splitAtNul(bytes) : [];
      // config.json names a class, so that a tokenizer_config.json without one is read on.
      const folder = fill(
        parts.length > 0
          ? {
              "config.json": '{"tokenizer_class":"PreTrainedTokenizerFast"}',
              ...Object.fromEntries(parts.map((part, i) => [files[i], part])),
            }
          : { "config.json": '{"model_type":"bert"}', "vocab.txt": bytes },
      );
      const found = await attempt(() => readVocabulary(folder), { codes: TOKENIZER_CODES, names: TOKENIZER_NAMES });
      if (found) checkVocabulary(found);
      if (!parts[0]) return;
      // The same rules as a GGUF carries them.
      const metadata = { "tokenizer.huggingface.json": { type: "string", value: parts[0].toString() } };
      await attempt(() => tokenizerSpecOf({ metadata }), { codes: TOKENIZER_CODES, names: TOKENIZER_NAMES });
    },
  };
}

function splitAtNul(bytes) {
  const parts = [];
  let begin = 0;
  for (let end = bytes.indexOf(0); end >= 0 && parts.length < 2; end = bytes.indexOf(0, begin)) {
    parts.push(bytes.subarray(begin, end));
    begin = end + 1;
  }
  return [...parts, bytes.subarray(begin)];
}

/** SentencePiece models, and what each tokenizer class makes of them. */
export function sentencepiece({ readSentencePieceModel, readVocabulary }) {
  return {
    seeds: () =>
      CHECKPOINTS.flatMap((name) =>
        ["sentencepiece.bpe.model", "tokenizer.model", "spm.model"]
          .filter((file) => hasGolden(name, file))
          .map((file) => smallSentencePieceModel(name, file)),
      ),
    mutate: mutateProtobuf,
    async run(bytes, fill) {
      const model = await attempt(() => readSentencePieceModel(bytes), { codes: TOKENIZER_CODES, names: /SentencePiece/ });
      if (!model) return;
      require(model.pieces.length * 2 <= bytes.length, "as many pieces as the file is long");
      for (const { score, type } of model.pieces)
        require(Number.isFinite(score) && type >= 1 && type <= 6, "finite scores and types from 1 to 6");
      const isUnigram = model.modelType === "unigram";
      for (const name of isUnigram ? ["XLMRobertaTokenizer"] : ["LlamaTokenizer", "GemmaTokenizer"]) {
        const config = JSON.stringify({ tokenizer_class: name });
        const folder = fill({ [isUnigram ? "sentencepiece.bpe.model" : "tokenizer.model"]: bytes, "tokenizer_config.json": config });
        const found = await attempt(() => readVocabulary(folder), { codes: TOKENIZER_CODES, names: TOKENIZER_NAMES });
        if (found) checkVocabulary(found);
      }
    },
  };
}

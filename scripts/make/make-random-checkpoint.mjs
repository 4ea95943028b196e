// Writes a Hugging Face checkpoint of a real model's shape with random weights, for checks of size, time and memory.
// The scores mean nothing; the shapes, the tokenizer and the files are those of the real thing.
import { createWriteStream } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { parseArgs } from "node:util";
import { gunzipSync } from "node:zlib";

const USAGE = `Usage: node scripts/make/make-random-checkpoint.mjs SHAPE OUT --tokenizer tokenizer.json[.gz]
  SHAPE          bge-reranker-base, bge-reranker-large, bge-reranker-v2-m3, bge-reranker-v2-gemma,
                 bge-reranker-v2-minicpm-layerwise, bge-reranker-v2.5-gemma2-lightweight
  --dtype TYPE   f32 (default), f16 or bf16
  --layers N     fewer layers than the real model
  --shard-mb N   largest weight file (default 5000, as the Hub has them)
  --seed N       another set of weights`;

// Shapes: config.json of the published checkpoints.
// biome-ignore format: a table
const encoder = (layers, hidden, heads, ffn, positions) => ({
  kind: "encoder",
  config: {
    architectures: ["XLMRobertaForSequenceClassification"], model_type: "xlm-roberta", num_hidden_layers: layers, hidden_size: hidden,
    num_attention_heads: heads, intermediate_size: ffn, max_position_embeddings: positions, type_vocab_size: 1, vocab_size: 250002,
    hidden_act: "gelu", layer_norm_eps: 1e-5, position_embedding_type: "absolute", id2label: { 0: "LABEL_0" }, label2id: { LABEL_0: 0 },
    bos_token_id: 0, pad_token_id: 1, eos_token_id: 2,
  },
  tokenizer: { tokenizer_class: "XLMRobertaTokenizer", bos_token: "<s>", eos_token: "</s>", cls_token: "<s>", sep_token: "</s>", pad_token: "<pad>", unk_token: "<unk>", mask_token: "<mask>" },
});
// biome-ignore format: a table
const gemmaTokenizer = { tokenizer_class: "GemmaTokenizer", add_bos_token: true, add_eos_token: false, bos_token: "<bos>", eos_token: "<eos>", pad_token: "<pad>", unk_token: "<unk>" };
const decoder = { hidden_size: 0, rope_theta: 10000, rope_scaling: null, attention_bias: false };

// biome-ignore format: a table
const SHAPES = {
  "bge-reranker-base": encoder(12, 768, 12, 3072, 514),
  "bge-reranker-large": encoder(24, 1024, 16, 4096, 514),
  "bge-reranker-v2-m3": encoder(24, 1024, 16, 4096, 8194),
  "bge-reranker-v2-gemma": {
    kind: "gemma",
    config: {
      ...decoder, architectures: ["GemmaForCausalLM"], model_type: "gemma", num_hidden_layers: 18, hidden_size: 2048, num_attention_heads: 8,
      num_key_value_heads: 1, head_dim: 256, intermediate_size: 16384, vocab_size: 256000, rms_norm_eps: 1e-6, max_position_embeddings: 8192,
      hidden_act: "gelu", bos_token_id: 2, eos_token_id: 1, pad_token_id: 0,
    },
    tokenizer: gemmaTokenizer,
  },
  "bge-reranker-v2-minicpm-layerwise": {
    kind: "minicpm",
    config: {
      ...decoder, architectures: ["LayerWiseMiniCPMForCausalLM"], model_type: "minicpm", num_hidden_layers: 40, hidden_size: 2304,
      num_attention_heads: 36, num_key_value_heads: 36, intermediate_size: 5760, vocab_size: 122753, rms_norm_eps: 1e-5,
      max_position_embeddings: 2048, hidden_act: "silu", scale_emb: 12, scale_depth: 1.4, dim_model_base: 256, start_layer: 8,
      head_type: "simple", head_multi: true, use_cache: false, bos_token_id: 1, eos_token_id: 2, pad_token_id: 0,
    },
    tokenizer: { tokenizer_class: "LlamaTokenizer", add_bos_token: true, add_eos_token: false, bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>", pad_token: "<unk>" },
  },
  "bge-reranker-v2.5-gemma2-lightweight": {
    kind: "gemma2",
    config: {
      ...decoder, architectures: ["CostWiseGemmaForCausalLM"], model_type: "cost_wise_gemma", num_hidden_layers: 42, hidden_size: 3584,
      num_attention_heads: 16, num_key_value_heads: 8, head_dim: 256, intermediate_size: 14336, vocab_size: 256000, rms_norm_eps: 1e-6,
      max_position_embeddings: 8192, hidden_act: "gelu_pytorch_tanh", hidden_activation: "gelu_pytorch_tanh", attn_logit_softcapping: 50,
      final_logit_softcapping: 30, sliding_window: 4096, sliding_window_size: 4096, query_pre_attn_scalar: 256, layer_wise: true,
      start_layer: 8, layer_sep: 1, bos_token_id: 2, eos_token_id: 1, pad_token_id: 0,
    },
    tokenizer: gemmaTokenizer,
  },
};

/** Tensors as [name, shape, spread, centre]. Spreads keep activations near 1, so that no type overflows. */
function* tensorsOf({ kind, config: c }) {
  if (kind === "encoder") yield* encoderTensors(c);
  else yield* decoderTensors(kind, c);
}

function* encoderTensors({ num_hidden_layers, hidden_size: d, intermediate_size: ff, vocab_size, max_position_embeddings }) {
  const linear = (name, out, inputs) => [
    [`${name}.weight`, [out, inputs], inputs ** -0.5],
    [`${name}.bias`, [out], 0.02],
  ];
  const norm = (name) => [
    [`${name}.weight`, [d], 0.05, 1],
    [`${name}.bias`, [d], 0.02],
  ];
  yield ["roberta.embeddings.word_embeddings.weight", [vocab_size, d], 0.05];
  yield ["roberta.embeddings.position_embeddings.weight", [max_position_embeddings, d], 0.02];
  yield ["roberta.embeddings.token_type_embeddings.weight", [1, d], 0.02];
  yield* norm("roberta.embeddings.LayerNorm");
  for (let i = 0; i < num_hidden_layers; i++) {
    const layer = `roberta.encoder.layer.${i}`;
    for (const part of ["query", "key", "value"]) yield* linear(`${layer}.attention.self.${part}`, d, d);
    yield* linear(`${layer}.attention.output.dense`, d, d);
    yield* norm(`${layer}.attention.output.LayerNorm`);
    yield* linear(`${layer}.intermediate.dense`, ff, d);
    yield* linear(`${layer}.output.dense`, d, ff);
    yield* norm(`${layer}.output.LayerNorm`);
  }
  yield* linear("classifier.dense", d, d);
  yield* linear("classifier.out_proj", 1, d);
}

function* decoderTensors(kind, c) {
  const { num_hidden_layers: layers, hidden_size: d, intermediate_size: ff, num_attention_heads: heads } = c;
  const headSize = c.head_dim ?? d / heads;
  // Gemma multiplies by 1 + w, MiniCPM by w.
  const norm = (name) => [`${name}.weight`, [d], 0.05, kind === "minicpm" ? 1 : 0];
  const linear = (name, out, inputs) => [`${name}.weight`, [out, inputs], inputs ** -0.5];
  yield ["model.embed_tokens.weight", [c.vocab_size, d], kind === "minicpm" ? 0.08 : d ** -0.5];
  for (let i = 0; i < layers; i++) {
    const layer = `model.layers.${i}`;
    yield linear(`${layer}.self_attn.q_proj`, heads * headSize, d);
    yield linear(`${layer}.self_attn.k_proj`, c.num_key_value_heads * headSize, d);
    yield linear(`${layer}.self_attn.v_proj`, c.num_key_value_heads * headSize, d);
    yield linear(`${layer}.self_attn.o_proj`, d, heads * headSize);
    yield linear(`${layer}.mlp.gate_proj`, ff, d);
    yield linear(`${layer}.mlp.up_proj`, ff, d);
    yield linear(`${layer}.mlp.down_proj`, d, ff);
    yield norm(`${layer}.input_layernorm`);
    yield norm(`${layer}.post_attention_layernorm`);
    if (kind !== "gemma2") continue;
    yield norm(`${layer}.pre_feedforward_layernorm`);
    yield norm(`${layer}.post_feedforward_layernorm`);
  }
  yield norm("model.norm");
  if (c.start_layer === undefined) return;
  for (let i = 0; i <= layers - c.start_layer; i++) yield linear(`lm_head.${i}.linear_head`, 1, d);
}

const DTYPES = {
  f32: { name: "F32", torch: "float32", bytes: 4, encode: (values) => Buffer.from(values.buffer) },
  bf16: { name: "BF16", torch: "bfloat16", bytes: 2, encode: (values) => halves(values, (bits) => bits >>> 16) },
  f16: { name: "F16", torch: "float16", bytes: 2, encode: (values) => halves(values, f16Bits) },
};

function halves(values, toBits) {
  const bits = new Uint32Array(values.buffer);
  return Buffer.from(Uint16Array.from(bits, toBits).buffer);
}

/** Cut, not rounded: random weights do not mind. */
function f16Bits(bits) {
  const exponent = ((bits >>> 23) & 0xff) - 112;
  const sign = (bits >>> 16) & 0x8000;
  return exponent <= 0 ? sign : sign | (exponent << 10) | ((bits >>> 13) & 0x3ff);
}

/** A block of normal random numbers, by spread and centre; a tensor is the block over and over from a place of its own. */
function noise(seed, encode) {
  const LENGTH = 1_048_583; // prime, so no two rows of a table are alike
  const blocks = new Map();
  const random = generator(seed);
  return (spread, centre) => {
    const key = `${spread} ${centre}`;
    let block = blocks.get(key);
    if (!block) {
      const values = new Float32Array(LENGTH);
      for (let i = 0; i < LENGTH; i += 2) {
        const radius = spread * Math.sqrt(-2 * Math.log(1 - random()));
        const angle = 2 * Math.PI * random();
        values[i] = centre + radius * Math.cos(angle);
        if (i + 1 < LENGTH) values[i + 1] = centre + radius * Math.sin(angle);
      }
      block = encode(values);
      blocks.set(key, block);
    }
    return { block, start: Math.floor(random() * LENGTH) };
  };
}

/** Mulberry32. */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
}

async function writeShard(path, tensors, dtype, draw) {
  const header = { __metadata__: { format: "pt" } };
  let offset = 0;
  for (const { name, shape, sizeBytes } of tensors) {
    header[name] = { dtype: dtype.name, shape, data_offsets: [offset, offset + sizeBytes] };
    offset += sizeBytes;
  }
  const json = Buffer.from(JSON.stringify(header));
  const table = Buffer.concat([json, Buffer.alloc((8 - (json.length % 8)) % 8, " ")]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(table.length));
  const file = createWriteStream(path, { highWaterMark: 1 << 24 });
  const write = (bytes) => file.write(bytes) || new Promise((resume) => file.once("drain", resume));
  await write(length);
  await write(table);
  for (const { spread, centre, sizeBytes } of tensors) {
    const { block, start } = draw(spread, centre);
    for (let at = start * dtype.bytes, left = sizeBytes; left > 0; at = 0) {
      const piece = block.subarray(at, Math.min(block.length, at + left));
      left -= piece.length;
      await write(piece);
    }
  }
  file.end();
  await finished(file);
}

function shardsOf(tensors, limit) {
  const shards = [[]];
  let size = 0;
  for (const tensor of tensors) {
    if (size > 0 && size + tensor.sizeBytes > limit) {
      shards.push([]);
      size = 0;
    }
    shards.at(-1).push(tensor);
    size += tensor.sizeBytes;
  }
  return shards;
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      tokenizer: { type: "string" },
      dtype: { type: "string", default: "f32" },
      layers: { type: "string" },
      "shard-mb": { type: "string", default: "5000" },
      seed: { type: "string", default: "1" },
    },
  });
  const [shapeName, out] = positionals;
  const shape = SHAPES[shapeName];
  const dtype = DTYPES[values.dtype];
  if (!shape || !out || !dtype || !values.tokenizer) {
    console.error(USAGE);
    process.exitCode = 2;
    return;
  }
  const config = { ...shape.config, torch_dtype: dtype.torch, num_hidden_layers: Number(values.layers ?? shape.config.num_hidden_layers) };
  if (config.start_layer) config.start_layer = Math.min(config.start_layer, config.num_hidden_layers);
  await mkdir(out, { recursive: true });
  const json = await readFile(values.tokenizer);
  await writeFile(join(out, "tokenizer.json"), values.tokenizer.endsWith(".gz") ? gunzipSync(json) : json);
  await writeFile(join(out, "tokenizer_config.json"), JSON.stringify(shape.tokenizer, null, 2));
  await writeFile(join(out, "config.json"), JSON.stringify(config, null, 2));

  const tensors = [...tensorsOf({ ...shape, config })].map(([name, dimensions, spread, centre = 0]) => {
    const sizeBytes = dimensions.reduce((product, n) => product * n, dtype.bytes);
    return { name, shape: dimensions, spread, centre, sizeBytes };
  });
  const shards = shardsOf(tensors, Number(values["shard-mb"]) * 1e6);
  const draw = noise(Number(values.seed), dtype.encode);
  const weight_map = {};
  for (const [i, shard] of shards.entries()) {
    const of = (n) => String(n).padStart(5, "0");
    const file = shards.length === 1 ? "model.safetensors" : `model-${of(i + 1)}-of-${of(shards.length)}.safetensors`;
    await writeShard(join(out, file), shard, dtype, draw);
    for (const { name } of shard) weight_map[name] = file;
  }
  const total_size = tensors.reduce((sum, tensor) => sum + tensor.sizeBytes, 0);
  const index = join(out, "model.safetensors.index.json");
  if (shards.length > 1) await writeFile(index, JSON.stringify({ metadata: { total_size }, weight_map }, null, 2));
  else await rm(index, { force: true });
  console.log(`${out}: ${shapeName}, ${tensors.length} tensors, ${(total_size / 1e9).toFixed(2)} GB in ${shards.length} file(s)`);
}

await main();

// Tokens a second of every model that docs/models.md lists, on this machine's CPU: its shape with random weights in Q8_0 and the tiny
// vocabulary of a golden checkpoint, pairs of about 100 tokens of different queries. Shapes are measured with few layers at two depths
// and the rest is calculated, which is exact as far as layers are alike. Prints a Markdown table, a row as it is done.
//   node scripts/measure/models.mjs [--only NAMES] [--make] [--pairs N] [--seconds N] [--threads N]
import { closeSync, cpSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { randomNumbers } from "../../bench/random.mjs";
import { median } from "../../bench/statistics.mjs";
import { readConfig } from "../../lib/convert/config.js";
import { convert, Reranker } from "../../lib/index.js";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..");
const cache = path.join(root, "build", "models-speed");

// hidden size, layers, heads, feed-forward size, and what else is its own: config.json of the published checkpoints.
const bert = (hidden, layers, heads, ffn) => ["bert-reranker", hidden, layers, heads, ffn];
const xlmr = (hidden, layers, heads, ffn) => ["xlmr-reranker", hidden, layers, heads, ffn];
const modernBert = (hidden, layers, heads, ffn) => ["gte-modernbert-reranker", hidden, layers, heads, ffn, { local_attention: 128 }];
const deberta = (hidden, layers, heads, ffn) => [
  "deberta-reranker",
  hidden,
  layers,
  heads,
  ffn,
  { position_buckets: 256, pooler_hidden_size: hidden },
];
const qwen3 = (hidden, layers, heads, ffn, keyHeads) => [
  "qwen3-reranker",
  hidden,
  layers,
  heads,
  ffn,
  { num_key_value_heads: keyHeads, head_dim: 128 },
];
const qwen2 = (hidden, layers, heads, ffn) => ["mxbai-v2-reranker", hidden, layers, heads, ffn, { num_key_value_heads: 2 }];

// biome-ignore format: a table
const SHAPES = {
  "bge-reranker-base, bce-reranker-base_v1": xlmr(768, 12, 12, 3072),
  "bge-reranker-large, -v2-m3": xlmr(1024, 24, 16, 4096),
  "bge-reranker-v2-gemma": ["gemma-reranker", 2048, 18, 8, 16384, { num_key_value_heads: 1, head_dim: 256 }],
  "bge-reranker-v2-minicpm-layerwise": ["minicpm-layerwise-reranker", 2304, 40, 36, 5760, { num_key_value_heads: 36 }],
  "bge-reranker-v2.5-gemma2-lightweight": ["gemma2-lightweight-reranker", 3584, 42, 16, 14336, { num_key_value_heads: 8, head_dim: 256, sliding_window: 4096, query_pre_attn_scalar: 256 }],
  "gte-reranker-modernbert-base, ettin-reranker-150m-v1": modernBert(768, 22, 12, 1152),
  "gte-multilingual-reranker-base": ["gte-multilingual-reranker", 768, 12, 12, 3072],
  "ettin-reranker-17m-v1": modernBert(256, 7, 4, 384),
  "ettin-reranker-32m-v1": modernBert(384, 10, 6, 576),
  "ettin-reranker-68m-v1": modernBert(512, 19, 8, 768),
  "ettin-reranker-400m-v1": modernBert(1024, 28, 16, 2624),
  "ettin-reranker-1b-v1": modernBert(1792, 28, 28, 3840),
  "ms-marco-tinybert-l2-v2": bert(128, 2, 2, 512),
  "ms-marco-minilm-l6-v2": bert(384, 6, 12, 1536),
  "ms-marco-minilm-l12-v2": bert(384, 12, 12, 1536),
  "ms-marco-electra-base": ["electra-reranker", 768, 12, 12, 3072, { embedding_size: 768 }],
  "mxbai-rerank-xsmall-v1": deberta(384, 12, 6, 1536),
  "mxbai-rerank-base-v1": deberta(768, 12, 12, 3072),
  "mxbai-rerank-large-v1": deberta(1024, 24, 16, 4096),
  "qwen3-reranker-0.6b": qwen3(1024, 28, 16, 3072, 8),
  "qwen3-reranker-4b, zerank-1, zerank-2": qwen3(2560, 36, 32, 9728, 8),
  "qwen3-reranker-8b": qwen3(4096, 36, 32, 12288, 8),
  "zerank-1-small": qwen3(2048, 28, 16, 6144, 8),
  "mxbai-rerank-base-v2": qwen2(896, 24, 14, 4864),
  "mxbai-rerank-large-v2": qwen2(1536, 28, 12, 8960),
};
// Layers measured: two depths where the model is deeper. ModernBERT's attention goes by threes,
const depthsOf = (layers, hidden) => (layers <= 3 ? [layers] : hidden >= 2048 ? [2, 3] : [3, 6]);

const { values: options } = parseArgs({
  options: {
    only: { type: "string" },
    make: { type: "boolean", default: false }, // only make the files
    pairs: { type: "string", default: "48" },
    seconds: { type: "string", default: "2" }, // of each depth
    threads: { type: "string", default: String(availableParallelism()) },
  },
});

const threads = Number(options.threads);

function applies({ field, value, otherwise, exists, differ }, config, quantities) {
  if (exists) return quantities.has(exists);
  if (differ) return quantities.get(differ[0]) !== quantities.get(differ[1]);
  return (config[field] ?? otherwise) === value;
}

/** Writes the golden checkpoint in another shape, tensor by tensor as its profile lists them. */
function writeCheckpoint(folder, [golden, hidden, , heads, ffn, more = {}], layers) {
  cpSync(path.join(root, "test", "golden", golden), folder, {
    recursive: true,
    filter: (file) => !/cases|tokenization|safetensors/.test(file),
  });
  const file = path.join(folder, "config.json");
  const config = JSON.parse(readFileSync(file, "utf8"));
  Object.assign(config, { hidden_size: hidden, num_hidden_layers: layers, num_attention_heads: heads, intermediate_size: ffn }, more);
  delete config.layer_types;
  if (config.start_layer) config.start_layer = layers;
  writeFileSync(file, JSON.stringify(config));
  const { checkpoint, quantities } = readConfig(config);
  const draw = randomNumbers(1);
  const block = Float32Array.from({ length: 1_048_583 }, () => draw() + draw() + draw() + draw() - 2); // about normal, of 0.58
  const tensors = [];
  for (const [name, rule] of Object.entries(checkpoint.tensors)) {
    if (rule.when && !applies(rule.when, config, quantities)) continue;
    const shape = rule.shape.map((n) => (typeof n === "number" ? n : quantities.get(n)));
    const times = name.includes("{i}") ? layers : name.includes("{h}") ? quantities.get("n_score_head") : 1;
    for (let i = rule.firstLayer ?? 0; i < times; i++) tensors.push({ name: name.replace(/\{[ih]\}/, String(i)), shape, rule });
  }
  const sizeOf = ({ shape }) => 4 * shape.reduce((product, n) => product * n, 1);
  const header = {};
  let offset = 0;
  for (const tensor of tensors) {
    header[tensor.name] = { dtype: "F32", shape: tensor.shape, data_offsets: [offset, offset + sizeOf(tensor)] };
    offset += sizeOf(tensor);
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const out = openSync(path.join(folder, "model.safetensors"), "w");
  for (const bytes of [length, json]) writeSync(out, bytes);
  for (const { shape, rule } of tensors) {
    const n = shape.reduce((product, each) => product * each, 1);
    const isNorm = shape.length === 1 && /norm\.weight$/.test(rule.name) && rule.transform !== "plus-one";
    const scale = shape.length > 1 ? 1.7 * shape.at(-1) ** -0.5 : 0.05;
    const values = new Float32Array(n);
    for (let at = 0; at < n; at += block.length) values.set(block.subarray(0, Math.min(block.length, n - at)), at);
    for (let i = 0; i < n; i++) values[i] = values[i] * scale + (isNorm ? 1 : 0);
    writeSync(out, Buffer.from(values.buffer));
  }
  closeSync(out);
}

async function fileOf(shape, layers) {
  const [golden, hidden, , heads, ffn] = shape;
  const model = path.join(cache, `${golden}-${hidden}-${heads}-${ffn}-${layers}.gguf`);
  if (existsSync(model)) return model;
  const folder = `${model}.checkpoint`;
  mkdirSync(folder, { recursive: true });
  writeCheckpoint(folder, shape, layers);
  await convert(folder, { output: model, outtype: "q8_0" });
  rmSync(folder, { recursive: true });
  return model;
}

/** Pairs of about 100 tokens, whatever the vocabulary and the template; no two share a query. */
async function pairsFor(reranker, count) {
  const words = "what is a panda bear doing in the long winter of that year and why does it eat so much bread".split(" ");
  const draw = randomNumbers(2);
  const text = (length) => Array.from({ length }, () => words[Math.floor(draw() * words.length)]).join(" ");
  const tokens = (query, document) => reranker.encodePair(query, document).inputIds.length;
  const pairs = [];
  let total = 0;
  for (let i = 0; i < count; i++) {
    const query = text(6);
    let length = 1;
    while (tokens(query, text(length + 1)) < 100) length++;
    const document = text(length);
    pairs.push([query, document]);
    total += tokens(query, document);
  }
  return { pairs, total };
}

/** Milliseconds of a token with so many layers, by CPU time, which others on the machine disturb less. */
async function measure(shape, layers, hidden) {
  const reranker = await Reranker.load(await fileOf(shape, layers), { devices: "cpu", threads, prefixCacheSize: 0 });
  try {
    const { pairs, total } = await pairsFor(reranker, hidden >= 2048 ? 8 : Number(options.pairs));
    await reranker.computeScore(pairs);
    const times = [];
    const start = performance.now();
    do {
      const before = process.cpuUsage();
      await reranker.computeScore(pairs);
      const { user, system } = process.cpuUsage(before);
      times.push((user + system) / 1000 / threads / total);
    } while (performance.now() - start < 1000 * Number(options.seconds));
    return median(times);
  } finally {
    await reranker.dispose();
  }
}

mkdirSync(cache, { recursive: true });
const wanted = options.only?.split(",");
if (!options.make) console.log("| model | layers measured | tokens/s |\n|---|---|--:|");
for (const [names, shape] of Object.entries(SHAPES)) {
  if (wanted && !wanted.some((name) => names.split(", ").includes(name))) continue;
  const [, hidden, layers] = shape;
  const depths = depthsOf(layers, hidden);
  if (options.make) {
    for (const depth of depths) console.error(await fileOf(shape, depth));
    continue;
  }
  const [first, second] = [await measure(shape, depths[0], hidden), depths[1] && (await measure(shape, depths[1], hidden))];
  const ms = second === undefined ? first : first + ((second - first) * (layers - depths[0])) / (depths[1] - depths[0]);
  console.log(`| ${names} | ${depths.join(" and ")} of ${layers} | ${Math.round(1000 / ms).toLocaleString("en")} |`);
}

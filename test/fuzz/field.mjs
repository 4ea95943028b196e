// Hostile input by chance, from a fixed seed: model files, checkpoints, and calls with any value. Counts crashes, errors without a
// type of ours, and finite scores from weights that are not. `node test/fuzz/field.mjs [gguf|checkpoint|tools] [count] [seed]`
// runs a part in child processes; a line of JSON tells what came out.
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { randomFrom } from "./mutate.mjs";

const self = fileURLToPath(import.meta.url);
const golden = fileURLToPath(new URL("../golden/", import.meta.url));
const BATCH = 50;
const CHECKPOINTS = ["bert-reranker", "xlmr-reranker", "gemma-reranker", "minicpm-layerwise-reranker", "gemma2-lightweight-reranker"];
const NOT_FINITE = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];

/** @returns {{ runs: number, scored: number, refused: number, untyped: string[], crashes: string[], wrong: string[] }} */
export function fuzzField(part, count, seed = 1) {
  const total = { part, runs: 0, scored: 0, refused: 0, untyped: [], crashes: [], wrong: [] };
  for (let first = 0; first < count; first += BATCH) {
    const n = Math.min(BATCH, count - first);
    const child = spawnSync(process.execPath, [self, "--batch", part, String(seed + first), String(n)], {
      encoding: "utf8",
      timeout: 300_000,
    });
    const lines = child.stdout
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line));
    total.runs += lines.length;
    for (const { kind, text } of lines) {
      if (kind === "scored" || kind === "refused") total[kind]++;
      else total[kind].push(text);
    }
    if (child.status !== 0)
      total.crashes.push(`${part}, seed ${seed + first + lines.length}: ${child.signal ?? child.status} ${child.stderr.slice(-300)}`);
  }
  return total;
}

const pick = (list, random) => list[random(list.length)];
const report = (kind, text) => console.log(JSON.stringify({ kind, text }));

/** Runs one input: typed errors are right, and so is a score unless the weights are not finite. */
async function attempt(what, broken, run) {
  try {
    const scores = await run();
    if (broken && scores?.some(Number.isFinite)) report("wrong", `${what}: ${scores} of weights that are not finite`);
    else report("scored");
  } catch (error) {
    const typed =
      error?.name === "RerankerError" ||
      ((error instanceof TypeError || error instanceof RangeError) && /`|Expected|option/.test(error.message));
    report(typed ? "refused" : "untyped", typed ? undefined : `${what}: ${error?.stack ?? error}`);
  }
}

function flipBytes(bytes, random) {
  const from = random(bytes.length);
  for (let i = random(8); i >= 0; i--) bytes[Math.min(bytes.length - 1, from + random(64))] = random(256);
  return bytes;
}

async function score(api, path) {
  const reranker = await api.Reranker.load(path, { devices: "cpu", threads: 1 });
  try {
    return await reranker.computeScore([["what is a panda?", "The giant panda is a bear."]]);
  } finally {
    await reranker.dispose();
  }
}

const PARTS = {
  async gguf(api, folder, random, seed) {
    const name = pick(CHECKPOINTS, random);
    const type = pick(["f32", "f16", "q8_0"], random);
    const source = join(folder, `${name}-${type}.gguf`);
    if (!readdirSync(folder).includes(`${name}-${type}.gguf`)) await api.convert(join(golden, name), { output: source, outtype: type });
    const bytes = readFileSync(source);
    const { tensors } = await api.inspectModel(source);
    const how = random(4);
    let broken = false;
    if (how === 0) {
      const tensor = pick(tensors, random); // every kind has its turn
      const value = pick(NOT_FINITE, random);
      broken = tensor.type === "F32" || tensor.type === "F16";
      if (tensor.type === "F32") bytes.writeFloatLE(value, tensor.offset + 4 * random(tensor.sizeBytes / 4));
      else
        bytes.writeUInt16LE(
          Number.isNaN(value) ? 0x7e00 : value > 0 ? 0x7c00 : 0xfc00,
          tensor.offset + (tensor.type === "F16" ? 2 * random(tensor.sizeBytes / 2) : 34 * random(tensor.sizeBytes / 34)),
        );
      broken = true;
    } else if (how === 1) flipBytes(bytes.subarray(0, Math.min(bytes.length, 4096)), random);
    else if (how === 2) flipBytes(bytes, random);
    const path = join(folder, "fuzzed.gguf");
    writeFileSync(path, how === 3 ? bytes.subarray(0, random(bytes.length)) : bytes);
    await attempt(`gguf ${name} ${type}, seed ${seed}`, broken, () => score(api, path));
  },

  async checkpoint(api, folder, random, seed) {
    const name = pick(CHECKPOINTS, random);
    const copy = join(folder, "checkpoint");
    rmSync(copy, { recursive: true, force: true });
    cpSync(join(golden, name), copy, { recursive: true, filter: (path) => !/cases\.json|tokenization\.json|activations/.test(path) });
    let broken = false;
    if (random(3) === 0) {
      const path = join(copy, "model.safetensors");
      const bytes = readFileSync(path);
      const length = Number(bytes.readBigUInt64LE());
      const header = JSON.parse(bytes.subarray(8, 8 + length).toString());
      const used = Object.entries(header).filter(([key, { dtype }]) => dtype === "F32" && !/position_ids|pooler|^__/.test(key));
      const [key, { data_offsets: place }] = pick(used, random);
      bytes.writeFloatLE(pick(NOT_FINITE, random), 8 + length + place[0] + 4 * random((place[1] - place[0]) / 4));
      writeFileSync(path, bytes);
      broken = key !== "roberta.embeddings.position_embeddings.weight"; // its first rows belong to no token
    } else {
      const file = pick(["config.json", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json", "model.safetensors"], random);
      const path = join(copy, file);
      if (!readdirSync(copy).includes(file)) return attempt(`checkpoint ${name}, seed ${seed}`, false, async () => [0]);
      const bytes = readFileSync(path);
      if (file.endsWith(".json") && random(2) === 0) {
        const json = JSON.parse(bytes.toString());
        const key = pick(Object.keys(json), random);
        json[key] = pick([null, true, -1, 0, 1e9, 1e308, "x", [], {}, [null], { a: [] }, "\0"], random);
        writeFileSync(path, JSON.stringify(json));
      } else writeFileSync(path, random(4) === 0 ? bytes.subarray(0, random(bytes.length)) : flipBytes(bytes, random));
    }
    await attempt(`checkpoint ${name}, seed ${seed}`, broken, async () => {
      const output = join(folder, "converted.gguf");
      await api.convert(copy, { output, outtype: "f32", overwrite: true });
      return score(api, output);
    });
  },

  async tools(api, folder, random, seed) {
    api.shared ??= await api.Reranker.load("default", { devices: "cpu", threads: 1 });
    const odd = [undefined, null, true, 0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2n ** 70n, "", "x", "\ud800", [], [[]], Object.assign([], { 1: 1 }), {}, new Map(), new Date(), Symbol("s"), () => 1, Object.create({ topN: 1 }), new Proxy({}, {}), "x".repeat(1e5), [["q", "d"]], ["q", "d"], new Float32Array(2), /x/, new Error("e")]; // biome-ignore format: one table
    const value = () => pick(odd, random);
    const names = ["topN", "maxLength", "normalize", "overflow", "signal", "onProgress", "cutoffLayers", "cascade", "minScore", "outtype", "lora", "tensorTypes", "candidates", "k1", "metrics"]; // biome-ignore format: one table
    const options = () => (random(3) === 0 ? value() : { [pick(names, random)]: value() });
    const { shared } = api;
    const bm25 = new api.Bm25();
    const calls = {
      rerank: () => shared.rerank(value(), random(2) ? ["a", value()] : value(), options()),
      computeScore: () => shared.computeScore(random(2) ? [["a", "b"]] : value(), options()),
      plan: () => shared.plan(value(), value(), options()),
      tokenize: () => shared.tokenize(value()),
      encodePair: () => shared.encodePair(value(), value(), options()),
      load: () => api.Reranker.load(pick([value(), folder, "/dev/null", "/nowhere"], random), options()),
      convert: () => api.convert(pick([value(), folder], random), options()),
      quantize: () => api.quantize(value(), value(), value(), options()),
      inspectModel: () => api.inspectModel(pick([value(), folder, "/dev/null"], random)),
      evaluate: () => api.evaluate(value(), value(), options()),
      rank: () => api.rank(value()),
      formatRun: () => api.formatRun(value(), value(), value()),
      add: () => bm25.add(value(), value()),
      search: () => bm25.search(value(), value()),
      bm25: () => new api.Bm25(options()),
      loadDataset: () => api.loadDataset(pick([value(), folder], random), options()),
      findCheckpoint: () => api.findCheckpoint(pick([value(), folder], random), options()),
      verifyModel: () => api.verifyModel(pick([value(), "/nowhere"], random), options()),
      listModels: () => api.listModels(value()),
    };
    const name = pick(Object.keys(calls), random);
    await attempt(`${name}, seed ${seed}`, false, async () => void (await calls[name]()));
  },
};

async function batch(part, first, count) {
  process.env.HF_HUB_OFFLINE = "1"; // a name by chance is never asked for
  const api = { ...(await import("../../lib/index.js")) };
  const folder = mkdtempSync(join(tmpdir(), "bge-field-"));
  try {
    for (let seed = first; seed < first + count; seed++) await PARTS[part](api, folder, randomFrom(seed), seed);
    await api.shared?.dispose();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const [, , first, ...rest] = process.argv;
if (process.argv[1] === self && first === "--batch") await batch(rest[0], Number(rest[1]), Number(rest[2]));
else if (process.argv[1] === self) {
  const parts = first === undefined ? Object.keys(PARTS) : [first];
  let bad = 0;
  for (const part of parts) {
    const found = fuzzField(part, Number(rest[0] ?? 2000), Number(rest[1] ?? 1));
    bad += found.untyped.length + found.crashes.length + found.wrong.length;
    console.log(JSON.stringify(found, null, 1));
  }
  process.exitCode = bad > 0 ? 1 : 0;
}

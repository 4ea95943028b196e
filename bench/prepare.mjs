// Makes what the engines of one shape need, unless it is there from an earlier run: tokenizer, random checkpoint, GGUF and
// ONNX files, workloads. Runs in a process of its own, so that the measuring one stays small.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { loadNative } from "../lib/addon/native.js";
import { convert, Reranker } from "../lib/index.js";
import { writeXlmRoberta } from "./onnx/xlm-roberta.mjs";
import { PREFIX_WORKLOADS } from "./plan.mjs";
import { SHAPES } from "./shapes.mjs";
import { wordsOf } from "./tokenizer.mjs";
import { writeWithoutHeads } from "./without-heads.mjs";
import { makePrefixWorkloads, makeWorkloads } from "./workloads.mjs";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const cache = path.join(root, "build", "bench");

process.on("message", async (request) => {
  try {
    process.send({ result: await prepare(request) });
  } catch (error) {
    process.send({ error: error?.message ?? String(error) });
  }
  process.disconnect();
});

/** @returns {Promise<{ files, workloadFile, workloads, cpu }>} Paths by file name, and what the parent needs to know. */
async function prepare({ shapeName, layers, files: wanted, counts, tokenizerFile }) {
  const shape = SHAPES[shapeName];
  const tokenizer = readTokenizer(shape, shape.folder ? path.join(root, shape.folder, "tokenizer.json") : tokenizerFile);
  const name = [shapeName, layers === shape.layers ? "" : `${layers}-layers`, tokenizerFile && !shape.folder ? tokenizer.hash : ""]
    .filter(Boolean)
    .join("-");
  const folder = path.join(cache, name);
  mkdirSync(path.join(folder, "onnx"), { recursive: true });
  const context = {
    shape,
    layers,
    folder,
    tokenizer,
    checkpoint: shape.folder ? path.join(root, shape.folder) : path.join(folder, "checkpoint"),
  };
  const files = {};
  for (const file of new Set(["Q8_0", ...wanted])) files[file] = await makeFile(file, context);
  // A decoder's checkpoint is as large as all the rest.
  if (shape.family === "decoder" && !wanted.includes("checkpoint")) rmSync(context.checkpoint, { recursive: true, force: true });

  const workloads = await encodeWorkloads(files.Q8_0, wordsOf(tokenizer.json), counts, shape.family);
  const workloadFile = path.join(folder, "workloads.json");
  writeFileSync(workloadFile, JSON.stringify(workloads));
  const sizes = Object.fromEntries(Object.entries(files).map(([file, at]) => [file, sizeOf(at)]));
  return {
    files,
    sizes,
    workloadFile,
    cpu: loadNative().cpu(),
    tokenizer: tokenizer.title,
    workloads: workloads.map(({ pairs, ...workload }) => ({ ...workload, lengths: pairs.map(({ ids }) => ids.length) })),
  };
}

function readTokenizer(shape, file) {
  if (file) {
    const data = readFileSync(file);
    const text = (file.endsWith(".gz") ? gunzipSync(data) : data).toString();
    return { json: JSON.parse(text), text, title: path.basename(file), hash: createHash("sha256").update(text).digest("hex").slice(0, 8) };
  }
  const json = shape.tokenizer();
  return { json, text: JSON.stringify(json), title: `invented, ${shape.vocabulary}` };
}

function makeFile(file, context) {
  if (file === "checkpoint") return makeCheckpoint(context);
  if (file.startsWith("onnx-")) return makeOnnx(file === "onnx-int8", context);
  if (file.startsWith("llama-")) return makeLlamaFile(file, context);
  return makeGguf(file, context);
}

function makeCheckpoint({ shape, layers, folder, tokenizer, checkpoint }) {
  if (shape.folder) return checkpoint;
  if (existsSync(path.join(checkpoint, "config.json")) && existsSync(path.join(checkpoint, ".complete"))) return checkpoint;
  const tokenizerFile = path.join(folder, "tokenizer.json");
  writeFileSync(tokenizerFile, tokenizer.text);
  const dtype = shape.family === "encoder" ? "f32" : "bf16";
  const script = path.join(root, "scripts", "make", "make-random-checkpoint.mjs");
  const args = [script, shape.checkpoint, checkpoint, "--tokenizer", tokenizerFile, "--dtype", dtype, "--layers", String(layers)];
  console.error(`  making a random checkpoint: ${shape.title}`);
  execFileSync(process.execPath, args, { stdio: ["ignore", "ignore", "inherit"] });
  writeFileSync(path.join(checkpoint, ".complete"), "");
  return checkpoint;
}

async function makeGguf(type, context) {
  const output = path.join(context.folder, `${type}.gguf`);
  if (existsSync(output)) return output;
  const source = makeCheckpoint(context);
  console.error(`  converting it to ${type}`);
  await convert(source, { output, outtype: type.toLowerCase() });
  return output;
}

async function makeLlamaFile(file, context) {
  const whole = await makeGguf(file.slice("llama-".length), context);
  if (!context.shape.scoreHeads) return whole;
  const output = path.join(context.folder, `${file}.gguf`);
  if (!existsSync(output)) writeWithoutHeads(whole, output);
  return output;
}

function makeOnnx(int8, context) {
  const output = path.join(context.folder, "onnx", int8 ? "model_quantized.onnx" : "model.onnx");
  if (existsSync(output)) return output;
  const source = makeCheckpoint(context);
  console.error(`  writing it as ONNX, ${int8 ? "int8" : "F32"}`);
  writeXlmRoberta(source, output, { int8 });
  writeFileSync(path.join(context.folder, "config.json"), readFileSync(path.join(source, "config.json")));
  return output;
}

async function encodeWorkloads(gguf, words, counts, family) {
  const reranker = await Reranker.load(gguf, { threads: 1, devices: "cpu" });
  const encode = (query, passage, maxLength) => Array.from(reranker.encodePair(query, passage, { maxLength }).inputIds);
  const workloads = makeWorkloads(words, encode, counts);
  if (family === "decoder") workloads.push(...makePrefixWorkloads(words, encode, PREFIX_WORKLOADS));
  await reranker.dispose();
  return workloads;
}

function sizeOf(file) {
  const info = statSync(file);
  if (info.isDirectory()) return statSync(path.join(file, "model.safetensors")).size;
  const data = `${file}_data`;
  return info.size + (existsSync(data) ? statSync(data).size : 0);
}

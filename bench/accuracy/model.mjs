// One model under measurement: its files of every type, and the logits of each variant, each scored by a process of its own.
import { rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { convert, inspectModel, measureImportance, quantize, Reranker } from "../../lib/index.js";
import { EngineProcess } from "../engine-process.mjs";
import { errorOf, ndcgOf, orderOf } from "./compare.mjs";
import { measurePeer } from "./peers.mjs";
import { workloadOf } from "./texts.mjs";

const log = (text) => console.error(`  ${text}`);

/**
 * Scores the pairs with every variant and compares.
 *
 * @param source - A GGUF file, or a checkpoint folder.
 * @param plan - { pairs, calibration, types, modes, levels, peers, threads, maxLength, folder }: with pairs as `calibration` each type
 *   is made with an importance matrix, too; `folder` is for files in between, the caller's to remove.
 */
export async function measureModel(source, plan) {
  const model = await prepare(source, plan);
  log("F32");
  const { logits: reference, isa } = await scored(model, { gguf: model.f32 });
  const rows = [{ title: "F32", ...figuresOf(model, reference, reference, reference) }];
  const importance = plan.calibration && (await importanceOf(model, plan));
  for (const type of plan.types ?? [model.type]) {
    rows.push(...(await measureType(model, type, reference)));
    if (importance && type !== model.ownType) rows.push(...(await measureType(model, type, reference, importance)));
  }
  const ownF32 = new Map();
  for (const peer of plan.peers) rows.push(...(await measurePeer(peer, model, reference, { scored, figuresOf, ownF32 })));
  return { source, name: model.name, pairs: plan.pairs.length, queries: countQueries(plan.pairs), isa, ...spreadOf(reference), rows };
}

async function prepare(source, { folder, pairs, maxLength, modes, levels, threads }) {
  const gguf = statSync(source).isDirectory() ? path.join(folder, "source.gguf") : source;
  if (gguf !== source) await convert(source, { output: gguf, outtype: "f32", overwrite: true });
  const { tensors, reranker, problem, metadata } = await inspectModel(gguf);
  if (!reranker) throw new Error(`${source} cannot be scored: ${problem}`);
  const f32 = path.join(folder, "f32.gguf");
  await quantize(gguf, f32, "f32", { overwrite: true });
  const workloadFile = path.join(folder, "pairs.json");
  const encoder = await Reranker.load(f32, { threads: 1, devices: "cpu" });
  const encode = (query, passage) => {
    const { inputIds, tokenTypeIds } = encoder.encodePair(query, passage, maxLength ? { maxLength } : {});
    return { ids: Array.from(inputIds), types: Array.from(tokenTypeIds) };
  };
  writeFileSync(workloadFile, JSON.stringify([workloadOf(pairs, encode)]));
  await encoder.dispose();
  const type = commonType(tensors);
  return {
    gguf,
    f32,
    type: type === "F32" ? "Q8_0" : type,
    ownType: type,
    name: reranker.name ?? path.basename(source),
    architecture: reranker.architecture,
    padId: metadata["tokenizer.ggml.padding_token_id"]?.value ?? 0,
    folder,
    pairs,
    workloadFile,
    options: { threads, maxLength },
    modes,
    levels,
  };
}

/** The type of most weights. */
function commonType(tensors) {
  const counts = new Map();
  for (const { type, shape } of tensors) counts.set(type, (counts.get(type) ?? 0) + shape.reduce((product, n) => product * n, 1));
  return [...counts].sort(([, a], [, b]) => b - a)[0][0];
}

function importanceOf({ f32 }, { calibration, maxLength, threads }) {
  log("importance");
  const pairs = calibration.map(({ query, passage }) => [query, passage]);
  return measureImportance(f32, pairs, { threads, ...(maxLength && { maxLength }) });
}

/** A file of one type in every mode and at every level, against its own weights in F32, and against the source's. */
async function measureType(model, type, source, importance) {
  const name = importance ? `${type} calibrated` : type;
  const gguf = type === model.ownType ? model.gguf : path.join(model.folder, `${type}.gguf`);
  if (gguf !== model.gguf) await quantize(model.f32, gguf, type, { importance, overwrite: true });
  const widened = path.join(model.folder, "widened.gguf");
  let reference = source;
  if (gguf !== model.gguf) {
    await quantize(gguf, widened, "f32", { overwrite: true });
    ({ logits: reference } = await scored(model, { gguf: widened }));
    rmSync(widened);
  }
  const rows = [];
  if (gguf !== model.gguf) rows.push({ title: `${name} in F32`, ...figuresOf(model, reference, reference, source) });
  for (const variant of variantsOf(model)) {
    const title = [name, variant.weightMode === "native" ? "" : `"${variant.weightMode}"`, variant.level ?? ""].filter(Boolean).join(" ");
    log(title);
    try {
      const { logits } = await scored(model, { gguf, ...variant });
      rows.push({ title, ...figuresOf(model, logits, reference, source) });
    } catch (error) {
      rows.push({ title, failed: error.message });
    }
  }
  if (gguf !== model.gguf) rmSync(gguf);
  return rows;
}

/** Every mode at the chip's own level, and `native` at the others. */
function variantsOf({ modes, levels }) {
  return [...modes.map((weightMode) => ({ weightMode })), ...levels.map((level) => ({ weightMode: "native", level }))];
}

/** The logits of all pairs, from an engine in a process of its own. */
async function scored({ workloadFile, options }, { module = "ours", level, ...file }) {
  const engine = new EngineProcess(level ? { BGE_CPU_ISA: level } : {});
  try {
    const { facts } = await engine.ask("load", { module, workloadFile, family: "encoder", ...options, ...file });
    const { logits } = await engine.ask("run", { name: "pairs", minMs: 0 });
    return { logits, isa: facts.isa };
  } finally {
    await engine.close();
  }
}

/** @param reference - The same weights in F32, null where they are not at hand. @param source - The weights that the model came with, in F32. */
function figuresOf({ pairs }, logits, reference, source) {
  return {
    error: reference && errorOf(logits, reference),
    whole: errorOf(logits, source),
    tau: orderOf(pairs, logits, source),
    ndcg: ndcgOf(pairs, logits),
  };
}

const countQueries = (pairs) => new Set(pairs.map(({ queryId }) => queryId)).size;
const spreadOf = (logits) => ({ spread: errorOf(logits, logits).spread });

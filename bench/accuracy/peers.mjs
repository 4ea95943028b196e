// The same weights in other engines, each against its own F32, whose distance to ours is a row as well.
import path from "node:path";
import { quantize } from "../../lib/index.js";
import { writeBert } from "../onnx/gguf-bert.mjs";

const ONNX = {
  "onnx-int8": { title: "onnxruntime int8, a scale a tensor", weights: "int8" },
  "onnx-int8-channel": { title: "onnxruntime int8, a scale a channel", weights: "int8-channel" },
};

/** Peers by the name of the option, with the package that each needs. */
export const PEERS = { "onnx-int8": "onnxruntime-node", "onnx-int8-channel": "onnxruntime-node", "node-llama-cpp": "node-llama-cpp" };

/** @param ownF32 - Logits of engines in F32, by title: what is in it has a row already. */
export async function measurePeer(peer, model, reference, { scored, figuresOf, ownF32 }) {
  console.error(`  ${peer}`);
  try {
    const { f32, quantised } = peer === "node-llama-cpp" ? await llamaFiles(model) : await onnxFiles(peer, model);
    const rows = [];
    if (!ownF32.has(f32.title)) {
      ownF32.set(f32.title, (await scored(model, f32.open)).logits);
      rows.push({ title: f32.title, ...figuresOf(model, ownF32.get(f32.title), reference, reference) });
    }
    const own = ownF32.get(f32.title);
    const { logits } = await scored(model, quantised.open);
    return [...rows, { title: quantised.title, ...figuresOf(model, logits, quantised.rounds ? null : own, own) }];
  } catch (error) {
    return [{ title: peer, failed: error.message }];
  }
}

async function llamaFiles(model) {
  const type = model.type;
  const gguf = type === model.ownType ? model.gguf : path.join(model.folder, "peer.gguf");
  if (gguf !== model.gguf) await quantize(model.f32, gguf, type, { overwrite: true });
  const open = (gguf) => ({ module: "node-llama-cpp", gguf });
  return {
    f32: { title: "node-llama-cpp F32, to ours", open: open(model.f32) },
    quantised: { title: `node-llama-cpp ${type}`, open: open(gguf), rounds: gguf !== model.gguf },
  };
}

async function onnxFiles(peer, model) {
  const write = async (weights) => {
    const onnx = path.join(model.folder, `${weights}.onnx`);
    await writeBert(model.f32, onnx, { weights });
    return { module: "onnxruntime", onnx, padId: model.padId, types: true };
  };
  return {
    f32: { title: "onnxruntime F32, to ours", open: await write("f32") },
    quantised: { title: ONNX[peer].title, open: await write(ONNX[peer].weights), rounds: true },
  };
}

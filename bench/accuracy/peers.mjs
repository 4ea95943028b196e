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

export async function measurePeer(peer, model, reference, scored, figuresOf) {
  console.error(`  ${peer}`);
  try {
    const files = peer === "node-llama-cpp" ? await llamaFiles(model) : await onnxFiles(peer, model);
    const own = (await scored(model, files[0].open)).logits;
    const rows = [{ title: files[0].title, ...figuresOf(model, own, reference, reference) }];
    for (const { title, open } of files.slice(1)) {
      const { logits } = await scored(model, open);
      rows.push({ title, ...figuresOf(model, logits, own, own) });
    }
    return rows;
  } catch (error) {
    return [{ title: peer, failed: error.message }];
  }
}

async function llamaFiles(model) {
  const type = model.type;
  const gguf = type === model.ownType ? model.gguf : path.join(model.folder, "peer.gguf");
  if (gguf !== model.gguf) await quantize(model.f32, gguf, type, { overwrite: true });
  const open = (gguf) => ({ module: "node-llama-cpp", gguf });
  return [
    { title: "node-llama-cpp F32, to ours", open: open(model.f32) },
    { title: `node-llama-cpp ${type}`, open: open(gguf) },
  ];
}

async function onnxFiles(peer, model) {
  const write = async (weights) => {
    const onnx = path.join(model.folder, `${weights}.onnx`);
    await writeBert(model.f32, onnx, { weights });
    return { module: "onnxruntime", onnx, padId: model.padId, types: true };
  };
  return [
    { title: "onnxruntime F32, to ours", open: await write("f32") },
    { title: ONNX[peer].title, open: await write(ONNX[peer].weights) },
  ];
}

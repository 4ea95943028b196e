// The ONNX graph of a GGUF's BERT or XLM-RoBERTa in F32, so that onnxruntime has the very weights that ours has. The tables of a
// GGUF begin at the first token's position, so that positions are counted from 0 for both.
import { closeSync, openSync, readSync } from "node:fs";
import { inspectModel } from "../../lib/index.js";
import { attentionBias, layer, layerNorm } from "./layers.mjs";
import { OnnxModel } from "./model.mjs";
import { weightsOf } from "./weights.mjs";

const OPSET = 17; // the first with LayerNormalization

/** @param options.weights - "f32", "int8" or "int8-channel". */
export async function writeBert(gguf, path, { weights: kind }) {
  const file = new GgufWeights(await inspectModel(gguf));
  const model = new OnnxModel(path, { externalData: kind === "f32" });
  const weights = weightsOf(kind, model, file);
  const { num_hidden_layers: layers, num_attention_heads: heads, hidden_size: width } = file.config;

  const ids = model.input("input_ids", "int64", ["batch", "tokens"]);
  const mask = model.input("attention_mask", "int64", ["batch", "tokens"]);
  const types = model.input("token_type_ids", "int64", ["batch", "tokens"]);
  const bias = attentionBias(model, mask);
  let x = embed(model, weights, ids, mask, types);
  for (let i = 0; i < layers; i++) x = layer(model, weights, `layer.${i}`, heads, width, x, bias);
  const first = model.node("Gather", [x, model.constant("int64", [], BigInt64Array.of(0n))], { axis: 1 });
  const dense = model.node("Tanh", [weights.linear("pooler", first)]);
  model.rename(weights.linear("classifier", dense), "logits");
  model.output("logits", "float", ["batch", 1]);
  model.write(OPSET);
  file.close();
}

function embed(model, weights, ids, mask, types) {
  const counted = model.node("CumSum", [mask, model.constant("int64", [], BigInt64Array.of(1n))]);
  const positions = model.node("Mul", [model.node("Sub", [counted, model.constant("int64", [], BigInt64Array.of(1n))]), mask]);
  const words = weights.rows("word_embeddings", ids);
  const typed = model.node("Add", [words, weights.rows("token_type_embeddings", types)]);
  const placed = model.node("Add", [typed, weights.rows("position_embeddings", positions)]);
  return layerNorm(model, weights, "embeddings.LayerNorm", placed);
}

const TENSORS = {
  word_embeddings: "token_embd.weight",
  token_type_embeddings: "token_types.weight",
  position_embeddings: "position_embd.weight",
  "embeddings.LayerNorm": "token_embd_norm",
  pooler: "cls",
  classifier: "cls.output",
  "attention.self.query": "attn_q",
  "attention.self.key": "attn_k",
  "attention.self.value": "attn_v",
  "attention.output.dense": "attn_output",
  "attention.output.LayerNorm": "attn_output_norm",
  "intermediate.dense": "ffn_up",
  "output.dense": "ffn_down",
  "output.LayerNorm": "layer_output_norm",
};

/** Reads F32 tensors by the names that the graph's checkpoint would have. */
class GgufWeights {
  #tensors;
  #file;

  constructor({ path, metadata, tensors }) {
    if (metadata["general.architecture"].value !== "bert") throw new Error("onnxruntime is measured on BERT and XLM-RoBERTa only");
    const activation = metadata["reranker.ffn.activation"]?.value ?? "gelu_erf";
    if (activation !== "gelu_erf") throw new Error(`onnxruntime is measured with exact GELU only, and this file has ${activation}`);
    this.#tensors = new Map(tensors.map((tensor) => [tensor.name, tensor]));
    this.#file = openSync(path, "r");
    this.config = {
      num_hidden_layers: metadata["bert.block_count"].value,
      num_attention_heads: metadata["bert.attention.head_count"].value,
      hidden_size: metadata["bert.embedding_length"].value,
      layer_norm_eps: metadata["bert.attention.layer_norm_epsilon"].value,
    };
  }

  /** @returns {{ shape: number[], values: Float32Array }} */
  read(name) {
    const [, layer, base, part] = /^(layer\.\d+\.|)(.*?)(\.weight|\.bias|)$/.exec(name);
    const tensor = this.#tensors.get(`${layer.replace("layer", "blk")}${TENSORS[base]}${part}`);
    if (tensor?.type !== "F32") throw new Error(`The file has no F32 tensor for ${name}`);
    const data = Buffer.from(new ArrayBuffer(tensor.sizeBytes));
    for (let done = 0; done < data.length; ) {
      done += readSync(this.#file, data, done, Math.min(data.length - done, 1 << 28), tensor.offset + done);
    }
    const shape = tensor.shape.toReversed();
    if (name === "classifier.weight" && shape.length === 1) shape.unshift(1); // ggml forgets that it has one row
    return { shape, values: new Float32Array(data.buffer) };
  }

  close() {
    closeSync(this.#file);
  }
}

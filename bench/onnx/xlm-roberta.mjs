// The ONNX graph of an XLM-RoBERTa reranker, operator by operator as the usual export writes it: padded batches, an
// attention mask, position ids counted from the padding id. onnxruntime then fuses what it can.
import { OnnxModel } from "./model.mjs";
import { quantizeTensor } from "./quantize.mjs";
import { Checkpoint } from "./safetensors.mjs";

const OPSET = 17; // the first with LayerNormalization

/**
 * @param checkpointFolder - The checkpoint that the GGUF files are made from.
 * @param options.int8 - true: weights and activations in 8 bits as onnxruntime's quantize_dynamic makes them.
 */
export function writeXlmRoberta(checkpointFolder, path, { int8 }) {
  const checkpoint = new Checkpoint(checkpointFolder);
  const model = new OnnxModel(path, { externalData: !int8 });
  const weights = int8 ? new DynamicInt8(model, checkpoint) : new Float32(model, checkpoint);
  const { num_hidden_layers: layers, num_attention_heads: heads } = checkpoint.config;

  const ids = model.input("input_ids", "int64", ["batch", "tokens"]);
  const mask = model.input("attention_mask", "int64", ["batch", "tokens"]);
  const bias = attentionBias(model, mask);
  let x = embed(model, weights, checkpoint.config, ids);
  for (let i = 0; i < layers; i++) x = layer(model, weights, `roberta.encoder.layer.${i}`, heads, checkpoint.config.hidden_size, x, bias);
  const first = model.node("Gather", [x, model.constant("int64", [], BigInt64Array.of(0n))], { axis: 1 });
  const dense = model.node("Tanh", [weights.linear("classifier.dense", first)]);
  model.rename(weights.linear("classifier.out_proj", dense), "logits");
  model.output("logits", "float", ["batch", 1]);
  model.write(OPSET);
  checkpoint.close();
}

/** 0 where a key may be seen, the lowest float where not: [batch, 1, 1, tokens]. */
function attentionBias(model, mask) {
  const wide = model.node("Unsqueeze", [mask, model.integers(1, 2)]);
  const hidden = model.node("Sub", [model.floats(1), model.node("Cast", [wide], { to: 1 })]);
  return model.node("Mul", [hidden, model.floats(-3.4028234663852886e38)]);
}

function embed(model, weights, config, ids) {
  const pad = model.constant("int64", [], BigInt64Array.of(BigInt(config.pad_token_id)));
  const real = model.node("Cast", [model.node("Not", [model.node("Equal", [ids, pad])])], { to: 7 });
  const counted = model.node("CumSum", [real, model.constant("int64", [], BigInt64Array.of(1n))]);
  const positions = model.node("Add", [model.node("Mul", [counted, real]), pad]);
  const words = weights.rows("roberta.embeddings.word_embeddings.weight", ids);
  const typed = model.node("Add", [words, weights.float("roberta.embeddings.token_type_embeddings.weight")]);
  const placed = model.node("Add", [typed, weights.rows("roberta.embeddings.position_embeddings.weight", positions)]);
  return layerNorm(model, weights, "roberta.embeddings.LayerNorm", placed);
}

function layer(model, weights, name, heads, width, x, bias) {
  const size = width / heads;
  const split = model.integers(0, 0, heads, size);
  const project = (part, order) => {
    const projected = model.node("Reshape", [weights.linear(`${name}.attention.self.${part}`, x), split]);
    return model.node("Transpose", [projected], { perm: order });
  };
  const q = project("query", [0, 2, 1, 3]);
  const k = project("key", [0, 2, 3, 1]);
  const v = project("value", [0, 2, 1, 3]);
  const scaled = model.node("Div", [model.node("MatMul", [q, k]), model.floats(Math.sqrt(size))]);
  const attention = model.node("Softmax", [model.node("Add", [scaled, bias])], { axis: -1 });
  const mixed = model.node("Transpose", [model.node("MatMul", [attention, v])], { perm: [0, 2, 1, 3] });
  const joined = model.node("Reshape", [mixed, model.integers(0, 0, width)]);
  const attended = model.node("Add", [weights.linear(`${name}.attention.output.dense`, joined), x]);
  const normed = layerNorm(model, weights, `${name}.attention.output.LayerNorm`, attended);
  const up = gelu(model, weights.linear(`${name}.intermediate.dense`, normed));
  const down = model.node("Add", [weights.linear(`${name}.output.dense`, up), normed]);
  return layerNorm(model, weights, `${name}.output.LayerNorm`, down);
}

function layerNorm(model, weights, name, x) {
  return model.node("LayerNormalization", [x, weights.float(`${name}.weight`), weights.float(`${name}.bias`)], { axis: -1, epsilon: 1e-5 });
}

/** Exact GELU, in the shape that onnxruntime fuses. */
function gelu(model, x) {
  const erf = model.node("Erf", [model.node("Div", [x, model.floats(Math.SQRT2)])]);
  return model.node("Mul", [model.node("Mul", [x, model.node("Add", [erf, model.floats(1)])]), model.floats(0.5)]);
}

class Float32 {
  constructor(model, checkpoint) {
    this.model = model;
    this.checkpoint = checkpoint;
  }

  float(name) {
    const { shape, values } = this.checkpoint.read(name);
    return this.model.constant("float", shape.length > 1 && shape[0] === 1 ? shape.slice(1) : shape, values);
  }

  rows(name, ids) {
    return this.model.node("Gather", [this.float(name), ids]);
  }

  linear(name, x) {
    const { shape, values } = transposed(this.checkpoint.read(`${name}.weight`));
    const product = this.model.node("MatMul", [x, this.model.constant("float", shape, values)]);
    return this.model.node("Add", [this.float(`${name}.bias`), product]);
  }
}

/** Weights as quantize_dynamic leaves them: int8 by tensor, activations quantised by tensor at run time, once for each user. */
class DynamicInt8 extends Float32 {
  #activations = new Map();

  rows(name, ids) {
    const { scale, zero, values } = this.#quantized(this.checkpoint.read(name));
    return this.model.node("DequantizeLinear", [this.model.node("Gather", [values, ids]), scale, zero]);
  }

  linear(name, x) {
    const weight = this.#quantized(transposed(this.checkpoint.read(`${name}.weight`)));
    const [activation, scale, zero] = this.#activation(x);
    const product = this.model.node("MatMulInteger", [activation, weight.values, zero, weight.zero]);
    const scales = this.model.node("Mul", [scale, weight.scale]);
    const scaled = this.model.node("Mul", [this.model.node("Cast", [product], { to: 1 }), scales]);
    return this.model.node("Add", [this.float(`${name}.bias`), scaled]);
  }

  #activation(x) {
    let known = this.#activations.get(x);
    if (!known) {
      known = this.model.node("DynamicQuantizeLinear", [x], {}, 3);
      this.#activations.set(x, known);
    }
    return known;
  }

  #quantized({ shape, values }) {
    const { scale, codes } = quantizeTensor(values);
    return {
      values: this.model.constant("int8", shape, codes),
      scale: this.model.floats(scale),
      zero: this.model.constant("int8", [], Int8Array.of(0)),
    };
  }
}

/** [out, in] as PyTorch stores a linear layer, to [in, out] as MatMul reads it. */
function transposed({ shape: [rows, columns], values }) {
  const turned = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) turned[c * rows + r] = values[r * columns + c];
  return { shape: [columns, rows], values: turned };
}

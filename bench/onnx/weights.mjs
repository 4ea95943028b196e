// Weights as nodes of an ONNX graph: F32, or what onnxruntime's dynamic quantisation leaves of them.
import { quantizeColumns, quantizeTensor } from "./quantize.mjs";

/**
 * @param kind - "f32"; "int8" and "int8-channel": as onnxruntime's quantize_dynamic makes them, with a scale a tensor or an output
 *   of each MatMul.
 */
export function weightsOf(kind, model, checkpoint) {
  return kind === "f32" ? new Float32(model, checkpoint) : new DynamicInt8(model, checkpoint, kind === "int8-channel");
}

class Float32 {
  constructor(model, checkpoint) {
    this.model = model;
    this.checkpoint = checkpoint;
    this.epsilon = checkpoint.config.layer_norm_eps ?? 1e-5;
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

/** Weights as quantize_dynamic leaves them; activations quantised by tensor at run time, once for each user. */
class DynamicInt8 extends Float32 {
  #activations = new Map();
  #byChannel;

  constructor(model, checkpoint, byChannel) {
    super(model, checkpoint);
    this.#byChannel = byChannel;
  }

  rows(name, ids) {
    const { scale, zero, values } = this.#quantized(this.checkpoint.read(name), quantizeTensor);
    return this.model.node("DequantizeLinear", [this.model.node("Gather", [values, ids]), scale, zero]);
  }

  linear(name, x) {
    const weight = this.#quantized(transposed(this.checkpoint.read(`${name}.weight`)), this.#byChannel ? quantizeColumns : quantizeTensor);
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

  #quantized({ shape, values }, quantize) {
    const { scales, codes } = quantize(values, shape.at(-1));
    return {
      values: this.model.constant("int8", shape, codes),
      scale: this.model.floats(...scales),
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

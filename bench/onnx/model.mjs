// An ONNX model under construction: nodes, initializers, and how they are written. Field numbers: onnx/onnx.proto.
import { closeSync, openSync, writeSync } from "node:fs";
import { basename } from "node:path";
import { bytes, float, integer, integers, string } from "./protobuf.mjs";

export const TYPES = { float: 1, uint8: 2, int8: 3, int32: 6, int64: 7, bool: 9 };

const ATTRIBUTE_FLOAT = 1;
const ATTRIBUTE_INT = 2;
const ATTRIBUTE_INTS = 7;
const DATA_LOCATION_EXTERNAL = 1;

/** A graph that grows by calls: each operator returns the name of its output. */
export class OnnxModel {
  #nodes = [];
  #initializers = [];
  #inputs = [];
  #outputs = [];
  #path;
  #data;
  #dataSize = 0;
  #count = 0;

  /** @param externalData - Weights go to `<path>_data`, as they must beyond the 2 GB that a protobuf file may have. */
  constructor(path, { externalData }) {
    this.#path = path;
    if (externalData) this.#data = openSync(`${path}_data`, "w");
  }

  input(name, type, shape) {
    this.#inputs.push(bytes(11, valueInfo(name, type, shape)));
    return name;
  }

  output(name, type, shape) {
    this.#outputs.push(bytes(12, valueInfo(name, type, shape)));
  }

  /** @param values - A typed array, little-endian as ONNX stores it. */
  constant(type, shape, values, name = `constant_${this.#count++}`) {
    const data = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
    const fields = [integers(1, shape), integer(2, TYPES[type]), string(8, name)];
    if (this.#data !== undefined && data.length > 1024) {
      writeWhole(this.#data, data);
      for (const [key, value] of [
        ["location", basename(`${this.#path}_data`)],
        ["offset", this.#dataSize],
        ["length", data.length],
      ]) {
        fields.push(bytes(13, [string(1, key), string(2, String(value))]));
      }
      fields.push(integer(14, DATA_LOCATION_EXTERNAL));
      this.#dataSize += data.length;
    } else {
      fields.push(bytes(9, [data]));
    }
    this.#initializers.push(bytes(5, fields));
    return name;
  }

  floats(...values) {
    return this.constant("float", values.length === 1 ? [] : [values.length], Float32Array.from(values));
  }

  integers(...values) {
    return this.constant("int64", [values.length], BigInt64Array.from(values.map(BigInt)));
  }

  /** Adds a node; returns its output, or the outputs when `outputs` asks for several. */
  node(operator, inputs, attributes = {}, outputs = 1) {
    const name = `${operator}_${this.#count++}`;
    const names = outputs === 1 ? [name] : Array.from({ length: outputs }, (_, i) => `${name}_${i}`);
    const fields = [
      inputs.map((input) => string(1, input)),
      names.map((output) => string(2, output)),
      string(3, name),
      string(4, operator),
    ];
    for (const [key, value] of Object.entries(attributes)) fields.push(bytes(5, attribute(key, value)));
    this.#nodes.push(bytes(1, fields));
    return outputs === 1 ? name : names;
  }

  /** Gives a value the name it has outside. */
  rename(from, to) {
    this.#nodes.push(bytes(1, [string(1, from), string(2, to), string(3, `Identity_${to}`), string(4, "Identity")]));
  }

  write(opset) {
    const graph = [this.#nodes, string(2, "bench"), this.#initializers, this.#inputs, this.#outputs];
    const model = [integer(1, 8), string(2, "bge-reranker-bench"), bytes(7, graph), bytes(8, [string(1, ""), integer(2, opset)])];
    const file = openSync(this.#path, "w");
    for (const piece of model.flat(Number.POSITIVE_INFINITY)) writeWhole(file, piece);
    closeSync(file);
    if (this.#data !== undefined) closeSync(this.#data);
  }
}

function attribute(name, value) {
  if (Array.isArray(value)) return [string(1, name), value.map((item) => integer(8, item)), integer(20, ATTRIBUTE_INTS)];
  if (name === "epsilon") return [string(1, name), float(2, value), integer(20, ATTRIBUTE_FLOAT)];
  return [string(1, name), integer(3, value), integer(20, ATTRIBUTE_INT)];
}

function valueInfo(name, type, shape) {
  const dimensions = shape.map((size) => bytes(1, [typeof size === "number" ? integer(1, size) : string(2, size)]));
  return [string(1, name), bytes(2, [bytes(1, [integer(1, TYPES[type]), bytes(2, dimensions)])])];
}

function writeWhole(file, data) {
  for (let done = 0; done < data.length; ) done += writeSync(file, data, done, Math.min(data.length - done, 1 << 28));
}

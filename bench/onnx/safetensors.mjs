// Reads F32 tensors of a checkpoint folder, one at a time.
import { closeSync, existsSync, openSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";

export class Checkpoint {
  #tensors = new Map();
  #files = [];

  constructor(folder) {
    this.config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
    const index = join(folder, "model.safetensors.index.json");
    const names = existsSync(index) ? new Set(Object.values(JSON.parse(readFileSync(index, "utf8")).weight_map)) : ["model.safetensors"];
    for (const name of names) this.#open(join(folder, name));
  }

  #open(path) {
    const file = openSync(path, "r");
    this.#files.push(file);
    const length = Number(read(file, 0, 8).readBigUInt64LE());
    const header = JSON.parse(read(file, 8, length).toString());
    for (const [name, tensor] of Object.entries(header)) {
      if (name !== "__metadata__") this.#tensors.set(name, { ...tensor, file, start: 8 + length });
    }
  }

  /** @returns {{ shape: number[], values: Float32Array }} */
  read(name) {
    const tensor = this.#tensors.get(name);
    if (tensor?.dtype !== "F32") throw new Error(`The checkpoint has no F32 tensor ${name}`);
    const [begin, end] = tensor.data_offsets;
    const data = read(tensor.file, tensor.start + begin, end - begin);
    return { shape: tensor.shape, values: new Float32Array(data.buffer, data.byteOffset, data.length / 4) };
  }

  close() {
    for (const file of this.#files) closeSync(file);
  }
}

function read(file, position, length) {
  const data = Buffer.from(new ArrayBuffer(length));
  for (let done = 0; done < length; ) {
    const count = readSync(file, data, done, Math.min(length - done, 1 << 28), position + done);
    if (count === 0) throw new Error("A weight file of the benchmark ends early; delete build/bench and run it again");
    done += count;
  }
  return data;
}

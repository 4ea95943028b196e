// A GGUF file without the score heads that llama.cpp does not know: it loads a file only when it knows every tensor.
import { closeSync, fstatSync, openSync, readSync, writeSync } from "node:fs";

const HEADS = "reranker.head.weight";
const ALIGNMENT = 32;
const SIZES = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 }; // bytes of a value by its type
const [STRING, ARRAY] = [8, 9];

/** @throws When the file has no heads. */
export function writeWithoutHeads(from, to) {
  const input = openSync(from, "r");
  const output = openSync(to, "w");
  try {
    const head = Buffer.alloc(64 << 20); // a vocabulary and its merges are in it
    readSync(input, head, 0, head.length, 0);
    const { tensors, infoStart, dataStart } = readHeader(head);
    const kept = tensors.filter(({ name }) => name !== HEADS);
    if (kept.length === tensors.length) throw new Error(`${from} has no ${HEADS}`);
    const start = Buffer.from(head.subarray(0, infoStart));
    start.writeBigUInt64LE(BigInt(kept.length), 8);
    const inOrder = [...tensors].sort((a, b) => a.offset - b.offset);
    const fileSize = fstatSync(input).size;
    let offset = 0;
    const parts = kept.map((tensor) => {
      const next = inOrder[inOrder.indexOf(tensor) + 1]?.offset ?? fileSize - dataStart;
      const info = Buffer.from(tensor.info);
      info.writeBigUInt64LE(BigInt(offset), info.length - 8);
      offset += next - tensor.offset;
      return { info, from: dataStart + tensor.offset, bytes: next - tensor.offset };
    });
    const header = Buffer.concat([start, ...parts.map(({ info }) => info)]);
    let at = writeSync(output, Buffer.concat([header, Buffer.alloc(-header.length & (ALIGNMENT - 1))]));
    for (const part of parts) {
      for (let done = 0; done < part.bytes; ) {
        const n = readSync(input, head, 0, Math.min(head.length, part.bytes - done), part.from + done);
        at += writeSync(output, head, 0, n, at);
        done += n;
      }
    }
  } finally {
    closeSync(input);
    closeSync(output);
  }
}

function readHeader(bytes) {
  let at = 8;
  const pass = (bytes) => {
    at += bytes;
    return at - bytes;
  };
  const u32 = () => bytes.readUInt32LE(pass(4));
  const u64 = () => Number(bytes.readBigUInt64LE(pass(8)));
  const text = () => {
    const length = u64();
    const start = pass(length);
    return bytes.toString("utf8", start, start + length);
  };
  const skip = (type) => {
    if (type === STRING) text();
    else if (type === ARRAY) for (let element = u32(), n = u64(); n > 0; n--) skip(element);
    else pass(SIZES[type]);
  };
  const [nTensors, nKeys] = [u64(), u64()];
  for (let i = 0; i < nKeys; i++) {
    text();
    skip(u32());
  }
  const infoStart = at;
  const tensors = Array.from({ length: nTensors }, () => {
    const start = at;
    const name = text();
    const nDimensions = u32();
    pass(8 * nDimensions + 4); // shape, type
    const offset = u64();
    return { name, offset, info: bytes.subarray(start, at) };
  });
  return { tensors, infoStart, dataStart: at + (-at & (ALIGNMENT - 1)) };
}

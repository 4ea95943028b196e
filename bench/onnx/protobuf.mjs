// Writes protobuf messages: a message is a list of fields, a field a list of buffers. Only what ONNX files need.

const VARINT = 0;
const FIXED_32 = 5;
const LENGTH_PREFIXED = 2;

function varint(value) {
  const bytes = [];
  let rest = BigInt.asUintN(64, BigInt(value)); // negative numbers take ten bytes
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

const tag = (field, kind) => varint((field << 3) | kind);

/** int32, int64, bool or enum. */
export const integer = (field, value) => [tag(field, VARINT), varint(value)];

export function float(field, value) {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return [tag(field, FIXED_32), bytes];
}

export const string = (field, value) => bytes(field, [Buffer.from(value)]);

/** A repeated int64, packed. */
export const integers = (field, values) => bytes(field, values.map(varint));

/** A nested message, or bytes given in pieces. */
export function bytes(field, pieces) {
  const flat = pieces.flat(Number.POSITIVE_INFINITY);
  const length = flat.reduce((sum, piece) => sum + piece.length, 0);
  return [tag(field, LENGTH_PREFIXED), varint(length), ...flat];
}

// Mutations that know a format: they change one part of a file and leave the rest readable, so that an input gets past the
// first check. All chance comes from a seed.

/** @returns {(below: number) => number} Whole numbers from 0 to below - 1; the same for the same seed (mulberry32). */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

const pick = (list, random) => list[random(list.length)];

// biome-ignore format: a list
const NUMBERS = [-1, 0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 1023, 65535, 65536, 2 ** 20, 2 ** 22 - 1, 2 ** 22, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 2 ** 63, 1e300, 1e-300, 0.5, -0];
// biome-ignore format: a list
const WORDS = ["", " ", "▁", "a", "\0", "\ud800", "ﷺ", "<unk>", "[PAD7]", "<0x41>", "__proto__", "constructor", "length", "../x", "a".repeat(300), "é".repeat(1100), " {2,}", "a+", "(a|b)*"];

/** Changes, drops, doubles or moves bytes. */
export function mutateBytes(bytes, random) {
  const at = random(bytes.length + 1);
  const length = 1 + random(random(8) === 0 ? 64 : 4);
  const before = bytes.subarray(0, at);
  const after = bytes.subarray(at);
  switch (random(5)) {
    case 0:
      return Buffer.concat([before, after.subarray(length)]);
    case 1:
      return Buffer.concat([before, Buffer.from(Array.from({ length }, () => random(256))), after]);
    case 2:
      return Buffer.concat([before, bytes.subarray(random(bytes.length + 1)).subarray(0, length), after]);
    case 3:
      return random(4) === 0
        ? Buffer.from(before)
        : Buffer.concat([
            before,
            Buffer.from(Array.from({ length }, () => pick([0, 1, 0x7f, 0x80, 0xff], random))),
            after.subarray(length),
          ]);
    default: {
      const changed = Buffer.from(bytes);
      if (at < changed.length) changed[at] ^= 1 << random(8);
      return changed;
    }
  }
}

/** @returns {Buffer} Text of a JSON that is like the given one but for a place or two. */
export function mutateJson(text, random) {
  if (random(12) === 0) return mutateBytes(text, random);
  let written;
  try {
    let value = JSON.parse(text.toString());
    for (let i = random(3); i >= 0; i--) value = changeSomewhere(value, value, random);
    written = JSON.stringify(value) ?? "null";
  } catch {
    return mutateBytes(text, random); // no JSON, or too deep to walk
  }
  // What JSON.stringify never writes: equal keys, numbers beyond a double, and a depth that it could not reach itself.
  if (random(30) === 0) return Buffer.from(written.replace(/:(\d+)/, ":1e999"));
  if (random(30) === 0) return Buffer.from(written.replace(/("[^"]+":)/, "$1null,$1"));
  if (random(100) === 0) return Buffer.from(written.replace(/null|true|false/, "[".repeat(20000) + "]".repeat(20000)));
  return Buffer.from(written);
}

function changeSomewhere(value, root, random) {
  const isList = Array.isArray(value);
  if (typeof value !== "object" || value === null) return changeLeaf(value, root, random);
  const keys = Object.keys(value);
  if (keys.length === 0 || random(8) === 0) return random(3) === 0 ? changeLeaf(value, root, random) : addTo(value, root, random);
  const key = pick(keys, random);
  const copy = isList ? [...value] : { ...value };
  if (random(8) > 0) copy[key] = changeSomewhere(value[key], root, random);
  else if (isList) copy.splice(Number(key), 1 + random(3));
  else delete copy[key];
  return copy;
}

function addTo(value, root, random) {
  const item = anything(root, random);
  if (!Array.isArray(value)) return { ...value, [random(2) ? pick(WORDS, random) : anyKey(root, random)]: item };
  const copy = [...value];
  copy.splice(random(value.length + 1), 0, random(2) && value.length > 0 ? pick(value, random) : item);
  return random(40) === 0 ? Array(random(2000)).fill(item) : copy;
}

function changeLeaf(value, root, random) {
  switch (typeof value) {
    case "number":
      return random(3) === 0 ? value + random(5) - 2 : random(6) === 0 ? anything(root, random) : pick(NUMBERS, random);
    case "string":
      if (random(3) === 0) return mutateBytes(Buffer.from(value), random).toString();
      return random(6) === 0 ? anything(root, random) : pick([...WORDS, value + value, value.slice(1)], random);
    case "boolean":
      return random(2) === 0 ? !value : anything(root, random);
    default:
      return anything(root, random);
  }
}

/** A value from elsewhere in the document, or one of the odd ones. */
function anything(root, random) {
  switch (random(7)) {
    case 0:
      return pick(NUMBERS, random);
    case 1:
      return pick(WORDS, random);
    case 2:
      return pick([null, true, false, [], {}], random);
    default: {
      let value = root;
      while (typeof value === "object" && value !== null && Object.keys(value).length > 0 && random(4) > 0)
        value = value[pick(Object.keys(value), random)];
      return value;
    }
  }
}

function anyKey(root, random) {
  let value = root;
  let key = "type";
  while (typeof value === "object" && value !== null && Object.keys(value).length > 0 && random(4) > 0) {
    key = pick(Object.keys(value), random);
    value = value[key];
  }
  return key;
}

/** A length, a table of that length and the rest; mostly the table changes and the length goes along. */
export function mutateSafetensors(bytes, random) {
  if (bytes.length < 8 || bytes.readUInt32LE(4) !== 0 || bytes.readUInt32LE(0) > bytes.length - 8 || random(8) === 0)
    return mutateBytes(bytes, random);
  const length = bytes.readUInt32LE(0);
  const table = mutateJson(bytes.subarray(8, 8 + length), random);
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(
    random(30) === 0 ? BigInt(Math.trunc(Math.abs(pick(NUMBERS, random)))) & 0xffffffffffffffffn : BigInt(table.length),
  );
  const data = bytes.subarray(8 + length);
  return Buffer.concat([head, table, random(10) === 0 ? mutateBytes(data, random) : data]);
}

/** Messages within messages: a field changes and the lengths around it go along. */
export function mutateProtobuf(bytes, random, depth = 0) {
  const fields = readFields(bytes);
  if (!fields || fields.length === 0 || random(8) === 0) return mutateBytes(bytes, random);
  const i = random(fields.length);
  switch (random(8)) {
    case 0:
      fields.splice(i, 1);
      break;
    case 1:
      fields.splice(random(fields.length), 0, fields[i]);
      break;
    case 2:
      fields[i] = { ...fields[i], number: pick([0, 1, 2, 3, 4, 45, 2 ** 28], random) };
      break;
    case 3:
      fields[i] = { ...fields[i], wire: random(8) };
      break;
    default: {
      const { wire, value } = fields[i];
      if (wire === 0) fields[i] = { ...fields[i], value: Buffer.from(varint(Math.abs(Math.trunc(pick(NUMBERS, random))) % 2 ** 64)) };
      else
        fields[i] = {
          ...fields[i],
          value: wire === 2 && depth < 2 && random(4) > 0 ? mutateProtobuf(value, random, depth + 1) : mutateBytes(value, random),
        };
    }
  }
  return Buffer.concat(fields.map((field) => writeField(field, random)));
}

function readFields(bytes) {
  const fields = [];
  let at = 0;
  const number = () => {
    for (let value = 0, scale = 1; at < bytes.length; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    return undefined;
  };
  while (at < bytes.length) {
    const key = number();
    if (key === undefined) return undefined;
    const wire = key % 8;
    const begin = at;
    if (wire === 0 && number() === undefined) return undefined;
    const size = wire === 0 ? 0 : wire === 1 ? 8 : wire === 5 ? 4 : wire === 2 ? number() : undefined;
    if (size === undefined || size > bytes.length - at) return undefined;
    fields.push({ number: Math.floor(key / 8), wire, value: wire === 0 ? bytes.subarray(begin, at) : bytes.subarray(at, at + size) });
    at += size;
  }
  return fields;
}

function writeField({ number, wire, value }, random) {
  const length = wire === 2 ? varint(random(200) === 0 ? value.length + 1 + random(2 ** 31) : value.length) : [];
  return Buffer.concat([Buffer.from([...varint(number * 8 + wire), ...length]), value]);
}

function varint(value) {
  return value < 0x80 ? [value] : [(value % 128) | 0x80, ...varint(Math.floor(value / 128))];
}

// Reads safetensors files: the table at their front, bounded and checked against the file, and where each tensor's bytes lie.
import { access } from "node:fs/promises";
import { join } from "node:path";
import { RerankerError, shown } from "../errors.js";
import { isObject, type JsonObject, parseJsonObject, readJsonObject } from "../files/json.js";
import { localFile, type WeightFile } from "./weight-file.js";

export interface SafeTensor {
  readonly name: string;
  /** Such as F32, F16, BF16, I64. */
  readonly dtype: string;
  /** Slowest dimension first. */
  readonly shape: readonly number[];
  readonly file: WeightFile;
  /** Bytes from the start of the file. */
  readonly offset: number;
  readonly sizeBytes: number;
}

/** All tensors of a checkpoint by name, and its weight files in name order. */
export interface SafeTensorSet {
  readonly tensors: ReadonlyMap<string, SafeTensor>;
  readonly files: readonly WeightFile[];
  /** Files of the folder that name other weights and were not read. */
  readonly ignored: readonly string[];
}

// biome-ignore format: one table
const DTYPE_BYTES: Readonly<Record<string, number>> = {
  BOOL: 1, U8: 1, I8: 1, F8_E5M2: 1, F8_E4M3: 1, U16: 2, I16: 2, F16: 2, BF16: 2, U32: 4, I32: 4, F32: 4, U64: 8, I64: 8, F64: 8,
};

/** Bytes of the header's length, before the header. */
const HEADER_START = 8;
/** The limit of the safetensors library itself. */
const MAX_HEADER_BYTES = 100_000_000;
/** The largest known checkpoints have some thousands. */
const MAX_TENSORS = 200_000;
const MAX_DIMENSIONS = 8;
const MAX_SHARDS = 10_000;

/** Reads the table of one file. */
export async function readSafetensors(path: string): Promise<SafeTensor[]> {
  return readTable(localFile(path));
}

async function readTable(file: WeightFile): Promise<SafeTensor[]> {
  const what = `\`${file.name}\``;
  const reader = await file.open();
  try {
    const size = reader.sizeBytes;
    if (size < HEADER_START) throw damaged(what, `it has ${size} bytes, fewer than the 8 of the header length`);
    const length = (await reader.read(HEADER_START, 0)).readBigUInt64LE();
    if (length > BigInt(MAX_HEADER_BYTES)) throw damaged(what, `the header length says ${length} bytes, more than ${MAX_HEADER_BYTES}`);
    if (length > BigInt(size - HEADER_START))
      throw damaged(what, `the header length says ${length} bytes, but only ${size - HEADER_START} follow`);
    const header = parseJsonObject(await reader.read(Number(length), HEADER_START), `The header of ${what}`);
    return parseTable(header, { file, what, dataOffset: HEADER_START + Number(length), fileSize: size });
  } finally {
    await reader.close();
  }
}

/** Reads `<stem>.safetensors`, or else the shards that `<stem>.safetensors.index.json` names. */
export async function readSafetensorsFolder(folder: string, stem = "model"): Promise<SafeTensorSet> {
  const { names, ignored } = await weightFiles(folder, stem);
  return { ...(await readSafetensorsFiles(names.map((name) => localFile(join(folder, name))))), ignored };
}

/** Reads the tables of all shards of a checkpoint. */
export async function readSafetensorsFiles(files: readonly WeightFile[]): Promise<SafeTensorSet> {
  const tensors = new Map<string, SafeTensor>();
  for (const file of files) {
    for (const tensor of await readTable(file)) {
      if (tensors.has(tensor.name)) throw damaged(`\`${file.name}\``, `tensor ${shown(tensor.name)} is in another shard too`);
      tensors.set(tensor.name, tensor);
    }
  }
  return { tensors, files, ignored: [] };
}

/**
 * The single file first, as transformers does: an index beside it is of an earlier save.
 * Source: transformers 4.57 modeling_utils.py, `_get_resolved_checkpoint_files`.
 */
async function weightFiles(folder: string, stem: string): Promise<Pick<SafeTensorSet, "ignored"> & { readonly names: readonly string[] }> {
  const single = `${stem}.safetensors`;
  const index = `${single}.index.json`;
  if (await exists(join(folder, single))) return { names: [single], ignored: (await exists(join(folder, index))) ? [index] : [] };
  const json = await readJsonObject(join(folder, index));
  if (json) return { names: shardNames(json, `\`${index}\``), ignored: [] };
  throw new RerankerError("CONVERT_FAILED", await missingWeights(folder, stem));
}

/** What is there instead of the weights, and how to come by them. Nothing is written over what is there. */
async function missingWeights(folder: string, stem: string): Promise<string> {
  const has = (name: string) => exists(join(folder, name));
  if (stem === "adapter_model") {
    if (!(await has("adapter_model.bin")))
      return `There is no \`adapter_model.safetensors\` in \`${folder}\`; give the folder of a complete peft adapter.`;
    return (
      `The adapter in \`${folder}\` is a pickle (\`adapter_model.bin\`), which can run code when opened and is not read here. Save it once more in Python, ` +
      `with its base model: \`PeftModel.from_pretrained(base, "${folder}").save_pretrained("${folder}-safetensors")\`.`
    );
  }
  for (const pickled of ["pytorch_model.bin", "pytorch_model.bin.index.json"]) {
    if (!(await has(pickled))) continue;
    const config = await readJsonObject(join(folder, "config.json"));
    const name = Array.isArray(config?.architectures) ? String(config.architectures[0]) : "";
    const auto = /ForCausalLM$/.test(name) ? "AutoModelForCausalLM" : "AutoModelForSequenceClassification"; // the plain one would drop the head
    return (
      `The weights in \`${folder}\` are a pickle (\`${pickled}\`), which can run code when opened and is not read here. ` +
      "Download the repository's `*.safetensors`, or make them once in Python, in a folder of their own: " +
      `\`${auto}.from_pretrained("${folder}").save_pretrained("${folder}-safetensors")\`, and the tokenizer's files beside them.`
    );
  }
  if ((await has("model.onnx")) || (await has("onnx")))
    return `\`${folder}\` has ONNX weights only, which are not read; download \`${stem}.safetensors\`.`;
  return `There is no \`${stem}.safetensors\` or \`${stem}.safetensors.index.json\` in \`${folder}\`; give the folder of a complete checkpoint.`;
}

function shardNames(index: JsonObject, what: string): string[] {
  const map = index.weight_map;
  if (!isObject(map)) throw damaged(what, "`weight_map` is missing");
  const names = new Set<string>();
  for (const [tensor, file] of Object.entries(map)) {
    // A shard named "../x" or "/x" would read outside the folder.
    if (typeof file !== "string" || !/^[A-Za-z0-9_][\w.-]{0,250}\.safetensors$/.test(file)) {
      throw damaged(what, `\`weight_map[${shown(tensor)}]\` must be a plain file name ending in .safetensors`);
    }
    names.add(file);
  }
  if (names.size === 0 || names.size > MAX_SHARDS) throw damaged(what, `it names ${names.size} shards`);
  return [...names].sort();
}

interface Bounds {
  readonly file: WeightFile;
  readonly what: string;
  readonly dataOffset: number;
  readonly fileSize: number;
}

function parseTable(header: JsonObject, bounds: Bounds): SafeTensor[] {
  const entries = Object.entries(header).filter(([name]) => name !== "__metadata__");
  if (entries.length > MAX_TENSORS) throw damaged(bounds.what, `it lists ${entries.length} tensors, more than ${MAX_TENSORS}`);
  const tensors = entries.map(([name, entry]) => parseTensor(name, entry, bounds));

  const ordered = [...tensors].sort((a, b) => a.offset - b.offset || a.sizeBytes - b.sizeBytes);
  let end = bounds.dataOffset;
  for (const tensor of ordered) {
    if (tensor.offset !== end)
      throw damaged(bounds.what, `\`data_offsets\` of ${shown(tensor.name)} overlap another tensor or leave a gap`);
    end += tensor.sizeBytes;
  }
  if (end !== bounds.fileSize)
    throw damaged(bounds.what, `its tensors end at byte ${end}, the file at ${bounds.fileSize}: the download is incomplete`);
  return tensors;
}

function parseTensor(name: string, entry: unknown, bounds: Bounds): SafeTensor {
  const bad = (problem: string) => damaged(bounds.what, `tensor ${shown(name)}: ${problem}`);
  if (!isObject(entry)) throw bad("its entry is no object");
  const { dtype, shape, data_offsets: offsets } = entry;
  const bytes = typeof dtype === "string" && Object.hasOwn(DTYPE_BYTES, dtype) ? DTYPE_BYTES[dtype] : undefined;
  if (typeof dtype !== "string" || bytes === undefined) throw bad(`\`dtype\` ${shown(dtype)} is unknown`);
  if (!Array.isArray(shape) || shape.length > MAX_DIMENSIONS || !shape.every(isCount)) {
    throw bad(`\`shape\` must be at most ${MAX_DIMENSIONS} non-negative integers`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
    throw bad("`data_offsets` must be two non-negative integers");
  const [begin, end] = offsets as [number, number];
  const size = (shape as number[]).reduce((product, n) => product * n, bytes);
  if (!Number.isSafeInteger(size)) throw bad("`shape` is impossibly large");
  if (end - begin !== size) throw bad(`\`data_offsets\` span ${end - begin} bytes, its shape and dtype need ${size}`);
  if (end > bounds.fileSize - bounds.dataOffset) throw bad("`data_offsets` lie beyond the end of the file: the download is incomplete");
  return { name, dtype, shape: shape as number[], file: bounds.file, offset: bounds.dataOffset + begin, sizeBytes: size };
}

/**
 * Where the table ends and the weights begin, from the first bytes of a file.
 *
 * @returns undefined when that cannot be told, or would be more than any table has.
 */
export function tableEnd(front: Buffer): number | undefined {
  if (front.length < HEADER_START) return undefined;
  const length = front.readBigUInt64LE();
  return length <= MAX_HEADER_BYTES ? HEADER_START + Number(length) : undefined;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function damaged(what: string, problem: string): RerankerError {
  return new RerankerError("CONVERT_FAILED", `${what} is damaged: ${problem}. Download it again.`);
}

// bge-reranker inspect and devices: explain a file, and this machine.
import type { Command } from "commander";
import { inspectModel, listDevices, type ModelFile, type RerankClass } from "../index.js";
import { formatBytes, oneLine, painter, shorten, write } from "./terminal.js";

const EXPLAINED: Readonly<Record<RerankClass, string>> = {
  "encoder-only-base": "FlagReranker: an encoder that reads query and document together",
  "decoder-only-base": 'FlagLLMReranker: a language model whose logit of "Yes" is the score',
  "decoder-only-layerwise": "LayerWiseFlagLLMReranker: a language model with a score head on many layers",
  "cross-encoder": "Reranker: a cross-encoder that FlagEmbedding does not have",
  "decoder-only-lightweight": "LightWeightFlagLLMReranker: score heads on many layers, and document tokens that can be merged",
};

export function addInspect(program: Command): void {
  program
    .command("inspect")
    .description("Explain a GGUF file: class, layers, types, memory, metadata")
    .argument("<file>", "GGUF file")
    .option("--tensors", "list the tensors")
    .option("--json", "print everything but long arrays as JSON")
    .addHelpText("after", "\nExample:\n  $ bge-reranker inspect bge-reranker-v2-m3.gguf")
    .action(async (path: string, options: { tensors?: true; json?: true }) => {
      const file = await inspectModel(path);
      await write(process.stdout, options.json ? `${JSON.stringify(jsonOf(file), null, 2)}\n` : explain(file, options.tensors ?? false));
    });
}

type Row = readonly [name: string, value: string];

function explain(file: ModelFile, withTensors: boolean): string {
  const paint = painter(process.stdout);
  const columns = process.stdout.isTTY ? process.stdout.columns || 80 : Number.POSITIVE_INFINITY;
  const section = (title: string, rows: readonly Row[]) => {
    const width = Math.max(...rows.map(([name]) => name.length));
    const lines = rows.map(
      ([name, value]) => `  ${paint("dim", oneLine(name).padEnd(width))}  ${shorten(oneLine(value), columns - width - 5)}`,
    );
    return `${paint("bold", oneLine(title))}\n${lines.join("\n")}\n`;
  };
  const parts = [section(file.reranker?.name ?? file.path, factRows(file))];
  if (file.problem !== null) parts.push(`${paint("yellow", "Cannot be used as a reranker.")} ${oneLine(file.problem)}\n`);
  parts.push(
    section(
      "Metadata",
      Object.entries(file.metadata).map(([key, { type, value }]): Row => [key, shown(type, value)]),
    ),
  );
  if (withTensors) {
    const rows = file.tensors.map(
      (tensor): Row => [tensor.name, `${tensor.type} [${tensor.shape.join(", ")}] ${formatBytes(tensor.sizeBytes)}`],
    );
    parts.push(section("Tensors, fastest dimension first", rows));
  }
  return parts.join("\n");
}

const TRUNCATION = {
  only_second: "the query to 3/4, then the document (FlagEmbedding)",
  longest_first: "the longer text first (sentence-transformers)",
} as const;

function factRows(file: ModelFile): Row[] {
  const counts = new Map<string, number>();
  for (const { type } of file.tensors) counts.set(type, (counts.get(type) ?? 0) + 1);
  const rows: Row[] = [
    ["file", `${file.path} (${formatBytes(file.sizeBytes)})`],
    ["tensors", `${file.tensors.length}: ${[...counts].map(([type, count]) => `${count} ${type}`).join(", ")}`],
    ["parameters", `${(file.parameterCount / 1e6).toFixed(1)} million`],
    ["memory", memoryText(file)],
  ];
  const { reranker } = file;
  if (!reranker) return rows;
  const cutoffs = reranker.cutoffLayers;
  const [first, second] = cutoffs;
  const step = (second ?? 0) - (first ?? 0);
  const details: (Row | undefined)[] = [
    ["class", EXPLAINED[reranker.class]],
    ["architecture", `${reranker.architecture}, ${reranker.layerCount} layers of ${reranker.hiddenSize}, ${reranker.headCount} heads`],
    ["context", `${reranker.contextLength} tokens, of which a pair fills ${reranker.defaults.maxLength} unless told otherwise`],
    reranker.form !== null ? ["form", reranker.form] : undefined,
    reranker.defaults.prompt === null && !reranker.template ? ["truncation", TRUNCATION[reranker.defaults.truncation]] : undefined,
    reranker.defaults.truncationSide === "left" ? ["truncation side", "texts that are too long lose their beginning"] : undefined,
    cutoffs.length > 0 ? ["cutoff layers", `${first} to ${cutoffs.at(-1)}${step > 1 ? ` in steps of ${step}` : ""}`] : undefined,
    cutoffs.length > 0 ? ["score heads", `${reranker.scoreHeadCount}, chosen by ${reranker.headSelection}`] : undefined,
    reranker.compress
      ? ["compression", `trained with ratios ${reranker.compress.ratios.join(", ")} at layers ${reranker.compress.layers.join(", ")}`]
      : undefined,
    reranker.defaults.queryInstruction !== null ? ["query prefix", JSON.stringify(reranker.defaults.queryInstruction)] : undefined,
    reranker.defaults.documentInstruction !== null ? ["document prefix", JSON.stringify(reranker.defaults.documentInstruction)] : undefined,
    reranker.labelWeights.length > 0 ? ["score", scoreText(reranker.labelWeights)] : undefined,
    reranker.template
      ? ["template", JSON.stringify(reranker.template.map((part) => (typeof part === "string" ? part : `{${part.slot}}`)).join(""))]
      : undefined,
    reranker.template?.length ? ["truncation", "the end of all before the template's closing part"] : undefined,
    reranker.defaults.instruction !== null ? ["instruction", JSON.stringify(reranker.defaults.instruction)] : undefined,
    reranker.defaults.prompt !== null ? ["prompt", JSON.stringify(reranker.defaults.prompt)] : undefined,
  ];
  return [...rows, ...details.filter((row) => row !== undefined)];
}

/** Weighted sum of the head's outputs. */
function scoreText(weights: readonly number[]): string {
  if (weights.join() === "1") return "the head's one output";
  const terms = weights.map(
    (weight, i) =>
      `${weight < 0 ? "- " : i > 0 ? "+ " : ""}${Math.abs(weight) === 1 ? "" : `${Number(Math.abs(weight).toPrecision(6))} x `}logit ${i + 1}`,
  );
  return terms.join(" ");
}

function memoryText({ memory, weightsSizeBytes }: ModelFile): string {
  if (!memory) return `${formatBytes(weightsSizeBytes)} of tensors`;
  const parts = [
    `${formatBytes(memory.weightsBytes)} of weights`,
    `${formatBytes(memory.tokenizerBytes)} of tokenizer`,
    `${formatBytes(memory.workBytes)} to compute a pair of ${memory.pairTokens} tokens`,
  ];
  return `about ${parts.join(", ")}, on this CPU`;
}

/** Longer arrays and strings, such as vocabularies, are told by their size. */
const LONG = 64;

function isLong(value: unknown): value is { readonly length: number } {
  if (typeof value === "string") return value.length > 1000;
  return typeof value === "object" && value !== null && "length" in value && Number(value.length) > LONG;
}

function shown(type: string, value: unknown): string {
  if (isLong(value)) return `${type.replace("[]", "")}, ${value.length} ${typeof value === "string" ? "characters" : "values"}`;
  if (typeof value === "object" && value !== null) return `[${Array.from(value as ArrayLike<unknown>, String).join(", ")}]`;
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

function jsonOf(file: ModelFile): object {
  const metadata = Object.entries(file.metadata).map(([key, { type, value }]) => {
    if (isLong(value)) return [key, { type, length: value.length }];
    return [key, { type, value: plain(value) }];
  });
  return { ...file, metadata: Object.fromEntries(metadata) };
}

function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  return typeof value === "object" && value !== null ? Array.from(value as ArrayLike<unknown>, plain) : value;
}

export function addDevices(program: Command): void {
  program
    .command("devices")
    .description("List the devices found, and why others were not")
    .option("--json", "print as JSON")
    .action(async (options: { json?: true }) => {
      const list = await listDevices();
      await write(process.stdout, options.json ? `${JSON.stringify(list, null, 2)}\n` : explainDevices(list));
    });
}

const KINDS = { cpu: "CPU", gpu: "GPU", igpu: "integrated GPU", accel: "accelerator", software: "software, for tests" } as const;

function explainDevices({ devices, missing, defaultDevice, cpu }: Awaited<ReturnType<typeof listDevices>>): string {
  const paint = painter(process.stdout);
  const width = Math.max(...[...devices.map(({ name }) => name), ...missing.map(({ family }) => family)].map((name) => name.length));
  const memory = (device: (typeof devices)[number]) =>
    device.memoryTotalBytes > 0 ? `, ${formatBytes(device.memoryFreeBytes)} free of ${formatBytes(device.memoryTotalBytes)}` : "";
  const kernels = (kind: string) => (kind === "cpu" ? `, ${cpu.physicalCores} cores, ${cpu.isa} kernels` : "");
  const found = devices.map(
    (device) =>
      `${paint("green", device.name.padEnd(width))}  ${oneLine(device.description)}, ${KINDS[device.kind]}${kernels(device.kind)}${memory(device)}${device.name === defaultDevice ? " (default)" : ""}`,
  );
  const absent = missing.map(({ family, reason }) => `${paint("dim", family.padEnd(width))}  not available: ${oneLine(reason)}`);
  return `${[...found, ...absent].join("\n")}\n`;
}

// Loading: find the GGUF, read what it is, decide the native spec, load it on each device, check its tokenizer.

import { ensureDevice } from "../addon/gpu-modules.js";
import { type GgufHeader, loadNative, type NativeAddon, type NativeModel, type TokenizerSpec } from "../addon/native.js";
import { show } from "../checks.js";
import { asRerankerError, RerankerError } from "../errors.js";
import { budgetWithin, type MemoryBudget, parseBytes, residentBytes, unlimited } from "../gguf/memory.js";
import { describeModel, type ModelFacts } from "../gguf/model-facts.js";
import { type RerankClass, templateText } from "../models/index.js";
import { reporting } from "../reporting.js";
import { convertForCache } from "../sources/convert-for-cache.js";
import { type Converter, resolveModelSource } from "../sources/model-source.js";
import { tokenizerSpecOf } from "../tokenizer/tokenizer-spec.js";
import { CLASS_NAMES, checkLoadOptions, DEFAULT_PREFIX_CACHE, type LoadOptions, parsePrefixCacheSize } from "./options.js";
import { ScoreCache } from "./score-cache.js";
import { resolveScoreOptions, throwIfForeign } from "./settings.js";

/** A loaded model with all that a Reranker needs to know of it. */
export interface LoadedModel {
  readonly facts: ModelFacts;
  readonly options: LoadOptions;
  readonly path: string;
  /** One for each device. */
  readonly models: readonly [NativeModel, ...NativeModel[]];
  readonly cache?: ScoreCache | undefined;
}

/** What loading reaches outside for. Tests put fakes here. */
export interface Environment {
  readonly addon: () => NativeAddon;
  /** Makes a device ready and returns its full name. */
  readonly openDevice: (name: string | undefined) => string | Promise<string>;
  readonly tokenizerSpec: (header: GgufHeader) => TokenizerSpec;
  readonly convert: Converter;
}

/** The machine itself. */
export const machine: Environment = {
  addon: loadNative,
  openDevice: ensureDevice,
  tokenizerSpec: tokenizerSpecOf,
  convert: convertForCache,
};

/**
 * @param wanted - Class the caller named; undefined takes what the file holds.
 * @throws {RerankerError} `MODEL_NOT_FOUND`, `MODEL_INVALID`, `MODEL_UNSUPPORTED`, `DEVICE_NOT_FOUND`, `OUT_OF_MEMORY`
 */
export async function openModel(
  modelNameOrPath: string,
  options: LoadOptions = {},
  wanted?: RerankClass,
  environment: Environment = machine,
): Promise<LoadedModel> {
  if (typeof modelNameOrPath !== "string" || modelNameOrPath === "") {
    throw new TypeError(`Expected \`modelNameOrPath\` to be a path, a Hugging Face id or a short name, got \`${show(modelNameOrPath)}\``);
  }
  checkLoadOptions(options);
  const own = ownOptions(options);
  own.signal?.throwIfAborted();
  return reporting(own, (guarded) => openChecked(modelNameOrPath, { ...own, ...guarded }, own, wanted, environment));
}

/** The caller's options and arrays may change while files are read. */
function ownOptions(options: LoadOptions): LoadOptions {
  return Object.fromEntries(
    Object.entries(options).map(([name, value]) => [name, Array.isArray(value) ? [...(value as unknown[])] : value]),
  ) as LoadOptions;
}

/** @param kept - What calls go by later; the load's own signal and progress are over then. */
async function openChecked(
  modelNameOrPath: string,
  options: LoadOptions,
  kept: LoadOptions,
  wanted: RerankClass | undefined,
  environment: Environment,
): Promise<LoadedModel> {
  const { signal } = options;
  const path = await findFile(modelNameOrPath, options, wanted, environment);
  signal?.throwIfAborted();
  try {
    const addon = environment.addon();
    const header = await addon.readLeanGguf(path);
    const facts = withMaxLayer(describeModel(header, path), options.maxLayer ?? undefined);
    throwIfOtherClass(facts, wanted, path);
    throwIfForeign(facts, options);
    const { maxLength } = resolveScoreOptions(facts, {}, scoreOptionsOf(options)); // a default that no call could use is a mistake now
    const tokenizer = environment.tokenizerSpec(header);
    const budget = (device: string) => memoryBudget(device, maxLength, header, facts, options, addon);
    const cache = options.cache ? await ScoreCache.create(options.cache) : undefined;
    const models = await loadOnDevices(addon, path, facts, tokenizer, options, environment, budget);
    const loaded = { facts, options: kept, path, models, cache };
    await closeUnless(loaded, () => {
      signal?.throwIfAborted();
      throwIfTokenizerDrifted(loaded);
    });
    return loaded;
  } catch (error) {
    throw signal?.aborted && error === signal.reason ? error : asRerankerError(error, "MODEL_INVALID");
  }
}

function findFile(
  modelNameOrPath: string,
  options: LoadOptions,
  wanted: RerankClass | undefined,
  environment: Environment,
): Promise<string> {
  const source = {
    outtype: options.outtype ?? undefined,
    cacheDir: options.cacheDir ?? undefined,
    lora: options.peftPath ?? undefined,
    class: wanted,
    revision: options.revision ?? undefined,
    signal: options.signal ?? undefined,
    onProgress: options.onProgress ?? undefined,
  };
  return resolveModelSource(modelNameOrPath, source, environment.convert);
}

/** The options of a load that a call could also give. */
function scoreOptionsOf(options: LoadOptions) {
  const { maxLength, queryMaxLength, truncation, prompt, cutoffLayers, compressLayers, compressLayer, compressRatio } = options;
  const { headSelection, attentionSoftcap, calibration, instruction } = options;
  return {
    instruction,
    maxLength,
    queryMaxLength,
    truncation,
    prompt,
    cutoffLayers,
    compressLayers,
    compressLayer,
    compressRatio,
    headSelection,
    calibration,
    attentionSoftcap,
  };
}

function withMaxLayer(facts: ModelFacts, maxLayer: number | undefined): ModelFacts {
  if (maxLayer === undefined || facts.cutoffLayers.length === 0) return facts;
  const cutoffLayers = facts.cutoffLayers.filter((layer) => layer <= maxLayer);
  if (cutoffLayers.length === 0 || maxLayer > facts.layerCount) {
    throw new RangeError(
      `Expected \`maxLayer\` to be an integer from ${facts.cutoffLayers[0]} to ${facts.layerCount}, got \`${maxLayer}\``,
    );
  }
  return { ...facts, cutoffLayers };
}

function throwIfOtherClass(facts: ModelFacts, wanted: RerankClass | undefined, path: string): void {
  if (wanted === undefined || wanted === facts.class) return;
  throw new RerankerError(
    "MODEL_UNSUPPORTED",
    `${path} is a model for ${CLASS_NAMES[facts.class]} ("${facts.class}"), not ${CLASS_NAMES[wanted]}: use ${CLASS_NAMES[facts.class]}.load() or FlagAutoReranker.fromFinetuned()`,
  );
}

/** @throws {RerankerError} `OUT_OF_MEMORY` when the model does not fit `maxMemory`. */
function memoryBudget(
  device: string,
  maxLength: number,
  header: GgufHeader,
  facts: ModelFacts,
  { maxMemory, maxLayer, weightMode, prefixCacheSize }: LoadOptions,
  addon: NativeAddon,
): MemoryBudget {
  const kernels = device === "cpu" && addon.cpu().isa !== "plain";
  // Encoders read query and document together, so that nothing of one call is another's.
  const prefixBytes =
    kernels && facts.layout.kind !== "pair" ? parsePrefixCacheSize("prefixCacheSize", prefixCacheSize ?? DEFAULT_PREFIX_CACHE) : 0;
  if (maxMemory === undefined || maxMemory === null) return unlimited(prefixBytes);
  const resident = residentBytes(header, { kernels, weightMode: weightMode ?? "native", maxLayer: maxLayer ?? 0 });
  // The reference counts separator and prompt twice beside `maxLength`.
  const promptTokens = (facts.separatorIds?.length ?? 0) + (facts.promptIds?.length ?? 0);
  return budgetWithin(parseBytes("maxMemory", maxMemory), resident, maxLength + 2 * promptTokens, facts, kernels, prefixBytes);
}

async function loadOnDevices(
  addon: NativeAddon,
  path: string,
  facts: ModelFacts,
  tokenizer: TokenizerSpec,
  options: LoadOptions,
  environment: Environment,
  budget: (device: string) => MemoryBudget,
): Promise<LoadedModel["models"]> {
  const devices = typeof options.devices === "string" ? [options.devices] : (options.devices ?? [undefined]);
  const names = await Promise.all(devices.map((device) => environment.openDevice(device)));
  const budgets = names.map(budget); // all of them before anything is loaded
  const loading = names.map((device, i) =>
    addon.loadModel(path, {
      device,
      threads: options.threads ?? 0, // 0: one for each physical core
      tokenizer,
      layout: facts.layout,
      maxLayer: options.maxLayer ?? 0,
      tokenId: facts.tokenId,
      labelWeights: facts.labelWeights,
      weightMode: options.weightMode ?? "native",
      ...(budgets[i] ?? unlimited(0)),
      keepAliveMs: options.keepAliveMs ?? -1,
    }),
  );
  const settled = await Promise.allSettled(loading);
  const models = settled.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
  const failed = settled.find((result) => result.status === "rejected");
  const [first, ...others] = models;
  if (!failed && first) return [first, ...others];
  await Promise.all(models.map((model) => model.close()));
  throw failed?.reason;
}

async function closeUnless(loaded: LoadedModel, check: () => void): Promise<void> {
  try {
    check();
  } catch (error) {
    await Promise.all(loaded.models.map((model) => model.close()));
    throw error;
  }
}

/** The file says which ids the reference's tokenizer gives for separator and prompt; other ids would mean wrong scores. */
function throwIfTokenizerDrifted({ facts, models: [model], path }: LoadedModel): void {
  const stored = [
    ["separator", facts.defaults.separator, facts.separatorIds],
    ["prompt", facts.defaults.prompt, facts.promptIds],
    ["template", facts.template && templateText(facts.template, facts.defaults.instruction ?? "", "", ""), facts.templateIds],
  ] as const;
  for (const [name, text, ids] of stored) {
    if (text === null || ids === null) continue;
    const encoded = [...model.encode(text, true)];
    if (encoded.length === ids.length && encoded.every((id, i) => id === ids[i])) continue;
    throw new RerankerError(
      "MODEL_INVALID",
      `The tokenizer of ${path} does not give the ids stored in the file for its ${name}: expected ${show(ids)}, got ${show(encoded)}. Convert the checkpoint again`,
    );
  }
}

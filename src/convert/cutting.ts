// Whose rule cuts pairs that are too long, and to what length. FlagEmbedding's belongs to BERT and XLM-RoBERTa classifiers that
// nothing marks; a checkpoint that says it is sentence-transformers' follows that, and so does every architecture that
// FlagEmbedding does not have.
import { join } from "node:path";
import { RerankerError, shown } from "../errors.js";
import { isObject, type JsonObject, readJson, readJsonObject } from "../files/json.js";
import type { Truncation } from "../models/index.js";
import type { CheckpointConfig } from "./config.js";

export interface Cutting {
  readonly truncation: Truncation;
  /** Undefined: the profile's. */
  readonly maxLength: number | undefined;
}

/** Rerankers whose own code cuts otherwise than their files say, by the name of their repositories. */
const OWN_RULES: readonly { readonly name: RegExp; readonly cutting: Cutting }[] = [
  // BCEmbedding models/utils.py, RerankerModel.compute_score
  { name: /\bbce-reranker\b/i, cutting: { truncation: "longest_first", maxLength: 512 } },
];

// A tokenizer without a limit of its own has 1e30 or so.
const MAX_LENGTH = 1 << 24;

/** @throws {RerankerError} `CONVERT_FAILED` for settings of sentence-transformers that would change what the model reads. */
export async function readCutting(
  source: string,
  { profile, checkpoint, quantities, json }: CheckpointConfig,
  name: string,
): Promise<Cutting> {
  const own = OWN_RULES.find((rule) => rule.name.test(name));
  if (own) return own.cutting;
  const settings = await readJsonObject(join(source, "config_sentence_transformers.json"));
  const transformer = await readJsonObject(join(source, "sentence_bert_config.json"));
  throwIfTextsChange(settings, transformer);
  const marked =
    json["sentence_transformers"] !== undefined ||
    json["sbert_ce_default_activation_function"] !== undefined ||
    settings !== undefined ||
    (await readJson(join(source, "modules.json"))) !== undefined;
  const truncation = marked ? "longest_first" : (checkpoint.truncation ?? profile.defaults.truncation ?? "only_second");
  if (truncation === "only_second") return { truncation, maxLength: undefined };
  const tokenizer = (await readJsonObject(join(source, "tokenizer_config.json"))) ?? {};
  const limits = [
    tokenizer["model_max_length"],
    transformer?.["max_seq_length"],
    json["max_position_embeddings"],
    quantities.get("n_ctx_train"),
  ];
  const known = limits.filter(
    (limit): limit is number => Number.isInteger(limit) && (limit as number) > 0 && (limit as number) <= MAX_LENGTH,
  );
  return { truncation, maxLength: known.length > 0 ? Math.min(...known) : undefined };
}

/** A prompt put before every text, or texts in lower case. */
function throwIfTextsChange(settings: JsonObject | undefined, transformer: JsonObject | undefined): void {
  const name = settings?.["default_prompt_name"] ?? undefined;
  const prompts = settings?.["prompts"];
  const prompt = typeof name === "string" && isObject(prompts) ? prompts[name] : undefined;
  if (typeof prompt === "string" && prompt !== "") {
    throw refused(
      `\`default_prompt_name\` in config_sentence_transformers.json puts ${shown(prompt)} before texts, which is not supported for encoders`,
    );
  }
  if (transformer?.["do_lower_case"] === true)
    throw refused("`do_lower_case` in sentence_bert_config.json is true, which is not supported; the tokenizer's own setting is");
}

function refused(why: string): RerankerError {
  return new RerankerError("CONVERT_FAILED", `${why}.`);
}

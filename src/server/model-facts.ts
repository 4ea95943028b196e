// What a server says of its models: OpenAI's list, and TEI's info.
import { version } from "../index.js";
import { LABEL } from "./answers.js";
import type { Settings } from "./options.js";
import type { ServedModel } from "./served-model.js";

/** One row of /v1/models. `stats`, `backend` and `capabilities` are what Infinity's client reads. */
export function modelRow(
  model: ServedModel,
  created: number,
  queue: { readonly tokens: number; readonly requests: number },
  limits: Settings,
) {
  const { facts } = model;
  return {
    id: model.name,
    object: "model",
    created,
    owned_by: "bge-reranker",
    aliases: model.aliases,
    state: model.state,
    backend: "ggml",
    capabilities: ["rerank"],
    stats: {
      queue_fraction: Math.min(1, queue.tokens / limits.maxQueueTokens),
      queue_absolute: queue.tokens,
      results_pending: queue.requests,
      batch_size: 128,
    },
    ...(model.failure && { error: model.failure.error.message }),
    ...(facts && {
      class: facts.className,
      architecture: facts.architecture,
      max_length: facts.maxLength,
      context_length: facts.contextLength,
      device: facts.device,
      ...(facts.cutoffLayers.length > 0 && { cutoff_layers: facts.cutoffLayers }),
      ...(facts.compress && { compress: facts.compress }),
    }),
  };
}

/** TEI's /info. Dify's plugin reads the first key of `model_type`. */
export function infoOf(model: ServedModel, limits: Settings) {
  const { facts } = model;
  return {
    model_id: model.name,
    model_dtype: Object.keys(facts?.tensorTypes ?? {})[0] ?? "F32",
    model_type: { reranker: { id2label: { 0: LABEL }, label2id: { [LABEL]: 0 } } },
    max_concurrent_requests: limits.maxConcurrent,
    max_input_length: facts?.maxLength ?? 512,
    max_batch_tokens: limits.maxQueueTokens,
    max_client_batch_size: limits.maxDocuments,
    auto_truncate: true,
    tokenization_workers: 1,
    version,
  };
}

// Prometheus metrics of a handler, and of the process once.
import type { Gauge, Registry } from "prom-client";
import type { Admission } from "./admission.js";
import type { ServedModels } from "./served-models.js";

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const TOKENS = [64, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072];

export type Metrics = Awaited<ReturnType<typeof createMetrics>>;

let processRegistry: Registry | undefined;

/** @param isReady - What /healthz/ready answers. */
export async function createMetrics(admission: Admission, models: ServedModels, isReady: () => boolean) {
  const prom = await import("prom-client");
  const { Counter, Gauge, Histogram, Registry } = prom.default ?? prom;
  if (!processRegistry) {
    processRegistry = new Registry();
    (prom.default ?? prom).collectDefaultMetrics({ register: processRegistry });
  }
  const registers = [new Registry()];
  const [registry] = registers as [Registry];
  const gauge = (name: string, help: string, collect: (gauge: Gauge) => void) =>
    new Gauge({ name, help, registers, collect: function () { collect(this as Gauge); } }); // biome-ignore format: one call
  gauge("bge_ready", "1 while /healthz/ready answers 200", (each) => each.set(isReady() ? 1 : 0));
  gauge("bge_queue_tokens", "Tokens, estimated, admitted and not done", (each) => each.set(admission.load.tokens));
  gauge("bge_queue_requests", "Requests admitted and not answered", (each) => each.set(admission.load.requests));
  gauge("bge_tokens_per_second", "Measured rate while there is work, estimated tokens", (each) => each.set(admission.tokensPerSecond ?? 0));
  const model = (name: string, help: string, value: (model: ServedModels["all"][number]) => number) =>
    new Gauge({ name, help, labelNames: ["model"], registers, collect() { for (const each of models.all) this.set({ model: each.name }, value(each)); } }); // biome-ignore format: one call
  model("bge_model_loaded", "1 while the model is in memory", (each) => (each.loaded ? 1 : 0));
  model("bge_model_weights_bytes", "Memory of the weights while the model is in memory", (each) =>
    each.loaded ? (each.facts?.weightsSizeBytes ?? 0) : 0,
  );
  model("bge_model_prefix_cache_bytes", "Memory that the model's prefix cache holds", (each) => each.prefixCacheBytes);
  model("bge_model_in_use", "Requests that hold the model", (each) => each.inUse);
  const cacheCounter = (name: string, what: keyof ServedModels["all"][number]["cache"], help: string) =>
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(models.all.reduce((sum, each) => sum + each.cache[what], 0));
      },
    });
  cacheCounter("bge_cache_hits_total", "hits", "Pairs whose scores were computed before");
  cacheCounter("bge_cache_misses_total", "misses", "Pairs that were not in a cache");
  cacheCounter("bge_prefix_cache_hits_total", "prefixHits", "Queries of batches that a language model had read before, whole or in part");
  cacheCounter("bge_prefix_cache_misses_total", "prefixMisses", "Queries of batches that were not in a prefix cache");
  cacheCounter("bge_prefix_cache_tokens_total", "prefixTokens", "Tokens that were not computed again");
  const counter = <L extends string>(name: string, help: string, labelNames: L[] = []) =>
    new Counter({ name, help, labelNames, registers });
  const histogram = <L extends string>(name: string, help: string, buckets: number[], labelNames: L[] = []) =>
    new Histogram({ name, help, buckets, labelNames, registers });
  return {
    requests: counter("bge_requests_total", "Requests answered", ["path", "status"]),
    duration: histogram("bge_request_duration_seconds", "From the first byte to the answer", SECONDS, ["path"]),
    queueDuration: histogram("bge_queue_duration_seconds", "From admission to the first pair's turn, loading a model included", SECONDS),
    inferenceDuration: histogram("bge_inference_duration_seconds", "From the first pair's turn to the last score", SECONDS),
    batchTokens: histogram("bge_batch_tokens", "Tokens of the engine's batches, which calls share", TOKENS),
    tokens: counter("bge_tokens_total", "Tokens the models read"),
    documents: counter("bge_documents_total", "Documents scored"),
    truncated: counter("bge_truncated_total", "Documents that were not read whole"),
    cancelled: counter("bge_cancelled_total", "Requests whose client left before the answer"),
    refused: counter("bge_refused_total", "Requests refused: overloaded, too large, no key, not ready", ["reason"]),
    contentType: registry.contentType,
    async text(): Promise<string> {
      return (prom.default ?? prom).Registry.merge([registry, processRegistry as Registry]).metrics();
    },
  };
}

// bge-reranker/server: an HTTP server that every rerank client accepts, as a fetch handler or on a port.
export { createHandler, type Handler } from "./handler.js";
export type { HandlerOptions, LogLine, ModelEntry, ModelInput, ServeOptions } from "./options.js";
export { type Server, serve, toNodeHandler } from "./serve.js";
export type { Bytes, Duration } from "./units.js";

// createHandler(): the server as one function from Request to Response, which mounts wherever such functions do.
import type { Reranker } from "../index.js";
import { createApp } from "./app.js";
import { Core } from "./core.js";
import type { HandlerOptions } from "./options.js";
import { isReranker } from "./served-models.js";

/** A fetch handler over rerankers. */
export interface Handler {
  (request: Request): Promise<Response>;
  /** Resolves when the models that `preload` names are in memory; rejects when none could be loaded. */
  ready(): Promise<void>;
  /** From now on `/healthz/ready` and scoring requests answer 503. */
  drain(): void;
  /** Names of the models served, the default one first. */
  models(): readonly string[];
  /** Requests admitted and not answered, and their estimated tokens. */
  load(): { readonly requests: number; readonly tokens: number };
  /** Scoring requests begun and not answered, those still arriving included. */
  active(): number;
  /** Ends what is under way and releases the models that the handler loaded. Calling it again is fine. */
  close(): Promise<void>;
}

/**
 * The server as a fetch handler, with options or simply over loaded rerankers: in Hono (`app.mount`), Next.js route handlers, Bun, Deno, and Node's http through
 * `toNodeHandler`. Hono and prom-client are loaded with the first request, or with `preload`.
 *
 * @throws {TypeError | RangeError} An option that does not exist, or a value that it does not take.
 * @example
 * const handler = createHandler({ models: { m3: "BAAI/bge-reranker-v2-m3" } });
 * export const POST = handler;
 */
export function createHandler(options: HandlerOptions | Reranker | readonly Reranker[] = {}): Handler {
  const core = new Core(isReranker(options) || Array.isArray(options) ? { models: options } : (options as HandlerOptions));
  let app: ReturnType<typeof createApp> | undefined;
  let closing: Promise<void> | undefined;
  if (core.settings.preload !== "none") {
    core.preload().catch(() => {}); // ready() tells
    app = createApp(core); // while the models load
    app.catch(() => {}); // the first request tells
  }
  const handle = async (request: Request): Promise<Response> => {
    app ??= createApp(core);
    return (await app)(request);
  };
  return Object.assign(handle, {
    ready: () => core.preload(),
    drain: () => {
      core.draining = true;
    },
    models: () => core.models.all.map((model) => model.name),
    load: () => core.admission.load,
    active: () => core.active,
    close: () => {
      closing ??= core.close();
      return closing;
    },
  });
}

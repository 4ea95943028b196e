// Where this package lies. Its native parts are files beside its code, so code that a bundler has put elsewhere cannot run:
// that is told with what to do, when something is asked of it, and never on import.
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { RerankerError } from "../errors.js";

/** This file; undefined where a bundler made CommonJS of it. */
const here: string | undefined = (import.meta as { url?: string }).url;

/** Folder of this package, in a checkout or installed. */
export const packageRoot: string = here?.startsWith("file:") ? path.resolve(path.dirname(fileURLToPath(here)), "..", "..") : "";

/** What `createRequire` takes to look from here; undefined in a bundle of CommonJS. */
export const ownFile: string | undefined = here?.startsWith("file:") ? fileURLToPath(here) : undefined;

/** As node:module has it; bundlers put something else in its place. */
export const requireFrom = (file: string): NodeJS.Require => process.getBuiltinModule("node:module").createRequire(file);

const EXTERNAL = [
  'Next.js: serverExternalPackages: ["bge-reranker"] in next.config',
  'webpack: externals: { "bge-reranker": "import bge-reranker" } (CommonJS: "commonjs bge-reranker")',
  "esbuild: --external:bge-reranker",
  'Vite: ssr: { external: ["bge-reranker"] }',
  'Rollup: external: ["bge-reranker"]',
  "bun build: --external bge-reranker",
  'bun build --compile --compile-autoload-package-json: createRequire(process.execPath)("bge-reranker") in place of the import, and node_modules beside the program',
].join("; ");

/** @throws {RerankerError} `ADDON_NOT_FOUND` when this code was bundled, with the line for each bundler. */
export function throwIfBundled(): void {
  if (packageRoot !== "" && nameAt(packageRoot) === "bge-reranker") return;
  throw new RerankerError(
    "ADDON_NOT_FOUND",
    `bge-reranker was bundled into ${ownFile ?? "a CommonJS file"}, away from its native files. Leave bge-reranker external, and install it where the program runs. ${EXTERNAL}`,
  );
}

function nameAt(folder: string): unknown {
  try {
    return (JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8")) as { name?: unknown }).name;
  } catch {
    return undefined;
  }
}

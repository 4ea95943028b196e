// A model of sentence-transformers: modules.json lists the modules that make it up, each in a folder with its settings and
// weights. The first is the transformer, in the main folder.
// Source: sentence-transformers 6 base/models, sentence_transformer/modules.
import { access } from "node:fs/promises";
import { join } from "node:path";
import { RerankerError, shown } from "../errors.js";
import { isObject, type JsonObject, readJson, readJsonObject } from "../files/json.js";
import { readSafetensorsFolder, type SafeTensor, type SafeTensorSet } from "./safetensors.js";

const MAX_MODULES = 16; // real ones have up to five

interface Module {
  /** Its class, without the path of the Python package. */
  readonly type: string;
  readonly folder: string;
  readonly fields: JsonObject;
}

/** @returns undefined when the folder has no modules.json. */
export async function readModules(source: string): Promise<readonly Module[] | undefined> {
  const listed = await readJson(join(source, "modules.json"));
  if (listed === undefined) return undefined;
  if (!Array.isArray(listed) || listed.length < 1 || listed.length > MAX_MODULES) {
    throw refused(`\`modules.json\` should list 1 to ${MAX_MODULES} modules, got ${shown(listed)}`);
  }
  return Promise.all(
    listed.map(async (each: unknown, i) => {
      const { type, path } = isObject(each) ? each : {};
      // A folder named "../x" or "/x" would read outside the checkpoint.
      if (typeof type !== "string" || typeof path !== "string" || !/^(|[A-Za-z0-9_][\w.-]{0,250}\/?)$/.test(path))
        throw refused(`Module ${i} in \`modules.json\` has no plain folder or type: ${shown(each)}`);
      if (i === 0 && path !== "") throw refused(`The transformer of \`modules.json\` lies in \`${path}\`, not in the main folder`);
      const folder = join(source, path);
      const fields = i === 0 ? {} : ((await readJsonObject(join(folder, "config.json"))) ?? {});
      return { type: type.split(".").at(-1) ?? "", folder, fields: withPoolingMode(fields) };
    }),
  );
}

/** Releases before 5 have a flag for each mode. */
function withPoolingMode(fields: JsonObject): JsonObject {
  const modes = Object.keys(fields).filter((field) => field.startsWith("pooling_mode_") && fields[field] === true);
  if (fields["pooling_mode"] !== undefined || modes.length === 0) return fields;
  const names: Readonly<Record<string, string>> = { pooling_mode_cls_token: "cls", pooling_mode_mean_tokens: "mean" };
  return { ...fields, pooling_mode: modes.length === 1 ? (names[modes[0] ?? ""] ?? modes[0]) : modes.join(" and ") };
}

/** @throws {RerankerError} `CONVERT_FAILED` unless the modules are those that the architecture needs. */
export function throwIfOtherModules(name: string, wanted: readonly string[] | undefined, modules: readonly Module[] | undefined): void {
  const found = modules?.map(({ type }) => type);
  if (wanted && !found) {
    throw refused(
      `${name} alone has no score head: a reranker of sentence-transformers has ${wanted.join(", ")} in \`modules.json\`, which is missing. It is an embedding model, or the download is incomplete`,
    );
  }
  if (!found || found.join() === (wanted ?? ["Transformer"]).join()) return;
  throw refused(
    `\`modules.json\` lists ${found.join(", ")}; a reranker of ${name} has ${(wanted ?? ["Transformer"]).join(", ")}, and other modules would change scores`,
  );
}

/** Settings of the modules, as fields `modules.<number>.<field>`. */
export function moduleFields(modules: readonly Module[]): JsonObject {
  return Object.fromEntries(
    modules.flatMap(({ fields }, i) => Object.entries(fields).map(([key, value]) => [`modules.${i}.${key}`, value])),
  );
}

/** The tensors of the transformer and those of its modules, as `modules.<number>.<name>`. */
export async function withModuleTensors(weights: SafeTensorSet, modules: readonly Module[]): Promise<SafeTensorSet> {
  const tensors = new Map<string, SafeTensor>(weights.tensors);
  const files = [...weights.files];
  for (const [i, { folder }] of modules.entries()) {
    if (i === 0 || !(await exists(join(folder, "model.safetensors")))) continue;
    const own = await readSafetensorsFolder(folder);
    for (const [name, tensor] of own.tensors) tensors.set(`modules.${i}.${name}`, { ...tensor, name: `modules.${i}.${name}` });
    files.push(...own.files);
  }
  return { ...weights, tensors, files };
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function refused(why: string): RerankerError {
  return new RerankerError("CONVERT_FAILED", `${why}.`);
}

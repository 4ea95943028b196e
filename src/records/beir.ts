// Where a folder laid out as BEIR's, or as its Parquet copies on the hub, keeps its texts.
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { RerankerError } from "../errors.js";
import { expandFiles } from "./globs.js";

/** The files of `corpus` or `queries`. */
export function findTexts(folder: string, name: "corpus" | "queries"): Promise<readonly string[]> {
  return findFirst(folder, [`${name}.jsonl`, `${name}.parquet`, `${name}/*.parquet`, `${name}/*.jsonl`]);
}

/**
 * The first of several names that is there.
 *
 * @param wanted - Names, or patterns in a folder below; text files may also end in .gz or .zst.
 * @throws {RerankerError} `IO`: none is.
 */
export async function findFirst(folder: string, wanted: readonly string[]): Promise<readonly string[]> {
  for (const name of wanted.flatMap(withPacked)) {
    if (!name.includes("*")) {
      if ((await stat(join(folder, name)).catch(() => undefined))?.isFile()) return [join(folder, name)];
      continue;
    }
    const [parent = "", pattern = ""] = name.split("/");
    const files = await expandFiles([join(folder, parent, pattern)]).catch(() => []);
    if (files.length > 0) return files;
  }
  throw new RerankerError("IO", `The folder ${folder} has no ${wanted.join(" or ")} (text files may also end in .gz or .zst)`);
}

function withPacked(name: string): readonly string[] {
  return name.endsWith(".parquet") ? [name] : [name, `${name}.gz`, `${name}.zst`];
}

// The files of deploy/, parsed.
import { readFileSync } from "node:fs";
import { parseAllDocuments, parse as parseYaml } from "yaml";

const folder = new URL("../../deploy/", import.meta.url);

export const deployFolder = folder;
export const readDeployed = (name: string): string => readFileSync(new URL(name, folder), "utf8");

/** The documents of a YAML file. @throws What YAML forbids: keys given twice, unknown anchors. */
export function parseDeployed<T = unknown>(name: string, text = readDeployed(name)): T[] {
  return parseAllDocuments(text, { merge: true, strict: true, uniqueKeys: true }).map((document) => {
    if ("errors" in document && document.errors.length > 0) throw new Error(`${name}: ${document.errors.join("; ")}`);
    return document.toJS() as T;
  });
}

export const parseOne = <T = unknown>(name: string): T => parseYaml(readDeployed(name), { strict: true, uniqueKeys: true }) as T;

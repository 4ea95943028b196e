// Files in memory behind node:fs/promises, for what the parsers call of it: a fuzzer has no time for a disk.
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import path from "node:path";

const missing = (file) => Object.assign(new Error(`ENOENT: no such file, open '${file}'`), { code: "ENOENT" });

/** @returns {(contents: Readonly<Record<string, Uint8Array | string>>) => string} Fills a folder anew and gives its path. */
export function installMemoryFiles() {
  let files = new Map();
  const find = (file) => {
    const bytes = files.get(path.normalize(file));
    if (!bytes) throw missing(file);
    return bytes;
  };
  fs.promises.access = async (file) => void find(file);
  fs.promises.open = async (file) => {
    const bytes = find(file);
    return {
      stat: async () => ({ size: bytes.length, isFile: () => true }),
      readFile: async () => Buffer.from(bytes),
      read: async (buffer, offset, length, position) => ({ bytesRead: bytes.copy(buffer, offset, position, position + length) }),
      close: async () => {},
    };
  };
  syncBuiltinESMExports();
  const folder = path.join(path.sep, "model");
  return (contents) => {
    files = new Map(Object.entries(contents).map(([name, bytes]) => [path.join(folder, name), Buffer.from(bytes)]));
    return folder;
  };
}

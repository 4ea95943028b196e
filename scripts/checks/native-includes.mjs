// Keeps native/ a house of floors: includes point down, each folder sees only what its sentence allows, nothing runs in a circle.
//   node scripts/checks/native-includes.mjs [FOLDER]
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const checkout = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..");
const native = path.resolve(process.argv[2] ?? path.join(checkout, "native"));

/** What a folder may include of the others. binding/ stands above all. */
const MAY_INCLUDE = {
  "cpu/": [],
  "tokenizer/": ["error.h"],
  "arch/": ["graph.h", "weights.h", "batch.h", "model-file.h", "error.h"],
};

/** Headers that one place alone includes. */
const KEPT = {
  "napi.h": { by: /^binding\//, why: "only binding/ knows N-API" },
  "ggml/": { by: /^ggml-runtime\.h$/, why: "ggml is opened at run time, through ggml-runtime.h, and never linked" },
};

const isSource = (name) => /\.(cpp|h)$/.test(name) && !name.startsWith("ggml/");
const files = readdirSync(native, { recursive: true })
  .map((name) => name.split(path.sep).join("/"))
  .filter(isSource)
  .sort();

/** [{ name, own }]: as written, and as a path in native/ where it is a file there. */
function includesOf(file) {
  const text = readFileSync(path.join(native, file), "utf8");
  return [...text.matchAll(/^[ \t]*#[ \t]*include[ \t]+["<]([^">]+)[">]/gm)].map(([, name]) => {
    const beside = path.posix.normalize(path.posix.join(path.posix.dirname(file), name));
    return { name, own: [beside, name].find((candidate) => files.includes(candidate)) };
  });
}

const folderOf = (file) => (file.includes("/") ? file.slice(0, file.indexOf("/") + 1) : "");
const faults = [];
const graph = new Map();
for (const file of files) {
  const includes = includesOf(file);
  const own = includes.flatMap((include) => include.own ?? []);
  graph.set(file, own);
  for (const { name } of includes)
    for (const [header, { by, why }] of Object.entries(KEPT))
      if ((name === header || (header.endsWith("/") && name.includes(header))) && !by.test(file))
        faults.push(`${file} includes ${name}: ${why}`);
  for (const target of own) {
    const [from, to] = [folderOf(file), folderOf(target)];
    if (from === to) continue;
    if (to === "binding/") faults.push(`${file} includes ${target}: nothing stands above binding/`);
    if (MAY_INCLUDE[from] && !MAY_INCLUDE[from].includes(target))
      faults.push(`${file} includes ${target}: ${from} may include ${MAY_INCLUDE[from].join(", ") || "nothing outside it"}`);
  }
}

/** A header comes back to itself. */
function findCircle(file, trail = []) {
  if (trail.includes(file)) return [...trail.slice(trail.indexOf(file)), file];
  for (const next of graph.get(file) ?? []) {
    const circle = findCircle(next, [...trail, file]);
    if (circle) return circle;
  }
  return undefined;
}
for (const file of files) {
  const circle = findCircle(file);
  if (circle?.[0] === file) faults.push(`a circle: ${circle.join(" -> ")}`);
}

for (const fault of faults) console.error(`native/${fault}`);
if (faults.length > 0) process.exit(1);
console.log(`${files.length} native files: every include points down.`);

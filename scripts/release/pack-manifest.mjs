// The package.json that is packed: without the scripts and development dependencies of a checkout, whose files are not in the
// tarball. npm warns of a `prepare` script that it will not run, and a script without its file helps nobody.
//   node scripts/release/pack-manifest.mjs strip|restore      (prepack and postpack)
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..", "..");
const manifest = path.join(root, "package.json");
const kept = path.join(root, "build", "package.json.checkout");

/** `bge-reranker build` installs the headers of Node-API in these versions. */
const BUILD_NEEDS = ["node-addon-api", "node-api-headers"];

export function packedManifest(checkout) {
  const { scripts, devDependencies, ...packed } = checkout;
  return { ...packed, devDependencies: Object.fromEntries(BUILD_NEEDS.map((name) => [name, devDependencies[name]])) };
}

/** Puts the checkout's own package.json back, also after a pack that was killed. */
export function restoreManifest() {
  if (existsSync(kept)) renameSync(kept, manifest);
}

function stripManifest() {
  restoreManifest();
  const text = readFileSync(manifest);
  mkdirSync(path.dirname(kept), { recursive: true });
  writeFileSync(kept, text);
  writeFileSync(`${manifest}.tmp`, `${JSON.stringify(packedManifest(JSON.parse(text)), null, 2)}\n`);
  renameSync(`${manifest}.tmp`, manifest);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) (process.argv[2] === "strip" ? stripManifest : restoreManifest)();

// Seeds of the native targets and what those find in their environment, for `npm run fuzz` and the test that replays them.
import { readFileSync } from "node:fs";
import path from "node:path";
import { findGgml, modulesIn } from "../../lib/addon/ggml-libraries.js";
import { loadNative } from "../../lib/addon/native.js";
import { convert } from "../../lib/convert/convert.js";
import { defaultTokenizerSpec, tokenizerSpecOf } from "../../lib/tokenizer/tokenizer-spec.js";
import { CHECKPOINTS, makeNativeSeeds, makeTextSeeds } from "./seeds.mjs";

const { ggml } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));

/** @returns {Promise<Record<string, string>>} The environment, see test/native/fuzz/. */
export async function makeAllNativeSeeds(folder) {
  await makeNativeSeeds(folder, { convert, loadNative, tokenizerSpecOf, defaultTokenizerSpec });
  makeTextSeeds(path.join(folder, "tokenizer"));
  const libraries = findGgml(ggml.prebuilt);
  return {
    BGE_FUZZ_GGML: [ggml.version, libraries.base, libraries.ggml, ...modulesIn(libraries.folder, "cpu")].join("\n"),
    BGE_FUZZ_VOCABULARIES: CHECKPOINTS.map((name) => path.join(folder, "vocabularies", `${name}.gguf`)).join("\n"),
  };
}

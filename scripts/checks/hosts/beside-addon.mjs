// Beside the bare addon of another node-llama-cpp version, without its JavaScript:  beside-addon.mjs MODEL CASES ours|theirs ADDON
import { createRequire } from "node:module";
import { takeTurns } from "./turns.mjs";

const args = process.argv.slice(2);
const [model, , , addonFile] = args;
const TEXT = "what is a giant panda?";
let vocabulary;

// Reads the file with their gguf and tokenises with their libllama, both on their libggml-base.
async function theirs() {
  if (!vocabulary) {
    const addon = createRequire(import.meta.url)(addonFile);
    vocabulary = new addon.AddonModel(model, { vocabOnly: true });
    if (!(await vocabulary.init())) throw new Error(`${addonFile} does not load ${model}`);
  }
  return [...vocabulary.tokenize(TEXT, false)].join();
}

await takeTurns(args, theirs, (answers, reranker) => {
  const expected = [...reranker.tokenize(TEXT)].join();
  if (answers.some((ids) => ids !== expected)) throw new Error(`their ids: ${answers.join(" then ")}; expected ${expected}`);
});

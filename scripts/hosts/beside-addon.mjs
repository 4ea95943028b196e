// Beside the bare addon of another node-llama-cpp version, without its JavaScript:  beside-addon.mjs MODEL CASES ours|theirs ADDON
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { FlagReranker } from "bge-reranker";

const [model, casesFile, first, addonFile] = process.argv.slice(2);
const [{ pairs, scores }] = JSON.parse(readFileSync(casesFile, "utf8"));
let reranker;
let vocabulary;

async function ours() {
  reranker ??= await FlagReranker.load(model);
  const got = await reranker.computeScore(pairs);
  return Math.max(...scores.map((score, i) => Math.abs(score - got[i])));
}

// Reads the file with their gguf and tokenises with their libllama, both on their libggml-base.
async function theirs() {
  if (!vocabulary) {
    const addon = createRequire(import.meta.url)(addonFile);
    vocabulary = new addon.AddonModel(model, { vocabOnly: true });
    if (!(await vocabulary.init())) throw new Error(`${addonFile} does not load ${model}`);
  }
  return [...vocabulary.tokenize("what is a giant panda?", false)].join();
}

const order = first === "ours" ? [ours, theirs, ours, theirs] : [theirs, ours, theirs, ours];
const answers = { ours: [], theirs: [] };
for (const ask of order) answers[ask.name].push(await ask());
const expected = [...reranker.tokenize("what is a giant panda?")].join();
if (answers.theirs.some((ids) => ids !== expected)) throw new Error(`their ids: ${answers.theirs.join(" then ")}; expected ${expected}`);

const mapped = process.platform === "linux" ? readFileSync("/proc/self/maps", "utf8") : "";
const bases = [...new Set(mapped.match(/\/\S*(?:libggml-base|libbge\w{6})\.so/g))];
console.log(JSON.stringify({ difference: Math.max(...answers.ours), bases }));
process.exit(0);

// The calls of a load: a query and documents of plain English, no two documents the same, so that no cache answers.
import { readFileSync } from "node:fs";
import { logNormal, randomNumbers } from "../random.mjs";

/** Words of the project's own prose, as often as they stand there. */
function readWords() {
  const files = ["README.md", "CONTRIBUTING.md", "docs/benchmarks.md", "docs/hub.md", "docs/electron.md"];
  const text = files.map((name) => readFileSync(new URL(`../../${name}`, import.meta.url), "utf8")).join("\n");
  return text.toLowerCase().match(/[a-z]{2,}/g) ?? [];
}

/**
 * @param {number} count calls
 * @param {{ documents?: number, seed?: number, words?: number }} [shape] `words`: median of a document
 * @returns {{ query: string, documents: string[] }[]}
 */
export function makeCalls(count, { documents = 20, seed = 1, words = 60 } = {}) {
  const vocabulary = readWords();
  const random = randomNumbers(seed);
  const write = (length) => Array.from({ length }, () => vocabulary[Math.floor(random() * vocabulary.length)]).join(" ");
  const length = () => Math.round(Math.min(200, Math.max(8, logNormal(random, words, 0.5))));
  return Array.from({ length: count }, () => ({ query: write(8), documents: Array.from({ length: documents }, () => write(length())) }));
}

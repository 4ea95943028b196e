// Two installations of the package in one process:  twice.mjs MODEL CASES OTHER_ENTRY
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { FlagReranker } from "bge-reranker";

const [model, casesFile, otherEntry] = process.argv.slice(2);
const other = await import(pathToFileURL(otherEntry).href);
if (other.FlagReranker === FlagReranker) throw new Error("both imports are one installation");
const [{ pairs, scores }] = JSON.parse(readFileSync(casesFile, "utf8"));
const both = await Promise.all([FlagReranker.load(model), other.FlagReranker.load(model)]);
const answers = await Promise.all(both.map((reranker) => reranker.computeScore(pairs)));
await Promise.all(both.map((reranker) => reranker.dispose()));
console.log(JSON.stringify({ difference: Math.max(...answers.flatMap((got) => scores.map((score, i) => Math.abs(score - got[i])))) }));

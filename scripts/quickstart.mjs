// The main job, shown: rank a few documents for a query through the library, as a user would.
import { FlagAutoReranker } from "../lib/index.js";

const query = "how do I keep bread fresh for longer?";
const documents = [
  "Store a loaf in a paper bag or a bread box at room temperature; the fridge makes it go stale faster. What you cannot eat in three days freezes well in slices.",
  "Sourdough starter is a culture of wild yeast and lactic acid bacteria that is fed with flour and water.",
  "The city council moved the weekly market from the square to the car park behind the station.",
  "Bread goes stale because its starch crystallises again as it cools, a process that is fastest just above freezing.",
  "To sharpen a bread knife, work on the bevelled side of each serration with a thin rod.",
  "Fresh pasta keeps for two days in the refrigerator and dries out quickly when it is left uncovered.",
];

const start = performance.now();
const reranker = await FlagAutoReranker.fromFinetuned("default");
const loaded = performance.now();
const results = await reranker.rerank(query, documents, { normalize: true });
const done = performance.now();
console.log(`query: ${query}\n`);
for (const [rank, { score, document }] of results.entries()) {
  console.log(`${String(rank + 1).padStart(2)}  ${score.toFixed(4)}  ${document.length > 96 ? `${document.slice(0, 95)}…` : document}`);
}
const { name, device } = reranker.model;
console.log(
  `\n${name} on ${device}: loaded in ${Math.round(loaded - start)} ms, ${documents.length} documents ranked in ${Math.round(done - loaded)} ms`,
);
await reranker.dispose();

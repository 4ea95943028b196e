// The main job, shown: rank a few documents for a query through the library, as a user would.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { convert, FlagAutoReranker } from "../lib/index.js";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const query = "how do I keep bread fresh for longer?";
const documents = [
  "Store a loaf in a paper bag or a bread box at room temperature; the fridge makes it go stale faster. What you cannot eat in three days freezes well in slices.",
  "Sourdough starter is a culture of wild yeast and lactic acid bacteria that is fed with flour and water.",
  "The city council moved the weekly market from the square to the car park behind the station.",
  "Bread goes stale because its starch crystallises again as it cools, a process that is fastest just above freezing.",
  "To sharpen a bread knife, work on the bevelled side of each serration with a thin rod.",
  "Fresh pasta keeps for two days in the refrigerator and dries out quickly when it is left uncovered.",
];

const temporary = mkdtempSync(path.join(tmpdir(), "bge-quickstart-"));
try {
  let model = "default";
  if (!existsSync(path.join(root, "models", "default.gguf"))) {
    console.log(
      "This checkout has no embedded default model yet, so a tiny checkpoint with RANDOM weights stands in: the order means nothing.\n",
    );
    ({ path: model } = await convert(path.join(root, "test", "golden", "bert-reranker"), {
      output: path.join(temporary, "tiny.gguf"),
      outtype: "f32",
    }));
  }
  const start = performance.now();
  const reranker = await FlagAutoReranker.fromFinetuned(model);
  const loaded = performance.now();
  const results = await reranker.rerank(query, documents, { normalize: true });
  const done = performance.now();
  console.log(`query: ${query}\n`);
  for (const [rank, { score, document }] of results.entries()) {
    console.log(`${String(rank + 1).padStart(2)}  ${score.toFixed(4)}  ${document.length > 96 ? `${document.slice(0, 95)}…` : document}`);
  }
  const { architecture, device } = reranker.model;
  console.log(
    `\n${architecture} on ${device}: loaded in ${Math.round(loaded - start)} ms, ${documents.length} documents ranked in ${Math.round(done - loaded)} ms`,
  );
  await reranker.dispose();
} finally {
  rmSync(temporary, { recursive: true, force: true });
}

// The pairs that logits are compared on, as a workload of the engines, with their grades where somebody judged them.
import { readFileSync } from "node:fs";
import { loadDataset } from "../../lib/index.js";

/** Candidates of a data set laid out as BEIR's, query after query. */
export async function datasetPairs(folder, { queries, candidates }) {
  const dataset = await loadDataset(folder, { queries, candidates });
  return dataset.queries.flatMap(({ id, text, candidates }) =>
    candidates.map((document) => ({
      queryId: id,
      query: text,
      documentId: document,
      passage: dataset.documents.get(document),
      qrels: dataset.qrels.get(id),
    })),
  );
}

/** JSON lines of `query`, `passage` and, where they are judged, `label`: true, false or a grade. One text is one query. */
export function filePairs(path, { queries: limit = Number.POSITIVE_INFINITY }) {
  const judged = new Map();
  const pairs = [];
  for (const [number, text] of readFileSync(path, "utf8").split("\n").entries()) {
    if (text.trim() === "") continue;
    const { query, passage, label } = parse(path, number + 1, text);
    if (!judged.has(query)) {
      if (judged.size === limit) break;
      judged.set(query, new Map());
    }
    const documentId = String(number + 1);
    if (label !== undefined) judged.get(query).set(documentId, Number(label));
    pairs.push({ queryId: query, query, documentId, passage, qrels: judged.get(query) });
  }
  return pairs;
}

function parse(path, line, text) {
  try {
    const pair = JSON.parse(text);
    if (typeof pair.query === "string" && typeof pair.passage === "string") return pair;
  } catch {
    // said below
  }
  throw new RangeError(`${path}:${line} needs "query" and "passage", two strings`);
}

/** What an engine's process reads: one call with all pairs. */
export function workloadOf(pairs, encode) {
  return {
    name: "pairs",
    pairs: pairs.map(({ query, passage }) => ({ query, passage, ...encode(query, passage) })),
    calls: [pairs.map((_, i) => i)],
    concurrent: false,
  };
}

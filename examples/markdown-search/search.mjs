// The search: SQLite finds, the reranker orders.
import { FlagAutoReranker } from "bge-reranker";
import { openDatabase } from "./database.mjs";
import { readSections } from "./sections.mjs";

const FOUND = 50; // sections that full text search hands on

/** Indexes a folder in memory and loads a model. `search(query, limit)` gives the best sections. */
export async function openSearch(folder, model = "default") {
  const database = await openDatabase();
  database.exec("CREATE VIRTUAL TABLE sections USING fts5(path, heading, text, line UNINDEXED, tokenize = 'porter unicode61')");
  const insert = database.prepare("INSERT INTO sections (path, heading, text, line) VALUES (?, ?, ?, ?)");
  let count = 0;
  for await (const { path, heading, text, line } of readSections(folder)) {
    insert.run(path, heading, text, line);
    count++;
  }
  const find = database.prepare(
    "SELECT path, heading, text, line FROM sections WHERE sections MATCH ? ORDER BY bm25(sections, 1, 4, 1) LIMIT ?",
  );
  const reranker = await FlagAutoReranker.fromFinetuned(model);
  return {
    count,
    async search(query, limit = 5) {
      const began = performance.now();
      const words = query.match(/[\p{L}\p{N}_]+/gu) ?? [];
      if (words.length === 0) return { hits: [], found: 0, findMs: 0, rerankMs: 0 };
      // Any of the words: the reranker sees to it that the right ones come first.
      const found = find.all(words.map((word) => `"${word}"`).join(" OR "), FOUND);
      const rerankBegan = performance.now();
      const text = (section) => `${section.heading}\n${section.text}`;
      const results = await reranker.rerank(query, found, { text, topN: limit, normalize: true, overflow: "chunk" });
      return {
        hits: results.map(({ document, index, score, chunk }) => ({
          path: document.path,
          heading: document.heading,
          line: document.line,
          score,
          wasAt: index + 1,
          excerpt: chunk ? text(document).slice(chunk.start, chunk.end) : document.text,
        })),
        found: found.length,
        findMs: rerankBegan - began,
        rerankMs: performance.now() - rerankBegan,
      };
    },
    close: () => reranker.dispose(),
  };
}

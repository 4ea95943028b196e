// bge-reranker/lancedb in hybrid queries of a real table.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { rerankers, Table } from "@lancedb/lancedb";
import type { Reranker } from "bge-reranker";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { whyNotInstalled } from "./install.js";

const why = await whyNotInstalled();
const { FlagAutoReranker } = await import("bge-reranker");
const { BgeHybridReranker } = await import("bge-reranker/lancedb");

const TEXTS = ["The giant panda is a bear endemic to China.", "hi there", "Bread keeps in a paper bag.", "Pandas eat bamboo."];
const AT = 1_700_000_000_123_456n; // microseconds: more than a Date holds

describe.skipIf(why)("bge-reranker/lancedb", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "bge-lance-"));
  let reranker: Reranker;
  let table: Table;

  beforeAll(async () => {
    if (why) return;
    reranker = await FlagAutoReranker.fromFinetuned("default");
    const lancedb = await import("@lancedb/lancedb");
    const { createRequire } = await import("node:module");
    const arrow: typeof import("apache-arrow") = createRequire(import.meta.url)("apache-arrow");
    const { Field, Float32, FixedSizeList, Int64, List, Schema, Struct, TimestampMicrosecond, Utf8, Bool } = arrow;
    const schema = new Schema([
      new Field("id", new Int64(), false),
      new Field("body", new Utf8(), true),
      new Field("vector", new FixedSizeList(4, new Field("item", new Float32(), true)), true),
      new Field("tags", new List(new Field("item", new Utf8(), true)), true),
      new Field("at", new TimestampMicrosecond(), true),
      new Field("seen", new Bool(), true),
      new Field("meta", new Struct([new Field("page", new Int64(), true), new Field("by", new Utf8(), true)]), true),
    ]);
    const rows = TEXTS.map((body, i) => ({
      id: BigInt(i),
      body,
      vector: [i, 1, 0.5, 0],
      tags: i === 1 ? null : ["a", `t${i}`],
      at: null as bigint | null,
      seen: i % 2 === 0,
      meta: { page: BigInt(i * 10), by: i === 2 ? null : "me" },
    }));
    const db = await lancedb.connect(folder);
    table = await db.createTable("notes", lancedb.makeArrowTable(rows, { schema }));
    await table.update({ where: "id = 3", valuesSql: { at: `arrow_cast(${AT}, 'Timestamp(Microsecond, None)')` } });
    await table.createIndex("body", { config: lancedb.Index.fts() });
  });
  afterAll(async () => {
    await reranker?.dispose();
    rmSync(folder, { recursive: true, force: true });
  });

  const search = (hybrid: rerankers.Reranker) => table.query().fullTextSearch("panda bear").nearestTo([0, 1, 0, 0]).rerank(hybrid);

  it("ranks what either search finds, once each, best first, with a score", async () => {
    const rows = await search(new BgeHybridReranker(reranker, { column: "body" }))
      .limit(4)
      .toArray();
    const expected = await reranker.rerank("panda bear", TEXTS, { normalize: true });
    expect(rows.map((row) => row.body)).toEqual(expected.map(({ document }) => document));
    for (const [i, row] of rows.entries()) expect(row._relevance_score).toBeCloseTo(expected[i]?.score as number, 6);
  });

  it("keeps every column as it was", async () => {
    const rows = await search(new BgeHybridReranker(reranker, { column: "body" }))
      .limit(4)
      .toArray();
    const plain = await table.query().withRowId().toArray();
    const facts = (row: Record<string, unknown>) =>
      JSON.stringify([row.id, row.body, row.vector, row.tags, row.seen, row.meta], (_, v) => (typeof v === "bigint" ? String(v) : v));
    for (const row of rows) {
      const stored = plain.find(({ id }) => id === row.id);
      expect(facts(row)).toBe(facts(stored));
    }
    expect(rows.find(({ id }) => id === 3n)?.at).toBe(Number(AT) / 1000);
  });

  it("respects the limit and takes options of the library", async () => {
    expect(
      await search(new BgeHybridReranker(reranker, { column: "body" }))
        .limit(1)
        .toArray(),
    ).toHaveLength(1);
    const logits = await search(new BgeHybridReranker(reranker, { column: "body", options: { normalize: false, topN: 2 } }))
      .limit(4)
      .toArray();
    expect(logits).toHaveLength(2);
    expect(logits[0]._relevance_score).toBeGreaterThan(0);
  });

  it("says which column it needs", async () => {
    await expect(search(new BgeHybridReranker(reranker)).limit(2).toArray()).rejects.toThrow("no text column text, but id, body");
  });

  it("gives nothing for nothing", async () => {
    const empty = table
      .query()
      .fullTextSearch("zzzz")
      .nearestTo([0, 1, 0, 0])
      .where("id = 99")
      .rerank(new BgeHybridReranker(reranker, { column: "body" }));
    expect(await empty.limit(4).toArray()).toEqual([]);
  });
});

import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { run } from "../../src/cli/program.js";
import { commandLine } from "../../src/cli/shared.js";
import type { LoadOptions } from "../../src/index.js";
import { jobCommands } from "../../src/jobs/commands.js";
import { scoringOf } from "../../src/jobs/spec.js";
import { TextStore } from "../../src/jobs/text-store.js";
import { readRows } from "../../src/records/index.js";
import { type FakeOptions, fakeNative, MODELS } from "./fake-native.js";

// The machine's place is taken by the fake; all else is as it ships.
let fake: FakeOptions = {};
vi.mock("../../src/reranker/load.js", async (original) => {
  const load = await original<typeof import("../../src/reranker/load.js")>();
  return {
    ...load,
    openModel: (name: string, options: never, wanted: never) => load.openModel(name, options, wanted, fakeNative(fake).environment),
  };
});

const root = mkdtempSync(join(tmpdir(), "bge-reranker-batch-"));
afterAll(() => rmSync(root, { recursive: true }));
const at = (name: string) => join(root, name);
const write = (name: string, content: string | Buffer) => writeFileSync(at(name), content);
const lines = (rows: readonly unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
const scoreOf = (query: string, document: string) => query.length * 100 + document.length;
let computed = 0;
beforeEach(() => {
  computed = 0;
  fake = {
    logit: (query, document) => {
      computed++;
      return scoreOf(query, document);
    },
  };
});
afterEach(() => vi.restoreAllMocks());

const pairs = Array.from({ length: 25 }, (_, i) => ({ id: i * 2, query: "q".repeat(i % 3), passage: "d".repeat(i % 7) }));
write("model.gguf", "weights");
write("other.gguf", "other weights");
write("pairs.jsonl", lines(pairs));

async function batch(...args: string[]) {
  let stdout = "";
  let stderr = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    stdout += text;
    return true;
  });
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    stderr += text;
    return true;
  });
  const hasModel = args.includes("-m");
  const code = await run(
    ["node", "bge-reranker", "batch", ...(hasModel ? [] : ["-m", at("model.gguf")]), ...args],
    [jobCommands(commandLine)],
  );
  vi.restoreAllMocks();
  return { code, stdout, stderr };
}

async function rowsOf(path: string): Promise<Record<string, unknown>[]> {
  const rows: Record<string, unknown>[] = [];
  for await (const { values } of readRows(path)) rows.push(values);
  return rows;
}

async function partsOf(folder: string): Promise<Record<string, unknown>[]> {
  const names = readdirSync(at(folder))
    .filter((name) => name.startsWith("part-"))
    .sort();
  return (await Promise.all(names.map((name) => rowsOf(at(join(folder, name)))))).flat();
}

const expectedPairs = pairs.map(({ id, query, passage }, row) => ({ row, id, score: scoreOf(query, passage), truncated: false }));

describe("batch", () => {
  it("writes parts in order, computing equal pairs once", async () => {
    const { code, stdout, stderr } = await batch(at("pairs.jsonl"), "-o", at("parts"), "--shard-rows", "10");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/3 of 3 parts made; complete\n25 rows, 25 pairs in /);
    expect(await partsOf("parts")).toEqual(expectedPairs);
    const manifest = JSON.parse(readFileSync(at("parts/_manifest.json"), "utf8"));
    expect(manifest).toMatchObject({ complete: true, totals: { rows: 25, pairs: 25 }, job: { files: [{ rows: 25 }] } });
    expect(manifest.parts).toHaveLength(3);
    expect(readdirSync(at("parts")).filter((name) => name.startsWith("."))).toEqual([]);
    computed = 0;
    expect((await batch(at("pairs.jsonl"), "-o", at("one"))).stdout).toContain("25 pairs (4 equal to another)");
    expect(computed).toBe(21);
  });

  it.each([
    ["pairs.jsonl.gz", gzipSync(lines(pairs)), []],
    ["pairs.csv", `id,query,passage\n${pairs.map(({ id, query, passage }) => `${id},${query},"${passage}"`).join("\n")}`, []],
    ["pairs.tsv", pairs.map(({ id, query, passage }) => `${id}\t${query}\t${passage}`).join("\n"), ["--header", "id,query,passage"]],
  ])("reads %s in shards", async (name, content, more) => {
    write(name, content as Buffer);
    expect(await batch(at(name as string), "-o", at(`of-${name}.jsonl`), "--shard-rows", "7", ...(more as string[]))).toMatchObject({
      code: 0,
    });
    const rows = await rowsOf(at(`of-${name}.jsonl`));
    expect(rows.map(({ id, ...rest }) => ({ id: Number(id), ...rest }))).toEqual(expectedPairs.map(({ id, ...rest }) => ({ id, ...rest })));
  });

  it("numbers rows over several files and finds them by pattern", async () => {
    mkdirSync(at("many"));
    write("many/a.jsonl", lines(pairs.slice(0, 9)));
    write("many/b.jsonl", lines(pairs.slice(9)));
    await batch(at("many/*.jsonl"), "-o", at("many.jsonl"), "--shard-rows", "4");
    expect(await rowsOf(at("many.jsonl"))).toEqual(expectedPairs);
    expect(existsSync(at("many.jsonl.parts"))).toBe(false);
  });

  it("keeps ids and columns as they were written", async () => {
    write(
      "ids.jsonl",
      '{"id": 12345678901234567890, "query":"q","text":"d","x":[1.0, {"a":1e2}]}\n{"query":"q","text":"d","id":"\\u00e9"}\n',
    );
    await batch(at("ids.jsonl"), "-o", at("ids-out.jsonl"));
    expect(readFileSync(at("ids-out.jsonl"), "utf8")).toBe(
      '{"row":0,"id":12345678901234567890,"score":101,"truncated":false}\n{"row":1,"id":"\\u00e9","score":101,"truncated":false}\n',
    );
    await batch(at("ids.jsonl"), "-o", at("ids-kept.jsonl"), "--keep", "x");
    expect(readFileSync(at("ids-kept.jsonl"), "utf8").split("\n").slice(0, 2)).toEqual([
      '{"row":0,"x":[1.0, {"a":1e2}],"score":101,"truncated":false}',
      '{"row":1,"score":101,"truncated":false}',
    ]);
  });

  it("scores lists, and FlagEmbedding's training files", async () => {
    write(
      "lists.jsonl",
      lines([
        { query: "q", documents: ["a", "bb"] },
        { query: "qq", documents: [] },
      ]),
    );
    await batch(at("lists.jsonl"), "-o", at("lists-out.jsonl"));
    expect(await rowsOf(at("lists-out.jsonl"))).toEqual([
      { row: 0, scores: [101, 102], truncated: 0 },
      { row: 1, scores: [], truncated: 0 },
    ]);
    write("train.jsonl", lines([{ query: "q", pos: ["a"], neg: ["bb", "ccc"] }]));
    await batch(at("train.jsonl"), "-o", at("train-out.jsonl"), "--keep", "query,pos");
    expect(await rowsOf(at("train-out.jsonl"))).toEqual([
      { row: 0, query: "q", pos: ["a"], pos_scores: [101], neg_scores: [102, 103], truncated: 0 },
    ]);
  });

  it("writes TREC runs from lists with ids, and refuses lists without", async () => {
    write(
      "runs.jsonl",
      lines([
        {
          qid: 7,
          query: "q",
          documents: [
            { id: "a", text: "a" },
            { _id: "b", title: "t", text: "b" },
          ],
        },
      ]),
    );
    await batch(at("runs.jsonl"), "-o", at("runs.run"));
    expect(readFileSync(at("runs.run"), "utf8")).toBe("7 Q0 b 1 103 tiny-bert\n7 Q0 a 2 101 tiny-bert\n");
    expect(await batch(at("lists.jsonl"), "-o", at("none.run"))).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/no id of the query/),
    });
    expect(await batch(at("pairs.jsonl"), "-o", at("none.run"))).toMatchObject({ code: 2 });
  });

  it("tells what was cut", async () => {
    write(
      "long.jsonl",
      lines([
        { query: "q", passage: "d".repeat(100) },
        { query: "q", passage: "d" },
      ]),
    );
    const { stdout } = await batch(at("long.jsonl"), "-o", at("long-out.jsonl"), "--max-length", "20");
    expect(stdout).toContain("1 pairs were cut to fit");
    expect((await rowsOf(at("long-out.jsonl"))).map(({ truncated }) => truncated)).toEqual([true, false]);
  });

  it("gives a score for each of several cutoff layers", async () => {
    fake = { header: MODELS.layerwise, logit: (_q, _d, layer) => layer };
    await batch(at("pairs.jsonl"), "-o", at("layers.parquet"), "--cutoff-layers", "3,5");
    expect((await rowsOf(at("layers.parquet")))[24]).toMatchObject({ row: 24n, scores: [3, 5] });
    expect(await batch(at("lists.jsonl"), "-o", at("layers.jsonl"), "--cutoff-layers", "3,5")).toMatchObject({ code: 2 });
  });
});

describe("Parquet", () => {
  const fixtures = fileURLToPath(new URL("../data/parquet/", import.meta.url));

  it("in and out keeps integers whole, in one file as in parts", async () => {
    const input = join(fixtures, "pyarrow-zstd.parquet");
    await batch(input, "-o", at("p.parquet"), "--shard-rows", "100", "--keep", "id,tags");
    await batch(input, "-o", at("p"), "--format", "parquet", "--shard-rows", "100", "--keep", "id,tags");
    const rows = await rowsOf(at("p.parquet"));
    expect(rows).toHaveLength(300);
    expect(rows[299]).toEqual({
      row: 299n,
      id: 2n ** 53n + 300n,
      tags: '["t0","t1"]',
      score: scoreOf("query 5 ✓", `passage é ${"x".repeat(49)} 299`),
      truncated: false,
    });
    expect(await partsOf("p")).toEqual(rows);
  });

  it("reads a collection and its run, as the hub has them", async () => {
    const mteb = join(fixtures, "mteb");
    await batch("--run", join(mteb, "top_ranked.parquet"), "--collection", mteb, "-o", at("mteb.jsonl"));
    expect(await rowsOf(at("mteb.jsonl"))).toEqual([
      {
        row: 0,
        query_id: "1",
        documents: ["a", "b"],
        scores: [scoreOf("panda", "Panda a bear"), scoreOf("panda", "a river")],
        truncated: 0,
      },
      { row: 1, query_id: "2", documents: ["b"], scores: [scoreOf("river", "a river")], truncated: 0 },
    ]);
    write("bm25.run", "1 Q0 a 1 2 x\n1 Q0 b 2 3 x\n\n2 Q0 c 1 9 x\n3 Q0 b 1 1 x\n");
    for (const rows of ["1", "2", "9"]) {
      await batch("--run", at("bm25.run"), "--collection", mteb, "--candidates", "1", "-o", at(`m${rows}.run`), "--shard-rows", rows);
      expect(
        readFileSync(at(`m${rows}.run`), "utf8")
          .split("\n")
          .map((line) => line.split(" ").slice(0, 4).join(" ")),
      ).toEqual(["1 Q0 b 1", "2 Q0 c 1", "3 Q0 b 1", ""]);
    }
    write("bm25.run", "1 Q0 a 1 2 x\n2 Q0 c 1 9 x\n1 Q0 b 1 1 x\n");
    expect(await batch("--run", at("bm25.run"), "--collection", mteb, "-o", at("m4.run"))).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/line 3 goes back to query 1; sort/),
    });
    write("bm25.run", "1 Q0 zz 1 2 x\n");
    expect(await batch("--run", at("bm25.run"), "--collection", mteb, "-o", at("m5.run"))).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/line 1 names document zz/),
    });
  });
});

describe("a batch that was begun", () => {
  it("goes on with --resume, computing what is missing only, and what was damaged", async () => {
    await batch(at("pairs.jsonl"), "-o", at("r"), "--shard-rows", "5");
    rmSync(at("r/part-00001.jsonl"));
    rmSync(at("r/_parts/part-00003.json"));
    write("r/part-00004.jsonl", "half a li");
    write("r/.part-00002.jsonl.elsewhere.1.0123456789ab.tmp", "of another machine");
    computed = 0;
    expect(await batch(at("pairs.jsonl"), "-o", at("r"), "--shard-rows", "5")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/--resume/),
    });
    expect(computed).toBe(0);
    const { stdout } = await batch(at("pairs.jsonl"), "-o", at("r"), "--shard-rows", "5", "--resume");
    expect(stdout).toMatch(/3 of 5 parts made, 2 kept; complete/);
    expect(computed).toBeLessThanOrEqual(15);
    expect(await partsOf("r")).toEqual(expectedPairs);
    expect(existsSync(at("r/.part-00002.jsonl.elsewhere.1.0123456789ab.tmp"))).toBe(true); // nobody can tell whether it is alive
  });

  it("is swept of what processes of this machine left that are gone", async () => {
    await batch(at("pairs.jsonl"), "-o", at("s"), "--shard-rows", "20");
    const { pid } = JSON.parse(execFileSync(process.execPath, ["-p", "JSON.stringify({ pid: process.pid })"], { encoding: "utf8" }));
    const host = execFileSync(process.execPath, ["-p", "require('os').hostname().replace(/[^A-Za-z0-9-]/g, '-') || 'host'"], {
      encoding: "utf8",
    }).trim();
    const left = `.part-00000.jsonl.${host}.${pid}.0123456789ab.tmp`;
    write(`s/${left}`, "x");
    await batch(at("pairs.jsonl"), "-o", at("s"), "--shard-rows", "20", "--resume");
    expect(readdirSync(at("s"))).not.toContain(left);
  });

  it("is not mixed with another: model, options, input, format", async () => {
    await batch(at("pairs.jsonl"), "-o", at("t"));
    for (const [args, what] of [
      [["-m", at("other.gguf"), at("pairs.jsonl")], /model was/],
      [[at("pairs.jsonl"), "--normalize"], /options was \{\} and is \{"normalize":true\}/],
      [[at("pairs.csv")], /input was/],
      [[at("pairs.jsonl"), "--format", "parquet"], /format was "jsonl" and is "parquet"/],
    ] as const) {
      const { code, stderr } = await batch(...args, "-o", at("t"), "--resume");
      expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(what) });
    }
    expect(await partsOf("t")).toEqual(expectedPairs);
    expect(await batch(at("pairs.jsonl"), "--normalize", "-o", at("t"), "--force")).toMatchObject({ code: 0 });
    expect((await partsOf("t"))[0]).toMatchObject({ score: 0.5 });
  });

  it("is done by an array of tasks, in any order", async () => {
    const task = (i: number, ...more: string[]) =>
      batch(at("pairs.jsonl"), "-o", at("u"), "--shard-rows", "3", "--shard", `${i}/3`, ...more);
    expect((await batch(at("pairs.jsonl"), "-o", at("u"), "--shard-rows", "3", "--plan-only")).stdout).toContain("0 of 9 parts made");
    expect((await task(2)).stdout).toContain("3 of 9 parts made; not complete yet");
    expect((await task(0)).stdout).toContain("not complete yet");
    expect(await task(0)).toMatchObject({ code: 1 });
    expect((await task(1)).stdout).toContain("complete");
    expect((await task(1, "--resume")).stdout).toMatch(/0 of 9 parts made, 3 kept; complete/);
    expect(await partsOf("u")).toEqual(expectedPairs);
  });

  it("merged to one file is done, and is said to be", async () => {
    await batch(at("pairs.jsonl"), "-o", at("v.jsonl"));
    expect(await batch(at("pairs.jsonl"), "-o", at("v.jsonl"))).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/--resume keeps them/),
    });
    computed = 0;
    expect((await batch(at("pairs.jsonl"), "-o", at("v.jsonl"), "--resume")).stdout).toContain("complete");
    expect(computed).toBe(0);
    rmSync(at("v.jsonl"));
    await batch(at("pairs.jsonl"), "-o", at("v.jsonl"), "--resume");
    expect(await rowsOf(at("v.jsonl"))).toEqual(expectedPairs);
  });
});

describe("what cannot be", () => {
  it.each([
    ["an output over its input", ["pairs.jsonl"], "pairs.jsonl", 1, /would lie over its input/],
    ["an output that is not ours", ["pairs.jsonl"], "lists.jsonl", 1, /no manifest says what made it/],
    ["a folder that holds the input", ["many/a.jsonl"], "many", 1, /would lie over its input/],
    ["an ending we do not write", ["pairs.jsonl"], "x.csv", 2, /ending in \.jsonl, \.parquet or \.run/],
    ["a shard beyond the last", ["pairs.jsonl", "--shard", "3/3"], "w", 2, /0 to n-1/],
    ["one file by an array", ["pairs.jsonl", "--shard", "0/3"], "w.jsonl", 2, /needs a folder/],
    ["a column that is not there", ["pairs.jsonl", "--query-column", "x"], "w", 1, /no column "x"; it has id, query, passage/],
    ["documents that could be either", ["either.jsonl"], "w", 1, /has passage and text; name the column/],
    ["a row without text", ["hole.jsonl"], "w", 1, /hole\.jsonl, line 2 has no string "passage"/],
    ["a column that the output has", ["scored.jsonl", "--keep", "score"], "w", 2, /`--keep` names score/],
    ["standard input", ["-"], "w", 2, /`bge-reranker score` reads standard input/],
    ["nothing", [], "w", 2, /Name the files/],
    ["a file without rows", ["empty.jsonl"], "w", 1, /has no rows/],
  ] as const)("is refused: %s", async (_, args, output, code, message) => {
    write("either.jsonl", lines([{ query: "q", passage: "a", text: "b" }]));
    write(
      "hole.jsonl",
      lines([
        { query: "q", passage: "a" },
        { query: "q", passage: null },
      ]),
    );
    write("empty.jsonl", "\n");
    write("scored.jsonl", lines([{ query: "q", passage: "a", score: 1 }]));
    const before = readFileSync(at("pairs.jsonl"), "utf8");
    const result = await batch(...args.map((arg) => (/\.jsonl$/.test(arg) ? at(arg) : arg)), "-o", at(output));
    expect(result).toMatchObject({ code, stderr: expect.stringMatching(message) });
    expect(readFileSync(at("pairs.jsonl"), "utf8")).toBe(before);
  });

  it("does not trust an input that changed since it was counted", async () => {
    write("changing.jsonl", lines(pairs));
    await batch(at("changing.jsonl"), "-o", at("x"), "--shard-rows", "10", "--shard", "0/2");
    write("changing.jsonl", lines(pairs.slice(1)));
    const { code, stderr } = await batch(at("changing.jsonl"), "-o", at("x"), "--shard-rows", "10", "--shard", "1/2");
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/input was/) });
  });
});

describe("options of a job", () => {
  it("are all that a machine is not asked about", () => {
    const options = {
      threads: 3,
      devices: "cpu",
      truncation: "longest_first",
      normalize: null,
      maxLength: 9,
      weightMode: "native",
    } as const;
    expect(scoringOf(options satisfies LoadOptions)).toEqual({ truncation: "longest_first", maxLength: 9, weightMode: "native" });
  });
});

describe("texts on disk", () => {
  it("are found again, however many", async () => {
    await using store = await TextStore.create();
    for (let i = 0; i < 20_000; i++) await store.add(`id${i}`, `text ${"é".repeat(i % 50)} ${i}`);
    expect(await store.add("id77", "again")).toBe(false);
    await store.flush();
    expect(store.size).toBe(20_000);
    for (const i of [0, 77, 4095, 19_999]) expect(await store.get(`id${i}`)).toBe(`text ${"é".repeat(i % 50)} ${i}`);
    expect(await store.get("nobody")).toBeUndefined();
  });
});

import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { expandFiles, indexTable, parquetColumns, type Row, readRows, type TableOptions } from "../../src/records/index.js";
import { memberText } from "../../src/records/json-text.js";
import { createSlowUnzstd } from "../../src/records/zstd.js";

const folder = mkdtempSync(join(tmpdir(), "bge-reranker-records-"));
afterAll(() => rmSync(folder, { recursive: true }));
const data = fileURLToPath(new URL("../data/", import.meta.url));
const parquet = (name: string) => join(data, "parquet", name);

let files = 0;
function file(name: string, content: string | Buffer): string {
  const path = join(folder, `${++files}${name}`);
  writeFileSync(path, content);
  return path;
}

async function all(path: string, options?: TableOptions, range?: Parameters<typeof readRows>[2]): Promise<Row[]> {
  return collect(readRows(path, options, range));
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}
const valuesOf = async (...args: Parameters<typeof all>) => (await all(...args)).map(({ values }) => values);

describe("JSON lines", () => {
  const text = '\ufeff{"id": 9007199254740993, "query": "a"}\r\n\r\n  {"query":"b","id":1e2}\n{"id":"c","query":"\\u00e9"}';

  it("gives values, and the text of a value as it was written", async () => {
    const rows = await all(file(".jsonl", text));
    expect(rows.map(({ number }) => number)).toEqual([1, 3, 4]);
    expect(rows.map((row) => row.json("id"))).toEqual(["9007199254740993", "1e2", '"c"']);
    expect(rows.map((row) => row.values.query)).toEqual(["a", "b", "é"]);
    expect(rows[2]?.json("query")).toBe('"\\u00e9"');
    expect(rows[0]?.json("none")).toBeUndefined();
  });

  it.each([".jsonl.gz", ".NDJSON.GZ"])("reads %s", async (ending) => {
    expect(await valuesOf(file(ending, gzipSync(text)))).toHaveLength(3);
  });

  it("reads zstd of the command line, by Node's decoder or by fzstd, in pieces of any size", async () => {
    const path = join(data, "zstd", "lines.jsonl.zst");
    const wanted = Array.from({ length: 3000 }, (_, i) => ({ row: i }));
    expect(await valuesOf(path)).toEqual(wanted);
    const packed = readFileSync(path);
    for (const size of [1, 7, 1000, packed.length]) {
      const pieces = Array.from({ length: Math.ceil(packed.length / size) }, (_, i) => packed.subarray(i * size, (i + 1) * size));
      const out = await collect<Buffer>(Readable.from(pieces).pipe(await createSlowUnzstd()));
      const lines = Buffer.concat(out).toString().trim().split("\n");
      expect(lines.map((line) => JSON.parse(line))).toEqual(wanted);
    }
  });

  it("refuses a zstd file that ends early or is none", async () => {
    const packed = readFileSync(join(data, "zstd", "lines.jsonl.zst"));
    for (const bytes of [packed.subarray(0, packed.length - 20), Buffer.from("no zstd at all, by no means")]) {
      const read = async () => collect(Readable.from([bytes]).pipe(await createSlowUnzstd()));
      await expect(read()).rejects.toThrow();
      await expect(all(file(".jsonl.zst", bytes))).rejects.toMatchObject({ code: "IO", message: expect.stringMatching(/Cannot read/) });
    }
  });

  it.each([
    ["no JSON", '{"a":1}\n{', /line 2 is not JSON/],
    ["an array", "[1]", /line 1 is not a JSON object/],
    ["bytes that are not UTF-8", Buffer.from([123, 0xff, 125, 10]), /line 1 is not UTF-8/],
    ["UTF-16", Buffer.from('{"a":1}\n', "utf16le"), /line 1 is not JSON/],
  ])("refuses %s", async (_, content, message) => {
    await expect(all(file(".jsonl", content))).rejects.toMatchObject({ code: "IO", message: expect.stringMatching(message) });
  });

  it("refuses a damaged gzip file, a folder, a missing file, and a name that says nothing", async () => {
    const cut = gzipSync(text.repeat(50)).subarray(0, 60);
    await expect(all(file(".jsonl.gz", cut))).rejects.toMatchObject({ code: "IO" });
    await expect(all(folder, { format: "jsonl" })).rejects.toMatchObject({ code: "IO", message: expect.stringMatching(/is a folder/) });
    await expect(all(join(folder, "none.jsonl"))).rejects.toMatchObject({ code: "IO" });
    await expect(all(file(".txt", text))).rejects.toMatchObject({ code: "IO", message: expect.stringMatching(/Known: \.jsonl/) });
    expect(await all(file(".txt", text), { format: "jsonl" })).toHaveLength(3);
  });

  it("stops when aborted", async () => {
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(all(file(".jsonl", text), { signal })).rejects.toThrow("enough");
  });
});

describe("the text of a member", () => {
  it.each([
    ['{"a":1,"b":[1,{"a":"]"}],"c":"x"}', "b", '[1,{"a":"]"}]'],
    ['{ "a" : "\\"" , "b" : -0.0 }', "b", "-0.0"],
    ['{"a\\u0062":true}', "ab", "true"],
    ['{"a":1,"a":2}', "a", "2"],
    ['{"x":"\\\\","a":"\\\\\\""}', "a", '"\\\\\\""'],
    ['{"x":{},"y":[],"a":null}', "a", "null"],
    ["{}", "a", undefined],
  ])("of %s", (json, name, text) => {
    JSON.parse(json);
    expect(memberText(json, name)).toBe(text);
  });

  it("is JSON.parse's value, whatever the object", () => {
    const alphabet = ['"', "\\", "{", "}", "[", "]", ",", ":", " ", "a", "é", "\n", "1"];
    let state = 7;
    const next = (n: number) => {
      state = (state * 1103515245 + 12345) % 2 ** 31;
      return Math.floor((state / 2 ** 31) * n);
    };
    const word = () => Array.from({ length: next(6) }, () => alphabet[next(alphabet.length)]).join("");
    const value = (depth: number): unknown => {
      const kind = next(depth > 0 ? 6 : 4);
      if (kind === 0) return word();
      if (kind === 1) return next(1000) / 8 - 50;
      if (kind === 2) return next(2) === 0;
      if (kind === 3) return null;
      if (kind === 4) return Array.from({ length: next(4) }, () => value(depth - 1));
      return Object.fromEntries(Array.from({ length: next(4) }, () => [word(), value(depth - 1)]));
    };
    for (let i = 0; i < 2000; i++) {
      const object = Object.fromEntries(Array.from({ length: next(5) }, () => [word(), value(3)]));
      const json = JSON.stringify(object, null, next(3));
      for (const name of Object.keys(object)) expect(JSON.parse(memberText(json, name) ?? "x")).toEqual(object[name]);
    }
  });
});

describe("CSV and TSV", () => {
  const csv = 'id,query,passage\r\n1,"a, ""b""","two\nlines"\r\n\r\n2,c,d';

  it("reads quotes, new lines within them, Windows ends and a byte order mark", async () => {
    const wanted = [
      { id: "1", query: 'a, "b"', passage: "two\nlines" },
      { id: "2", query: "c", passage: "d" },
    ];
    expect(await valuesOf(file(".csv", `\ufeff${csv}`))).toEqual(wanted);
    expect(await valuesOf(file(".csv.gz", gzipSync(csv)))).toEqual(wanted);
    const [first] = await all(file(".csv", csv));
    expect(first?.json("query")).toBe('"a, \\"b\\""');
  });

  it("reads tabs, with names given where there is no header", async () => {
    const tsv = '7\t9\twhat is "it"\ta "b" c\n8\t9\tx\ty\n';
    expect(await valuesOf(file(".tsv", tsv), { header: ["qid", "pid", "query", "passage"] })).toEqual([
      { qid: "7", pid: "9", query: 'what is "it"', passage: 'a "b" c' },
      { qid: "8", pid: "9", query: "x", passage: "y" },
    ]);
  });

  it("asks where quotes of a TSV file might be either", async () => {
    const path = file(".tsv", 'a\tb\n"x ""y"""\tz\n');
    await expect(all(path)).rejects.toMatchObject({ code: "IO", message: expect.stringMatching(/line 2 has a field in quotes/) });
    expect(await valuesOf(path, { quote: '"' })).toEqual([{ a: 'x "y"', b: "z" }]);
    expect(await valuesOf(path, { quote: "none" })).toEqual([{ a: '"x ""y"""', b: "z" }]);
  });

  it.each([
    ["a line with fields missing", "a,b\n1\n", /line 2 has 1 fields/],
    ["a column named twice", "a,a\n1,2\n", /names the column "a" twice/],
    ["an open quote", 'a,b\n"x,y\n', /is not CSV/],
    ["bytes that are not UTF-8", Buffer.from([97, 10, 0xff, 10]), /is not UTF-8/],
    ["an empty file", "", /is empty/],
  ])("refuses %s", async (_, content, message) => {
    await expect(all(file(".csv", content))).rejects.toMatchObject({ code: "IO", message: expect.stringMatching(message) });
  });
});

describe("Parquet", () => {
  it.each(["snappy", "zstd", "gzip", "brotli", "lz4", "none"])("reads what pyarrow wrote with %s", async (codec) => {
    const rows = await all(parquet(`pyarrow-${codec}.parquet`));
    expect(rows).toHaveLength(300);
    expect(rows[299]).toMatchObject({
      number: 300,
      values: { id: 2n ** 53n + 300n, query: "query 5 ✓", passage: `passage é ${"x".repeat(49)} 299`, tags: ["t0", "t1"] },
    });
    expect(rows[299]?.json("id")).toBe("9007199254741292");
    expect(rows[0]?.json("label")).toBe("null");
  });

  it("reads a range and columns, across row groups", async () => {
    for (const name of ["pyarrow-snappy.parquet", "pyarrow-zstd.parquet"]) {
      const rows = await all(parquet(name), { columns: ["query", "absent"] }, { from: { row: 126, byte: 0, line: 1 }, count: 5 });
      expect(rows.map(({ number }) => number)).toEqual([127, 128, 129, 130, 131]);
      expect(rows.map(({ values }) => values)).toEqual([126, 127, 128, 129, 130].map((i) => ({ query: `query ${i % 7} ✓` })));
    }
  });

  it("reads lists that DuckDB wrote", async () => {
    const rows = await valuesOf(parquet("duckdb-lists.parquet"));
    expect(rows.map(({ documents }) => (documents as string[]).length)).toEqual(Array.from({ length: 20 }, (_, i) => i % 4));
  });

  it("says what its columns hold", async () => {
    expect(await parquetColumns(parquet("pyarrow-none.parquet"))).toEqual([
      { name: "id", kind: "integer" },
      { name: "query", kind: "text" },
      { name: "passage", kind: "text" },
      { name: "label", kind: "other" },
      { name: "tags", kind: "other" },
    ]);
  });

  it("refuses what is none, or damaged", async () => {
    const bytes = readFileSync(parquet("pyarrow-none.parquet"));
    await expect(all(file(".parquet", "PAR1PAR1 it is not"))).rejects.toMatchObject({ code: "IO" });
    await expect(all(file(".parquet", bytes.subarray(0, 9000)))).rejects.toMatchObject({ code: "IO" });
    await expect(all(file(".parquet", ""))).rejects.toMatchObject({ code: "IO" });
  });
});

describe("an index", () => {
  const lines = Array.from({ length: 25 }, (_, i) => JSON.stringify({ i, text: "é".repeat(i) }));
  const csvLines = Array.from({ length: 25 }, (_, i) => `${i},"${"é\n".repeat(i % 3)}"`);
  it.each([
    [".jsonl", Buffer.from(`\n${lines.join("\r\n\n")}`)],
    [".jsonl.gz", gzipSync(lines.join("\n"))],
    [".csv", Buffer.from(`\ufeffi,text\n${csvLines.join("\r\n")}`)],
    [".csv.gz", gzipSync(`i,text\n${csvLines.join("\n")}`)],
  ])("of %s finds every row", async (ending, content) => {
    const path = file(ending, content);
    const index = await indexTable(path, 10);
    expect(index).toMatchObject({ rows: 25, sizeBytes: content.length, sha256: createHash("sha256").update(content).digest("hex") });
    expect(index.marks.map(({ row }) => row)).toEqual([0, 10, 20]);
    const whole = await all(path);
    for (const mark of index.marks) {
      const part = await all(path, {}, { from: mark, count: 10 });
      const wanted = whole.slice(mark.row, mark.row + 10);
      expect(part.map(({ number, values }) => ({ number, values }))).toEqual(wanted.map(({ number, values }) => ({ number, values })));
    }
  });

  it("of Parquet", async () => {
    const index = await indexTable(parquet("pyarrow-zstd.parquet"), 128);
    expect(index.rows).toBe(300);
    expect(index.marks.map(({ row }) => row)).toEqual([0, 128, 256]);
  });
});

describe("names of files", () => {
  it("may be patterns or folders", async () => {
    const root = join(folder, "globs");
    for (const name of ["a/x-1.jsonl", "a/x-2.jsonl", "a/.x-3.jsonl", "a/notes.txt", "b/c/y.parquet", "x[1].jsonl"]) {
      mkdirSync(join(root, name, ".."), { recursive: true });
      writeFileSync(join(root, name), "");
    }
    const found = async (...patterns: string[]) =>
      (await expandFiles(patterns.map((pattern) => `${root}/${pattern}`))).map((path) => path.slice(root.length + 1));
    expect(await found("a/x-*.jsonl")).toEqual(["a/x-1.jsonl", "a/x-2.jsonl"]);
    expect(await found("a/x-?.jsonl", "b/c/y.parquet")).toEqual(["a/x-1.jsonl", "a/x-2.jsonl", "b/c/y.parquet"]);
    expect(await found("a")).toEqual(["a/x-1.jsonl", "a/x-2.jsonl"]);
    expect(await found("**/*.parquet")).toEqual(["b/c/y.parquet"]);
    expect(await found("x[1].jsonl")).toEqual(["x[1].jsonl"]);
    await expect(found("a/z*")).rejects.toMatchObject({ code: "IO", message: expect.stringMatching(/No file fits/) });
    await expect(found("b")).rejects.toMatchObject({ code: "IO" });
    await expect(found("a", "a/x-1.jsonl")).rejects.toMatchObject({ message: expect.stringMatching(/named twice/) });
  });
});

import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { run } from "../../src/cli/program.js";
import { displayWidth, oneLine, shorten } from "../../src/cli/terminal.js";
import { type FakeOptions, fakeNative, MODELS, withMetadata } from "./fake-native.js";

let fake: FakeOptions = {};
const state = vi.hoisted(() => ({ requests: [] as { pairs: Int32Array; texts: readonly string[] }[] }));

vi.mock("../../src/addon/native.js", () => ({
  packageVersion: "1.2.3",
  loadNative: () => ({ readGguf: () => fake.header, cpu: () => ({ isa: "avx2", physicalCores: 2 }) }),
}));

vi.mock("../../src/addon/gpu-modules.js", () => ({
  bestOf: () => "cpu",
  ensureDevice: () => "cpu",
  loadGpuModules: () => ({
    devices: () => [{ name: "cpu", description: "A CPU\u001b[31m", kind: "cpu", memoryFreeBytes: 1024, memoryTotalBytes: 2048 }],
    cpu: () => ({ isa: "avx2", physicalCores: 2 }),
  }),
  missingDevices: () => [{ family: "cuda", reason: "not installed" }],
}));

// The machine's place is taken by the fake; all else is as it ships.
vi.mock("../../src/reranker/load.js", async (original) => {
  const load = await original<typeof import("../../src/reranker/load.js")>();
  return {
    ...load,
    openModel: (name: string, options: never, wanted: never) => {
      const native = fakeNative(fake);
      state.requests = native.requests as never;
      return load.openModel(name, options, wanted, native.environment);
    },
  };
});

const folder = mkdtempSync(join(tmpdir(), "bge-reranker-"));
const model = join(folder, "model.gguf");
writeFileSync(model, "");
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => {
  fake = {};
  vi.restoreAllMocks();
});

async function cli(...args: string[]) {
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
  const code = await run(["node", "bge-reranker", ...args]);
  vi.restoreAllMocks();
  return { code, stdout, stderr };
}

const file = (name: string, text: string) => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};

describe("usage mistakes end with 2", () => {
  it.each([
    [[]],
    [["rank"]],
    [["rerank"]],
    [["rerank", "--query", "q"]],
    [["rerank", "--query", "q", "d", "--top", "3"]],
    [["rerank", "--query", "q", "d", "--top-n", "three"]],
    [["rerank", "--query", "q", "d", "--top-n", "0", "-m", model]],
    [["rerank", "--query", "q", "d", "--overflow", "cut", "-m", model]],
    [["rerank", "--query", "q", "d", "--cutoff-layers", "8", "-m", model]],
    [["rerank", "--query", "q", "d", "--head-selection", "best"]],
    [["score"]],
    [["score", "--pairs", "x", "--resume"]],
    [["inspect"]],
    [["devices", "extra"]],
  ])("%j", async (args) => {
    const { code, stdout, stderr } = await cli(...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).not.toBe("");
  });
});

describe("bench", () => {
  it("counts what it ranked", async () => {
    const { code, stdout } = await cli("bench", "-m", model, "--documents", "5", "--tokens", "20", "--runs", "2", "--json");
    expect(code).toBe(0);
    const figures = JSON.parse(stdout);
    expect(figures).toMatchObject({ documents: 5, devices: ["cpu"] });
    expect(figures.tokens / figures.tokensPerSecond).toBeCloseTo(figures.documents / figures.documentsPerSecond);
    expect(figures.peakMemoryBytes).toBeGreaterThan(1e7);
  });

  it("prints the same for people", async () => {
    const { stdout } = await cli("bench", "-m", model, "--documents", "2", "--runs", "1");
    expect(stdout).toMatch(/^model {6}.* on cpu/);
    expect(stdout).toMatch(/ranked {5}2 documents of one query, [\d,]+ tokens \(median of 1 run\)\n/);
  });

  it("refuses to measure nothing", async () => {
    expect(await cli("bench", "-m", model, "--runs", "0")).toMatchObject({ code: 2, stderr: expect.stringContaining("--runs") });
  });
});

describe("rerank", () => {
  it("prints tab-separated lines to a pipe", async () => {
    const { code, stdout, stderr } = await cli("rerank", "-m", model, "--query", "ab", "x", "a\u001b[31mb\nc", "a");
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toBe("1\t2.0000\t#2\ta [31mb c\n2\t1.0000\t#3\ta\n3\t0.0000\t#1\tx\n");
  });

  it("prints the results of the library as JSON, your objects included", async () => {
    const documents = file("documents.jsonl", '\ufeff{"text": "x", "id": 1}\r\n\r\n{"text": "ab"}');
    const { code, stdout } = await cli("rerank", "-m", model, "--query", "ab", "-d", documents, "--json", "--top-n", "2", "--normalize");
    expect(code).toBe(0);
    expect(JSON.parse(stdout).results).toMatchObject([
      { index: 1, logit: 2, document: { text: "ab" }, truncated: false },
      { index: 0, score: 0.5, document: { text: "x", id: 1 } },
    ]);
  });

  it("keeps to the memory given", async () => {
    expect(await cli("rerank", "-m", model, "--query", "ab", "--max-memory", "lots", "a")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("maxMemory"),
    });
  });

  it("takes a file of lines, braces or not", async () => {
    const documents = file("documents.txt", "{ab}\na\n");
    const { stdout } = await cli("rerank", "-m", model, "--query", "ab", "-d", documents);
    expect(stdout).toBe("1\t2.0000\t#1\t{ab}\n2\t1.0000\t#2\ta\n");
  });

  it("ends with 1 and the reason when something fails", async () => {
    const missing = await cli("rerank", "-m", "/nowhere.gguf", "--query", "q", "d");
    expect(missing).toMatchObject({ code: 1, stdout: "", stderr: expect.stringContaining("MODEL_NOT_FOUND") });
    expect(await cli("rerank", "-m", model, "--query", "q", "-d", "/nowhere.txt")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("/nowhere.txt"),
    });
    const broken = file("broken.jsonl", '{"text": "x"}\n{"body": "x"}\n');
    expect(await cli("rerank", "-m", model, "--query", "q", "-d", broken)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("line 2"),
    });
  });

  it.each([
    ["array.json", '[\n  "ab",\n  {"text": "a", "id": 1}\n]\n'],
    ["one-line.json", '["ab", {"content": "a"}]'],
    ["content.jsonl", '{"content": "ab"}\n{"pageContent": "a"}\n'],
  ])("reads documents from %s", async (name, text) => {
    const { stdout } = await cli("rerank", "-m", model, "--query", "ab", "-d", file(name, text));
    expect(stdout).toBe("1\t2.0000\t#1\tab\n2\t1.0000\t#2\ta\n");
  });

  it("takes the field that --field names", async () => {
    const documents = file("body.jsonl", '{"text": "x", "body": "ab"}\n{"body": "a"}\n');
    const { stdout } = await cli("rerank", "-m", model, "--query", "ab", "-d", documents, "--field", "body");
    expect(stdout).toBe("1\t2.0000\t#1\tab\n2\t1.0000\t#2\ta\n");
  });

  it.each([
    ["UTF-16 with a mark", Buffer.from("\ufeffab\n", "utf16le"), /line 1 is not UTF-8/],
    ["UTF-16 without one", Buffer.from("ab\ncd\n", "utf16le"), /line 1 holds NUL characters/],
    ["a picture", Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]), /line 1 is not UTF-8/],
    [
      "JSON lines with another field",
      Buffer.from('{"text": "a"}\n{"body": "b"}\n'),
      /line 2 has no string "text"; name another field with --field/,
    ],
    ["an array that is cut", Buffer.from('[\n "a",\n'), /line 1 begins a JSON array that cannot be read/],
    ["an array with a number", Buffer.from('["a", 1]'), /element 1 of the array is neither/],
    ["one object over several lines", Buffer.from('{\n "text": "a"\n}\n'), /line 1 is not JSON/],
  ])("refuses %s", async (_, bytes, message) => {
    const path = join(folder, "documents.txt");
    writeFileSync(path, bytes);
    expect(await cli("rerank", "-m", model, "--query", "q", "-d", path)).toMatchObject({ code: 1, stderr: expect.stringMatching(message) });
  });

  it("keeps control characters and directions from the terminal, in messages of the parser too", async () => {
    const { code, stderr } = await cli("rerank", "--query", "q", "d", "--top-n", "\u009b31m\u202e\u001b[2J5");
    expect(code).toBe(2);
    for (const odd of ["\u009b", "\u001b", "\u202e"]) expect(stderr).not.toContain(odd);
    expect((await cli("score", "-m", model, "-p", "")).stderr).toContain("Expected --pairs to name something");
  });

  it("marks what was cut", async () => {
    const { stdout } = await cli("rerank", "-m", model, "--query", "q", "d".repeat(40), "--max-length", "20");
    expect(stdout).toMatch(/\t\[cut\]\n$/);
  });
});

describe("score", () => {
  const pairs = (count: number) => Array.from({ length: count }, (_, i) => `{"query": "q", "passage": "${i}", "id": "n${i}"}\n`).join("");

  it("scores a stream in windows, in order", async () => {
    fake = { logit: (_, document) => Number(document) };
    const { code, stdout } = await cli("score", "-m", model, "-p", file("many.jsonl", pairs(2500)));
    const lines = stdout.trimEnd().split("\n");
    expect(code).toBe(0);
    expect(lines).toHaveLength(2500);
    expect(lines[2400]).toBe('{"id":"n2400","score":2400}');
    expect(Math.max(...state.requests.map((request) => request.pairs.length / 2))).toBe(1024);
  });

  it("goes on after the whole lines of an interrupted run", async () => {
    fake = { logit: (_, document) => Number(document) };
    const input = file("few.jsonl", pairs(4));
    const output = join(folder, "scores.jsonl");
    const score = (...more: string[]) => cli("score", "-m", model, "-p", input, "-o", output, ...more);
    expect((await score()).code).toBe(0);
    const whole = readFileSync(output, "utf8");
    expect(whole).toBe('{"id":"n0","score":0}\n{"id":"n1","score":1}\n{"id":"n2","score":2}\n{"id":"n3","score":3}\n');
    writeFileSync(output, `${whole.split("\n").slice(0, 2).join("\n")}\n{"id":"n2","sco`);
    state.requests.length = 0;
    expect((await score("--resume")).code).toBe(0);
    expect(readFileSync(output, "utf8")).toBe(whole);
    expect(state.requests.map((request) => request.pairs.length / 2)).toEqual([2]);
    expect(await score()).toMatchObject({ code: 1, stderr: expect.stringContaining("--force replaces it") });
    expect((await score("--resume")).code).toBe(0); // nothing left to do
    expect((await score("--force")).code).toBe(0);
    expect(readFileSync(output, "utf8")).toBe(whole);
  });

  it("goes on with nothing that something else made, and leaves it as it was", async () => {
    fake = { logit: (_, document) => Number(document) };
    const input = file("few.jsonl", pairs(4));
    const output = join(folder, "theirs.jsonl");
    const resume = (...more: string[]) => cli("score", "-m", model, "-p", input, "-o", output, "--resume", ...more);
    for (const [text, message] of [
      ["my notes\nand more", "is no score of this command"],
      ['{"score":1}\n', "Nothing says which model and options made"],
    ] as const) {
      writeFileSync(output, text);
      expect(await resume()).toMatchObject({ code: 1, stderr: expect.stringContaining(message) });
      expect(readFileSync(output, "utf8")).toBe(text);
    }
    rmSync(output);
    await resume();
    const made = readFileSync(output, "utf8");
    expect(await resume("--normalize")).toMatchObject({ code: 1, stderr: expect.stringContaining("made with --normalize not given") });
    const other = file("other.jsonl", pairs(4).replaceAll('"n', '"m'));
    const swapped = await cli("score", "-m", model, "-p", other, "-o", output, "--resume");
    expect(swapped).toMatchObject({ code: 1, stderr: expect.stringContaining('has the id "m0"') });
    const fewer = await cli("score", "-m", model, "-p", file("fewer.jsonl", pairs(3)), "-o", output, "--resume");
    expect(fewer).toMatchObject({ code: 1, stderr: expect.stringContaining("holds 4 scores") });
    writeFileSync(model, "GGUF of other bytes");
    expect(await resume()).toMatchObject({ code: 1, stderr: expect.stringContaining("made with another model") });
    writeFileSync(model, "");
    expect(readFileSync(output, "utf8")).toBe(made);
  });

  it("never writes over what it reads, nor before it could be read", async () => {
    const input = file("input.jsonl", pairs(2));
    symlinkSync(input, join(folder, "link.jsonl"));
    for (const output of [input, join(folder, "link.jsonl")]) {
      const result = await cli("score", "-m", model, "-p", input, "-o", output, "--force");
      expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining("is the input") });
    }
    expect(readFileSync(input, "utf8")).toBe(pairs(2));
    const output = file("kept.jsonl", "kept");
    const result = await cli("score", "-m", model, "-p", join(folder, "absent.jsonl"), "-o", output, "--force");
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining("absent.jsonl") });
    expect(readFileSync(output, "utf8")).toBe("kept");
  });

  it.skipIf(process.platform !== "linux")("tells in one line that there is no room, and leaves nothing beside a device", async () => {
    const { code, stderr } = await cli("score", "-m", model, "-p", file("one.jsonl", pairs(1)), "-o", "/dev/full");
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^error: Cannot write \/dev\/full: ENOSPC.* \(IO\)\n$/) });
    expect(existsSync("/dev/.full.resume.json")).toBe(false);
  });

  it("gives ids back byte for byte", async () => {
    const ids = ["9007199254740993", "1.50", "null", '{"a": [1, 2.0]}', '"\\u00e9"', "-0", "1e400"];
    const lines = ids.map((id) => `{"id": ${id} , "query": "q", "passage": "1"}\n`).join("");
    fake = { logit: () => 1 };
    const { stdout } = await cli("score", "-m", model, "-p", file("ids.jsonl", lines));
    expect(stdout).toBe(ids.map((id) => `{"id":${id},"score":1}\n`).join(""));
  });

  it("gives one score for each of several layers", async () => {
    fake = { header: MODELS.layerwise, logit: (_, __, layer) => layer };
    const { stdout } = await cli("score", "-m", model, "-p", file("one.jsonl", pairs(1)), "--cutoff-layers", "8,2");
    expect(stdout).toBe('{"id":"n0","scores":[2,8]}\n');
  });

  it.each([
    ['{"query": "q"}', 'needs "query" and "passage"'],
    ["[1]", "is not a JSON object"],
    ["{", "line 1 is not JSON"],
  ])("names the line that is wrong: %s", async (line, message) => {
    const result = await cli("score", "-m", model, "-p", file("bad.jsonl", `${line}\n`));
    expect(result).toMatchObject({ code: 1, stderr: expect.stringContaining(message) });
  });
});

describe("inspect", () => {
  it("explains a reranker", async () => {
    fake = { header: withMetadata(MODELS.lightweight, { "tokenizer.ggml.tokens": ["string[]", Array.from({ length: 500 }, String)] }) };
    const { code, stdout } = await cli("inspect", model, "--tensors");
    expect(code).toBe(0);
    expect(stdout).toContain("LightWeightFlagLLMReranker");
    expect(stdout).toMatch(/cutoff layers +2 to 8\n/);
    expect(stdout).toMatch(/memory +about .+ of weights, 78.1 KiB of tokenizer, .+ to compute a pair of 512 tokens, on this CPU\n/);
    expect(stdout).toMatch(/tokenizer.ggml.tokens +string, 500 values\n/);
    expect(stdout).toMatch(/reranker.head.weight +F32 \[16, 7\]/);
  });

  it("says why a file is no reranker, with 0: the file was inspected", async () => {
    fake = {
      header: withMetadata(MODELS.encoder, {
        "general.architecture": ["string", "llama\u001b[2J"],
        big: ["u64", 2n ** 60n],
        ids: ["i32[]", Int32Array.of(1, 2)],
      }),
    };
    const { code, stdout } = await cli("inspect", model);
    expect(code).toBe(0);
    expect(stdout).toContain("Cannot be used as a reranker.");
    expect(stdout).not.toContain("\u001b");
    const { problem, metadata } = JSON.parse((await cli("inspect", model, "--json")).stdout);
    expect(problem).toContain("its architecture is");
    expect(metadata).toMatchObject({ big: { type: "u64", value: "1152921504606846976" }, ids: { value: [1, 2] } });
  });
});

describe("help and machine", () => {
  it("shows help with examples, and the version, with 0", async () => {
    for (const args of [["--help"], ["rerank", "--help"], ["score", "--help"], ["convert", "--help"], ["inspect", "--help"]]) {
      expect(await cli(...args)).toMatchObject({ code: 0, stdout: expect.stringContaining("Example"), stderr: "" });
    }
    expect((await cli("--version")).stdout).toBe("1.2.3\n");
  });

  it("suggests the command meant", async () => {
    expect((await cli("rerak")).stderr).toContain("Did you mean rerank?");
  });

  it("lists devices, and the reason for those not there", async () => {
    const { stdout } = await cli("devices");
    expect(stdout).toContain("cuda  not available: not installed");
    expect(stdout).not.toContain("\u001b");
    expect(JSON.parse((await cli("devices", "--json")).stdout)).toMatchObject({ missing: [{ family: "cuda" }] });
  });
});

describe("terminal texts", () => {
  it("measures and shortens by columns, not by characters", () => {
    expect(displayWidth("aé漢字😀")).toBe(8);
    expect(shorten("漢字漢字", 5)).toBe("漢字…");
    expect(shorten("👩‍👩‍👧 family", 4)).not.toContain("\u200d…");
    expect(shorten("short", 5)).toBe("short");
  });

  it("lets no text move the cursor", () => {
    expect(oneLine("a\u001b]0;x\u0007\r\n\tb\u202e c")).toBe("a ]0;x b c");
  });
});

import { describe, expect, it } from "vitest";
import { parseDocuments } from "../../src/server/page/static/documents.js";

const read = (text: string, form: "auto" | "lines" | "paragraphs" | "jsonl" = "auto") => parseDocuments(text, form);

describe("what is pasted", () => {
  it("is one document a line, blank ones left out", () => {
    expect(read("one\r\n\n  two  \n\n")).toEqual({ documents: ["one", "two"], form: "lines" });
    expect(read("")).toEqual({ documents: [], form: "lines" });
  });

  it("is JSONL when its first line is, with the text of the field that has one", () => {
    const lines = ['{"text":"a\\nb"}', "", '"plain"', '{"_id":"1","title":"T","contents":"c"}', '{"title":"","passage":"p"}'];
    expect(read(lines.join("\n"))).toEqual({ documents: ["a\nb", "plain", "T\nc", "p"], form: "jsonl" });
  });

  it("is text when a line only begins like JSON", () => {
    expect(read('"Quoted," she said.\nsecond').documents).toEqual(['"Quoted," she said.', "second"]);
    expect(read("[1] first\n[2] second").documents).toEqual(["[1] first", "[2] second"]);
  });

  it("is one document a paragraph when asked", () => {
    expect(read("one\ntwo\n \n\nthree\n", "paragraphs").documents).toEqual(["one\ntwo", "three"]);
  });

  it("keeps what looks like JSON as lines when asked", () => {
    expect(read('{"text":"a"}', "lines").documents).toEqual(['{"text":"a"}']);
  });

  it.each([
    ['{"text":"a"}\n{"text":', /^Line 2 is not JSON/],
    ['{"text":"a"}\n42', /^Line 2 has no text/],
    ['{"text":"a"}\n["b"]', /^Line 2 has no text/],
    ['{"text":"a"}\n{"text":7}', /^Line 2 has no text/],
    ['{"text":"a"}\nnull', /^Line 2 has no text/],
    ["{ not json", /^Line 1 is not JSON/],
  ])("names the line that is no document: %s", (text, message) => {
    expect(() => read(text)).toThrow(message);
  });
});

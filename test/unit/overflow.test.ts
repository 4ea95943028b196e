import { describe, expect, it } from "vitest";
import { chunkDocuments, type Measure } from "../../src/reranker/overflow.js";

/** A model whose tokens are words and single Chinese characters; pairs have room for `room` of them. */
function wordMeasure(room: number): Measure & { counted: number } {
  const count = (text: string) => text.match(/[\u4e00-\u9fff]|[^\s\u4e00-\u9fff]+/g)?.length ?? 0;
  const encodePair = (text: string) => ({ documentLength: Math.min(room, count(text)), cut: count(text) > room });
  const measure = {
    counted: 0,
    countTokens: (text: string) => {
      measure.counted += text.length;
      return count(text);
    },
    encodePair,
    encodeLarge: async (text: string) => encodePair(text),
  };
  return measure;
}

const settings = { maxChunks: 1_000_000, chunkOverlap: 0, signal: undefined };

/** The windows of a text by definition: sentences of the whole text, filled up one after the other. */
function wholeTextWindows(text: string, room: number, measure: Measure): [number, number][] {
  const split = (part: string, granularity: "sentence" | "word") =>
    Array.from(new Intl.Segmenter(undefined, { granularity }).segment(part), ({ segment }) => segment);
  const pieces = split(text, "sentence").flatMap((sentence) =>
    measure.countTokens(sentence) <= room ? [sentence] : split(sentence, "word"),
  );
  const windows: [number, number][] = [];
  let start = 0;
  let end = 0;
  let tokens = 0;
  for (const piece of pieces) {
    const more = measure.countTokens(piece);
    if (tokens + more > room && end > start) {
      windows.push([start, end]);
      start = end;
      tokens = 0;
    }
    end += piece.length;
    tokens += more;
  }
  return [...windows, [start, end]];
}

const english = (n: number) =>
  Array.from(
    { length: n },
    (_, i) => `The panda ${i} is a bear, "they say." It eats ${i % 7} kg of bamboo! ${i % 5 ? "Dr. No ate 3.5 kg?" : ""}`,
  ).join(" ");
const chinese = (n: number) => Array.from({ length: n }, (_, i) => `大熊猫是第${i}种熊科动物，生活在山区。它们吃竹子！你知道吗？`).join("");

describe("chunkDocuments", () => {
  it.each([
    ["English", english(1200)],
    ["Chinese", chinese(1500)],
    ["both", english(100) + chinese(300) + english(200)],
    ["surrogates at every place", "X\u{1f43c}y. ".repeat(5000)],
  ])("cuts %s, slice by slice, as the whole text at once", async (_, text) => {
    for (const room of [20, 100, 700]) {
      const measure = wordMeasure(room);
      const chunks = await chunkDocuments([text], measure, settings);
      expect(chunks.map(({ start, end }) => [start, end])).toEqual(wholeTextWindows(text, room, measure));
    }
  });

  it.each([
    ["a sentence without an end", "word ".repeat(40_000)],
    ["a word without an end", "x".repeat(100_000)],
    ["Chinese without an end", "熊".repeat(50_000)],
    ["surrogates without an end", "\u{1f43c}".repeat(30_000)],
  ])("covers %s in windows that fit and split no character", async (_, text) => {
    const measure = { ...wordMeasure(300), countTokens: (part: string) => part.length / 5 };
    const encodePair = (part: string) => ({ documentLength: 300, cut: part.length > 1500 });
    const chunks = await chunkDocuments([text], { ...measure, encodePair, encodeLarge: async (part) => encodePair(part) }, settings);
    expect(chunks[0]?.start).toBe(0);
    expect(chunks.at(-1)?.end).toBe(text.length);
    for (const [i, { start, end }] of chunks.entries()) {
      expect(end - start).toBeLessThanOrEqual(1500);
      if (i > 0) expect(start).toBe(chunks[i - 1]?.end);
      expect(text.slice(start, end)).not.toMatch(/^[\udc00-\udfff]|[\ud800-\udbff]$/);
    }
  });

  it("looks only as far as `maxChunks` needs", async () => {
    const measure = wordMeasure(50);
    const text = english(60_000); // some 4 MB
    const chunks = await chunkDocuments([text], measure, { ...settings, maxChunks: 3 });
    expect(chunks).toHaveLength(3);
    expect(chunks[0]?.unread).toBe(true);
    expect(measure.counted).toBeLessThan(20_000);
  });

  it("lets others have the thread, and hears an abort in the middle of a text", async () => {
    const stop = new AbortController();
    let turns = 0;
    const turn = () => {
      turns++;
      if (turns === 20) stop.abort();
      if (turns < 1000) setImmediate(turn);
    };
    setImmediate(turn);
    const slow = wordMeasure(50);
    const countTokens = (text: string) => {
      const until = performance.now() + 1;
      while (performance.now() < until); // a millisecond of work each
      return slow.countTokens(text);
    };
    const chunking = chunkDocuments([english(20_000)], { ...slow, countTokens }, { ...settings, signal: stop.signal });
    await expect(chunking).rejects.toThrow("abort");
    expect(turns).toBeLessThan(25);
    turns = 1000;
  });
});

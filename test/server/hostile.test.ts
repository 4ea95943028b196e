// Bodies by chance, from a fixed seed: whatever is sent, the answer is one that a client can read, and never our fault.
import { afterAll, beforeAll, expect, test } from "vitest";
import { Reranker } from "../../src/index.js";
import { BODY_FIELDS } from "../../src/server/body-fields.js";
import { createHandler, type Handler } from "../../src/server/index.js";
import { goldenGguf } from "../golden.js";
import { post } from "./rerank.js";

const rerankers: Reranker[] = [];
let handler: Handler;
beforeAll(async () => {
  for (const name of ["bert-reranker", "minicpm-layerwise-reranker", "gemma2-lightweight-reranker"]) {
    rerankers.push(await Reranker.load(await goldenGguf(name, "f32"), { devices: "cpu" }));
  }
  handler = createHandler({ models: Object.fromEntries(rerankers.map((reranker, i) => [`m${i}`, reranker])), maxDocuments: 50 });
});
afterAll(async () => {
  await handler.close();
  for (const reranker of rerankers) await reranker.dispose();
});

/** mulberry32 */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const NAMES = Object.keys(BODY_FIELDS);
const TEXTS = ["query", "documents", "texts", "input", "inputs", "text_1", "text_2", "data_1", "data_2", "queries", "items"];

function bodyOf(random: () => number): Record<string, unknown> {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const word = () =>
    pick(["", "river", "the old town", "\u0000", "\ud800", "🐼", "</s>", "word ".repeat(300), "true", "-1", "chunk", "left"]);
  const value = (depth: number): unknown =>
    pick<() => unknown>([
      () => null,
      () => random() < 0.5,
      () => pick([0, 1, -1, 2, 3.5, 1e9, 1e308, -0, 2 ** 53, 8]),
      word,
      () => (depth > 2 ? [] : Array.from({ length: Math.floor(random() * 4) }, () => value(depth + 1))),
      () => (depth > 2 ? {} : { [pick(["text", "layer", "keep", "title", "__proto__", "constructor"])]: value(depth + 1) }),
      () => [{ layer: pick([1, 2, 3, 4]), keep: pick([1, 2, 9]) }],
    ])();
  const list = () => Array.from({ length: 1 + Math.floor(random() * 5) }, word);
  const shape = pick<() => Record<string, unknown>>([
    () => ({ query: word(), documents: list() }),
    () => ({ query: word(), texts: list() }),
    () => ({ query: word(), input: list() }),
    () => ({ text_1: word(), text_2: list() }),
    () => ({ inputs: list().map((text) => [word(), text]) }),
    () => Object.fromEntries([pick(TEXTS), pick(TEXTS), pick(TEXTS)].map((name) => [name, value(0)])),
  ])();
  const more = Array.from({ length: Math.floor(random() * 4) }, () => [pick(NAMES), value(0)]);
  return { model: pick(["m0", "m1", "m2"]), ...Object.fromEntries(more), ...shape };
}

test("600 bodies", async () => {
  const random = randomFrom(16);
  const seen = new Map<number, number>();
  for (let i = 0; i < 600; i++) {
    const body = bodyOf(random);
    const { status, body: answer } = await post(handler, "/v1/rerank", body);
    const told = JSON.stringify(body);
    expect([200, 400, 404, 413], told).toContain(status);
    if (status === 200) expect(JSON.stringify(answer), told).not.toMatch(/null|NaN|Infinity/);
    else expect(typeof (answer.detail ?? answer.error), told).toBe("string");
    seen.set(status, (seen.get(status) ?? 0) + 1);
  }
  expect(seen.get(200)).toBeGreaterThan(100);
  expect(seen.get(400)).toBeGreaterThan(100);
  expect(handler.load()).toEqual({ requests: 0, tokens: 0 });
});

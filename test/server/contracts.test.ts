// What real clients were recorded to send, answered with what they were seen to accept.
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Reranker } from "../../src/index.js";
import { createHandler, type Handler } from "../../src/server/index.js";
import { post, send } from "./rerank.js";

interface Recorded {
  readonly client: string;
  readonly case: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: Record<string, unknown> | null;
}

const read = (file: string) => JSON.parse(readFileSync(new URL(`contracts/${file}`, import.meta.url), "utf8"));
const requests: Recorded[] = read("requests.json");
const accepted = read("answers.json");

const QUERY = "what is a panda?";
// The recordings say "A" and "B"; the better document stands second there too.
const TEXTS: Record<string, string> = { A: "hi", B: "The giant panda is a bear." };

let reranker: Reranker;
let handler: Handler;
let scores: number[]; // of A and B, 0 to 1
let logits: number[];

beforeAll(async () => {
  reranker = await Reranker.load("default");
  handler = createHandler({ reranker });
  const pairs = Object.values(TEXTS).map((text): [string, string] => [QUERY, text]);
  scores = await reranker.computeScore(pairs, { normalize: true });
  logits = await reranker.computeScore(pairs);
});

afterAll(async () => {
  await handler.close();
  await reranker.dispose();
});

const realText = (body: string) =>
  body
    .replace(/"A"/g, JSON.stringify(TEXTS["A"]))
    .replace(/"B"/g, JSON.stringify(TEXTS["B"]))
    .replace(/\\"A\\"/g, '\\"hi\\"')
    .replace(/\\"B\\"/g, '\\"The giant panda is a bear.\\"');

/** Every key of the sample is there, with a value of the same type. */
function expectShape(value: unknown, sample: unknown, place = "answer"): void {
  if (Array.isArray(sample)) {
    expect(Array.isArray(value), place).toBe(true);
    for (const [i, each] of (value as unknown[]).entries()) expectShape(each, sample[0], `${place}[${i}]`);
  } else if (typeof sample === "object" && sample !== null) {
    for (const [key, each] of Object.entries(sample)) expectShape((value as Record<string, unknown>)?.[key], each, `${place}.${key}`);
  } else expect(typeof value, place).toBe(typeof sample);
}

function expectNoNull(value: unknown): void {
  expect(JSON.stringify(value)).not.toContain("null");
}

describe("recorded requests", () => {
  const scoring = requests.filter(({ method }) => method === "POST");
  test.each(scoring.map((each) => [`${each.client}: ${each.case}`, each] as const))("%s", async (_, { path, headers, body }) => {
    const { status, body: answer } = await post(handler, path, realText(JSON.stringify(body)), headers);
    expect(status).toBe(200);
    expectNoNull(answer);
    const sent = body as Record<string, unknown>;
    const raw = sent["raw_scores"] === true;
    const objects = JSON.stringify(sent["documents"] ?? "").includes('\\"');
    const topN = (sent["top_n"] ?? sent["top_k"] ?? 2) as number;
    const key = "texts" in sent || "input" in sent ? "score" : "relevance_score";
    const results: Record<string, unknown>[] = Array.isArray(answer) ? answer : (answer.results ?? answer.data);
    expect(results.map(({ index }) => index)).toEqual([1, 0].slice(0, topN));
    if (!objects) {
      const right = raw ? logits : scores;
      expect(results.map((each) => each[key])).toEqual([right[1], right[0]].slice(0, topN));
    }
    if ("texts" in sent) {
      expectShape(answer, accepted.tei);
      expect(results.map(({ text }) => text)).toEqual(sent["return_text"] ? [TEXTS["B"], TEXTS["A"]] : [undefined, undefined]);
    } else if ("input" in sent) {
      expectShape(answer, accepted.mixedbread);
      expect(answer.object).toBe("list");
    } else {
      const documents = String(sent["return_documents"]) === "true";
      expectShape(answer, documents ? accepted.union_with_documents : accepted.union);
      expect(answer.object).toBe("rerank");
      expect(answer.data).toEqual(answer.results.map(({ document: _, ...each }: Record<string, unknown>) => each));
      expect(Object.keys(results[0] ?? {}).sort()).toEqual(
        documents ? ["document", "index", "relevance_score"] : ["index", "relevance_score"],
      );
    }
  });

  test("Dify asks for the first key of model_type", async () => {
    const { status, body } = await send(handler, "/info", { headers: { authorization: "Bearer KEY" } });
    expect(status).toBe(200);
    expect(Object.keys(body.model_type)[0]).toBe("reranker");
    expect(body.model_type.reranker).toEqual({ id2label: { 0: "LABEL_0" }, label2id: { LABEL_0: 0 } });
    expect(body).toMatchObject({
      max_input_length: 256,
      max_client_batch_size: 1000,
      version: expect.any(String),
      model_id: "default-reranker-en",
    });
  });
});

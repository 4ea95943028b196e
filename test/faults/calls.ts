// Calls with known answers: what the library computes in process is what the server must answer, whatever happens beside it.
import { Reranker } from "../../src/index.js";

export interface Call {
  readonly body: string;
  /** Index and score, best first. */
  readonly expected: readonly (readonly [number, number])[];
}

const subjects = ["bread", "rain", "trains", "copper", "bees", "tides", "chess", "glass", "wool", "salt"];

/** @param count - Calls, no two of them the same, each of a query and three short documents. */
export async function makeCalls(count: number): Promise<Call[]> {
  await using reranker = await Reranker.load("default");
  const calls: Call[] = [];
  for (let i = 0; i < count; i++) {
    const [a, b] = [subjects[i % subjects.length], subjects[(i * 7 + 3) % subjects.length]];
    const query = `what is known about ${a}, case ${i}?`;
    const documents = [`Number ${i} is about ${b}.`, `The ${a} of case ${i} is described in a long chapter.`, `Nothing here, ${i} times.`];
    const results = await reranker.rerank(query, documents, { normalize: true });
    calls.push({ body: JSON.stringify({ query, documents }), expected: results.map(({ index, score }) => [index, score] as const) });
  }
  return calls;
}

/** @throws {Error} An answer that is not the call's. */
export function checkAnswer(call: Call, text: string): void {
  const { results } = JSON.parse(text) as { results: { index: number; relevance_score: number }[] };
  const got = JSON.stringify(results.map(({ index, relevance_score }) => [index, relevance_score]));
  if (got !== JSON.stringify(call.expected)) throw new Error(`Wrong scores for ${call.body}: ${got}, not ${JSON.stringify(call.expected)}`);
}

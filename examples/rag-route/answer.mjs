// Retrieve, rerank, generate.
import { generateText, rerank } from "ai";
import { Bm25 } from "bge-reranker";
import { bgeRerankingModel } from "bge-reranker/ai-sdk";
import { languageModel } from "./language-model.mjs";
import { notes } from "./notes.mjs";

const index = new Bm25();
for (const { id, text } of notes) index.add(id, text);
const model = bgeRerankingModel("default");

/** @returns The answer, and the notes it was made from with their scores. */
export async function answer(question, abortSignal) {
  const found = index.search(question, 50).map(({ id }) => notes.find((note) => note.id === id));
  const { ranking } = await rerank({
    model,
    documents: found,
    query: question,
    topN: 3,
    providerOptions: { bgeReranker: { minScore: 0.2 } }, // below, a note says nothing about the question
    abortSignal,
  });
  const sources = ranking.map(({ document, score }) => ({ id: document.id, text: document.text, score }));
  const { text } = await generateText({
    model: languageModel,
    system: "Answer from the numbered notes alone, and name the number.",
    prompt: `${sources.map(({ text }, i) => `[${i + 1}] ${text}`).join("\n")}\n\nQuestion: ${question}`,
    abortSignal,
  });
  return { answer: text, sources };
}

import { createCohere } from "@ai-sdk/cohere";
import { createTogetherAI } from "@ai-sdk/togetherai";
import { createVoyage } from "@ai-sdk/voyage";
import { rerank } from "ai";

const providers = {
  cohere: ({ url, key, model }) => createCohere({ apiKey: key, baseURL: `${url}/v2` }).reranking(model),
  togetherai: ({ url, key, model }) => createTogetherAI({ apiKey: key, baseURL: `${url}/v1` }).reranking(model),
  voyage: ({ url, key, model }) => createVoyage({ apiKey: key, baseURL: `${url}/v1` }).reranking(model),
};

export const clients = Object.entries(providers).map(([name, provider]) => ({
  name: `ai, @ai-sdk/${name}`,
  retries: true,
  async rank({ query, documents, topN, ...server }) {
    const { ranking } = await rerank({ model: provider(server), query, documents, topN });
    for (const { originalIndex, document } of ranking)
      if (document !== documents[originalIndex]) throw new Error(`Another document at ${originalIndex}`);
    return ranking.map(({ originalIndex, score }) => ({ index: originalIndex, score }));
  },
}));

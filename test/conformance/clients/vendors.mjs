import Mixedbread from "@mixedbread/sdk";
import OpenAI from "openai";
import Together from "together-ai";
import { VoyageAIClient } from "voyageai";

export const clients = [
  {
    name: "voyageai",
    retries: true,
    async rank({ url, key, model, query, documents, topN }) {
      const voyage = new VoyageAIClient({ apiKey: key, environment: `${url}/v1` });
      const { data } = await voyage.rerank({ model, query, documents, topK: topN });
      return data.map(({ index, relevanceScore }) => ({ index, score: relevanceScore }));
    },
  },
  {
    name: "together-ai",
    retries: true,
    async rank({ url, key, model, query, documents, topN }) {
      const together = new Together({ apiKey: key, baseURL: `${url}/v1` });
      const { results } = await together.rerank.create({ model, query, documents, top_n: topN });
      return results.map(({ index, relevance_score }) => ({ index, score: relevance_score }));
    },
  },
  {
    name: "openai, post",
    retries: true,
    async rank({ url, key, model, query, documents, topN }) {
      const openai = new OpenAI({ apiKey: key, baseURL: `${url}/v1` });
      const { results } = await openai.post("/rerank", { body: { model, query, documents, top_n: topN } });
      return results.map(({ index, relevance_score }) => ({ index, score: relevance_score }));
    },
  },
  {
    name: "@mixedbread/sdk",
    retries: true,
    async rank({ url, key, model, query, documents, topN }) {
      const mixedbread = new Mixedbread({ apiKey: key, baseURL: url });
      const { data } = await mixedbread.rerank({ model, query, input: documents, top_k: topN, return_input: true });
      for (const { index, input } of data) if (input !== documents[index]) throw new Error(`Another document at ${index}`);
      return data.map(({ index, score }) => ({ index, score }));
    },
  },
];

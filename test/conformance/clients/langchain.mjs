import { CohereRerank } from "@langchain/cohere";
import { Document } from "@langchain/core/documents";
import { MixedbreadAIReranker } from "@langchain/mixedbread-ai";
import { CohereClient } from "cohere-ai";

const asDocuments = (documents) => documents.map((pageContent, index) => new Document({ pageContent, metadata: { index } }));
const ranking = (documents) => documents.map(({ metadata }) => ({ index: metadata.index, score: metadata.relevanceScore }));

export const clients = [
  {
    name: "@langchain/cohere, compressDocuments",
    retries: true,
    async rank({ url, key, model, query, documents, topN }) {
      const client = new CohereClient({ token: key, environment: url });
      const reranker = new CohereRerank({ client, model, topN: topN ?? documents.length });
      return ranking(await reranker.compressDocuments(asDocuments(documents), query));
    },
  },
  {
    name: "@langchain/mixedbread-ai, compressDocuments",
    retries: true,
    // It gives the texts back in order, without scores.
    withoutScores: true,
    async rank({ url, key, model, query, documents, topN }) {
      const reranker = new MixedbreadAIReranker({ apiKey: key, baseUrl: url, model, topK: topN });
      const found = await reranker.compressDocuments(asDocuments(documents), query);
      return found.map(({ pageContent }) => ({ index: documents.indexOf(pageContent) }));
    },
  },
];

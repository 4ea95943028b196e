import { CohereClient, CohereClientV2 } from "cohere-ai";

const ranking = ({ results }) => results.map(({ index, relevanceScore }) => ({ index, score: relevanceScore }));

export const clients = [
  {
    name: "cohere-ai, v1",
    retries: true,
    async rank({ url, key, model, query, documents, topN }) {
      const cohere = new CohereClient({ token: key, environment: url });
      const answer = await cohere.rerank({ model, query, documents, topN, returnDocuments: true });
      for (const { index, document } of answer.results)
        if (document.text !== documents[index]) throw new Error(`Another document at ${index}`);
      return ranking(answer);
    },
  },
  {
    name: "cohere-ai, v1, documents with rank fields",
    retries: true,
    async rank({ url, key, model, query, documents, topN }) {
      const cohere = new CohereClient({ token: key, environment: url });
      const fields = documents.map((text, i) => ({ id: String(i), body: text }));
      return ranking(await cohere.rerank({ model, query, documents: fields, rankFields: ["body"], topN }));
    },
  },
  {
    name: "cohere-ai, v2",
    retries: true,
    async rank({ url, key, model, query, documents, topN }) {
      const cohere = new CohereClientV2({ token: key, environment: url });
      return ranking(await cohere.rerank({ model, query, documents, topN, maxTokensPerDoc: 4096 }));
    },
  },
];

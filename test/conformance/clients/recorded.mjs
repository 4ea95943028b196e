// Clients whose packages weigh hundreds of megabytes, by the requests that they were recorded to send.

async function post(url, headers, body) {
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  if (!response.ok) throw Object.assign(new Error(await response.text()), { status: response.status });
  return response.json();
}

export const clients = [
  {
    // @librechat/agents 3.9.2, createReranker({ rerankerType: "jina" }). It names Jina's model whatever is set.
    name: "LibreChat, as recorded",
    retries: false,
    async rank({ url, key, query, documents, topN }) {
      const body = {
        model: "jina-reranker-v2-base-multilingual",
        query,
        top_n: topN ?? documents.length,
        documents,
        return_documents: true,
      };
      const headers = {
        accept: "application/json, text/plain, */*",
        "content-type": "application/json",
        authorization: `Bearer ${key}`,
        "user-agent": "axios/1.21.1",
      };
      const { results } = await post(`${url}/v1/rerank`, headers, body);
      return results.map(({ index, relevance_score, document }) => {
        const text = typeof document === "object" && document !== null ? document.text : document;
        if (text !== documents[index]) throw new Error(`Another document at ${index}`);
        return { index, score: relevance_score };
      });
    },
  },
  {
    // @continuedev/openai-adapters 1.37.0, JinaApi.rerank: a key in two headers, scores read from `results`.
    name: "Continue, as recorded",
    retries: false,
    withoutTopN: true,
    async rank({ url, key, model, query, documents }) {
      const headers = { accept: "application/json", "content-type": "application/json", "x-api-key": key, authorization: `Bearer ${key}` };
      const { results } = await post(`${url}/v1/rerank`, { ...headers, "user-agent": "node-fetch" }, { model, query, documents });
      return results.map(({ index, relevance_score }) => ({ index, score: relevance_score }));
    },
  },
];

"""The Python clients against a running server: `python clients.py http://127.0.0.1:8787`. No test needs it.

Each must rank as `POST /v1/rerank` does, score for score. A client that is not installed is named and left out.
"""

import json
import sys
import urllib.request

QUERY = "how do I keep bread fresh?"
DOCUMENTS = [
    "The city council moved the weekly market behind the station.",
    "Store a loaf in a paper bag or a bread box; the fridge makes it go stale faster.",
    "Sourdough starter is a culture of wild yeast and lactic acid bacteria.",
    "Bread goes stale because its starch crystallises again as it cools.",
]


def reference(url, key):
    request = urllib.request.Request(
        f"{url}/v1/rerank",
        json.dumps({"query": QUERY, "documents": DOCUMENTS}).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {key}"},
    )
    with urllib.request.urlopen(request) as answer:
        return [(r["index"], r["relevance_score"]) for r in json.load(answer)["results"]]


def cohere_v1(url, key):
    import cohere

    answer = cohere.Client(key, base_url=url).rerank(model="default", query=QUERY, documents=DOCUMENTS)
    return [(r.index, r.relevance_score) for r in answer.results]


def cohere_v2(url, key):
    import cohere

    answer = cohere.ClientV2(key, base_url=url).rerank(model="default", query=QUERY, documents=DOCUMENTS)
    return [(r.index, r.relevance_score) for r in answer.results]


def voyage(url, key):
    import voyageai

    answer = voyageai.Client(api_key=key, base_url=f"{url}/v1").rerank(QUERY, DOCUMENTS, model="default")
    return [(r.index, r.relevance_score) for r in answer.results]


def litellm_as(model, base):
    def call(url, key):
        import litellm

        answer = litellm.rerank(model=model, query=QUERY, documents=DOCUMENTS, api_base=url + base, api_key=key)
        return [(r["index"], r["relevance_score"]) for r in answer.results]

    return call


def infinity(url, key):
    from infinity_client import AuthenticatedClient
    from infinity_client.api.default import rerank
    from infinity_client.models import RerankInput

    client = AuthenticatedClient(base_url=url, token=key)
    answer = rerank.sync(client=client, body=RerankInput(query=QUERY, documents=DOCUMENTS, model="default"))
    return [(r.index, r.relevance_score) for r in answer.results]


def langchain(url, key):
    from langchain_cohere import CohereRerank
    from langchain_core.documents import Document

    reranker = CohereRerank(cohere_api_key=key, base_url=url, model="default", top_n=len(DOCUMENTS))
    found = reranker.compress_documents([Document(page_content=d) for d in DOCUMENTS], QUERY)
    return [(DOCUMENTS.index(d.page_content), d.metadata["relevance_score"]) for d in found]


def llama_index(url, key):
    from llama_index.core.schema import NodeWithScore, TextNode
    from llama_index.postprocessor.cohere_rerank import CohereRerank

    reranker = CohereRerank(api_key=key, base_url=url, model="default", top_n=len(DOCUMENTS))
    found = reranker.postprocess_nodes([NodeWithScore(node=TextNode(text=d)) for d in DOCUMENTS], query_str=QUERY)
    return [(DOCUMENTS.index(n.node.text), n.score) for n in found]


def haystack(url, key):
    from haystack import Document
    from haystack.utils import Secret
    from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker

    ranker = HuggingFaceTEIRanker(url=url, top_k=len(DOCUMENTS), token=Secret.from_token(key))
    found = ranker.run(query=QUERY, documents=[Document(content=d) for d in DOCUMENTS])["documents"]
    return [(DOCUMENTS.index(d.content), d.score) for d in found]


def mixedbread(url, key):
    from mixedbread import Mixedbread

    answer = Mixedbread(api_key=key, base_url=url).rerank(model="default", query=QUERY, input=DOCUMENTS)
    return [(r.index, r.score) for r in answer.data]


CLIENTS = {
    "cohere Client": cohere_v1,
    "cohere ClientV2": cohere_v2,
    "voyageai": voyage,
    "litellm hosted_vllm/": litellm_as("hosted_vllm/default", "/v1"),
    "litellm cohere/": litellm_as("cohere/default", ""),
    "litellm jina_ai/": litellm_as("jina_ai/default", ""),
    # Not litellm infinity/: it alone wants documents as bare strings, which breaks all others.
    "infinity_client": infinity,
    "langchain_cohere CohereRerank": langchain,
    "llama_index CohereRerank": llama_index,
    "haystack HuggingFaceTEIRanker": haystack,
    "mixedbread": mixedbread,
}


def main():
    url = sys.argv[1].rstrip("/") if len(sys.argv) > 1 else "http://127.0.0.1:8787"
    key = sys.argv[2] if len(sys.argv) > 2 else "KEY"
    expected = reference(url, key)
    failed = 0
    for name, client in CLIENTS.items():
        try:
            got = client(url, key)
            same = [i for i, _ in got] == [i for i, _ in expected] and all(
                abs(a - b) < 1e-9 for (_, a), (_, b) in zip(got, expected)
            )
            print(f"{'ok    ' if same else 'WRONG '} {name}" + ("" if same else f": {got}"))
            failed += not same
        except ImportError as error:
            print(f"absent {name}: {error}")
        except Exception as error:  # noqa: BLE001: one client's fault is not the next one's
            print(f"FAILED {name}: {type(error).__name__}: {str(error)[:300]}")
            failed += 1
    sys.exit(1 if failed else 0)


main()

"""Reranks the BM25 top 50 of retrieval sets and prints nDCG@10 (gain 2^grade - 1) and MRR@10 beside BM25's own.

A quick look with torch while training; the project's `eval` command gives the figures of the shipped file.
"""

import argparse
import gzip
import json
import math
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import BertForSequenceClassification


def read(path):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def ndcg(ranking, grades):
    gain = lambda found: sum((2**g - 1) / math.log2(i + 2) for i, g in enumerate(found[:10]))
    best = gain(sorted(grades.values(), reverse=True))
    return gain([grades.get(d, 0) for d in ranking]) / best if best else 0.0


def mrr(ranking, grades):
    return next((1 / (i + 1) for i, d in enumerate(ranking[:10]) if grades.get(d, 0) > 0), 0.0)


@torch.inference_mode()
def scores(model, tokenizer, pairs, batch_tokens=4096):
    """Longest first, so that a batch holds pairs of like length."""
    encodings = tokenizer.encode_batch(pairs)
    order = sorted(range(len(pairs)), key=lambda i: -len(encodings[i]))
    out = torch.zeros(len(pairs))
    while order:
        longest = len(encodings[order[0]])
        batch, order = order[: max(1, batch_tokens // longest)], order[max(1, batch_tokens // longest) :]
        ids, types, mask = (torch.zeros(len(batch), longest, dtype=torch.long) for _ in range(3))
        for row, i in enumerate(batch):
            n = len(encodings[i])
            ids[row, :n] = torch.tensor(encodings[i].ids)
            types[row, :n] = torch.tensor(encodings[i].type_ids)
            mask[row, :n] = 1
        out[batch] = model(input_ids=ids, token_type_ids=types, attention_mask=mask).logits[:, 0]
    return out.tolist()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--limit", type=int, help="queries of a set, evenly spread; all without")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("sets", type=Path, nargs="+")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(args.max_length, strategy="only_second")
    model = BertForSequenceClassification.from_pretrained(args.model).eval()

    print("set | queries | BM25 nDCG@10 | model nDCG@10 | BM25 MRR@10 | model MRR@10")
    for folder in args.sets:
        corpus = {row["id"]: row["text"] for row in read(folder / "corpus.jsonl.gz")}
        queries = read(folder / "queries.jsonl.gz")
        candidates = {row["query"]: row["docs"] for row in read(folder / "bm25-top50.jsonl.gz")}
        grades = {}
        for line in (folder / "qrels.tsv").read_text().splitlines():
            query, document, grade = line.split()
            grades.setdefault(query, {})[document] = int(grade)
        if args.limit and args.limit < len(queries):
            queries = [queries[i * len(queries) // args.limit] for i in range(args.limit)]
        sums = [0.0] * 4
        for query in queries:
            before, relevant = candidates[query["id"]], grades.get(query["id"], {})
            found = scores(model, tokenizer, [(query["text"], corpus[d]) for d in before])
            after = [d for _, d in sorted(zip(found, before), key=lambda pair: -pair[0])]
            figures = ndcg(before, relevant), ndcg(after, relevant), mrr(before, relevant), mrr(after, relevant)
            sums = [s + f for s, f in zip(sums, figures)]
        print(folder.name, len(queries), *(f"{s / len(queries):.4f}" for s in sums), sep=" | ", flush=True)


if __name__ == "__main__":
    main()

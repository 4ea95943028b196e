"""One reranker in PyTorch: reads lists of token ids, a JSON line a call, and writes their logits.

Batches as FlagEmbedding's BaseReranker.compute_score_single_gpu makes them: longest first, 128 pairs, padded to the longest.
"""
import json
import resource
import sys
import time

import torch
from transformers import AutoModelForSequenceClassification

BATCH_SIZE = 128


def answer(**fields):
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({**fields, "cpuMs": 1000 * time.process_time(), "peakRssBytes": 1024 * usage.ru_maxrss}), flush=True)


def main():
    checkpoint, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    answer(facts={"torch": torch.__version__})
    for line in sys.stdin:
        pairs = json.loads(line)
        order = sorted(range(len(pairs)), key=lambda i: -len(pairs[i]))
        logits = [0.0] * len(pairs)
        with torch.no_grad():
            for at in range(0, len(order), BATCH_SIZE):
                rows = order[at : at + BATCH_SIZE]
                longest = len(pairs[rows[0]])
                ids = torch.tensor([pairs[i] + [1] * (longest - len(pairs[i])) for i in rows])
                scores = model(input_ids=ids, attention_mask=(ids != 1).long()).logits.view(-1).float().tolist()
                for i, score in zip(rows, scores):
                    logits[i] = score
        answer(logits=logits)


main()

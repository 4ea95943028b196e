"""FlagEmbedding itself: reads pairs of texts, a JSON line a call, and writes compute_score's answer and the time it took."""
import importlib.metadata
import json
import sys
import time

import torch
from FlagEmbedding import FlagLLMReranker, FlagReranker


def answer(**fields):
    print(json.dumps(fields), file=out, flush=True)


out, sys.stdout = sys.stdout, sys.stderr  # what it prints is no answer
checkpoint, kind, threads, device, dtype, batch_size = sys.argv[1:]
torch.set_num_threads(int(threads))
reranker = {"encoder": FlagReranker, "decoder": FlagLLMReranker}[kind](
    checkpoint, use_fp16=dtype == "float16", devices=[device], batch_size=int(batch_size)
)
version = importlib.metadata.version
answer(facts={name: version(name) for name in ("FlagEmbedding", "torch", "transformers")})
for line in sys.stdin:
    pairs = json.loads(line)
    start = time.perf_counter()
    scores = reranker.compute_score(pairs)
    answer(logits=[float(score) for score in scores], ms=1000 * (time.perf_counter() - start))

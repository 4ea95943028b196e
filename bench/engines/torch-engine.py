"""One reranker in PyTorch: reads lists of token ids, a JSON line a call, and writes their logits.

Batches as FlagEmbedding's compute_score_single_gpu makes them: longest first, padded to the longest. A language model is read at its
last token, and computes the logits of that one alone, where FlagEmbedding computes those of all.
"""
import json
import sys
import time

import torch
import transformers

try:
    import resource
except ImportError:  # Windows
    resource = None


def answer(**fields):
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss if resource else 0
    print(json.dumps({**fields, "cpuMs": 1000 * time.process_time(), "peakRssBytes": peak}), flush=True)


def main():
    checkpoint, threads, device, dtype, batch_size, yes = sys.argv[1:]
    torch.set_num_threads(int(threads))
    batch_size, yes = int(batch_size), int(yes)
    of_language = yes >= 0
    auto = transformers.AutoModelForCausalLM if of_language else transformers.AutoModelForSequenceClassification
    model = auto.from_pretrained(checkpoint).to(device=device, dtype=getattr(torch, dtype)).eval()
    pad = model.config.pad_token_id
    answer(facts={"torch": torch.__version__, "transformers": transformers.__version__})
    for line in sys.stdin:
        pairs = json.loads(line)
        start = time.perf_counter()
        order = sorted(range(len(pairs)), key=lambda i: -len(pairs[i]))
        logits = [0.0] * len(pairs)
        with torch.no_grad():
            for at in range(0, len(order), batch_size):
                rows = order[at : at + batch_size]
                longest = len(pairs[rows[0]])
                ids, mask = [], []
                for i in rows:
                    missing = longest - len(pairs[i])
                    # The last token of a language model stands at the end for all.
                    ids.append([pad] * missing + pairs[i] if of_language else pairs[i] + [pad] * missing)
                    mask.append([0] * missing + [1] * len(pairs[i]) if of_language else [1] * len(pairs[i]) + [0] * missing)
                inputs = {"input_ids": torch.tensor(ids, device=device), "attention_mask": torch.tensor(mask, device=device)}
                if of_language:
                    scores = model(**inputs, logits_to_keep=1).logits[:, -1, yes]
                else:
                    scores = model(**inputs).logits.view(-1)
                for i, score in zip(rows, scores.float().tolist()):
                    logits[i] = score
        answer(logits=logits, ms=1000 * (time.perf_counter() - start))


main()

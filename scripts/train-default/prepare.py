"""Builds the training set: passages, queries with BM25 candidates, and the teacher's token vectors.

The teacher is the bi-encoder itself, read as a late-interaction model: the mean over the query's tokens of the
best cosine among the passage's tokens. Only the train parts of MedQuAD and Debian are read.
"""

import argparse
import gzip
import json
import random
import re
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import BertModel

from bm25 import BM25

CANDIDATES = 50
STOP_WORDS = set(
    "a an and are as at be by can could do does for from has have how if in is it its may of on or our that the their "
    "there these they this those to was were what when where which who will with you your".split()
)
ASKING = ["what", "which", "who", "how many", "how", "when", "where", "why does"]


def read(path):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def medquad_rows(folder, rng):
    """All questions of a page stay together: they are each other's hardest negatives."""
    pages = {}
    for row in read(folder / "medquad" / "train.jsonl.gz"):
        pages.setdefault(row["src"], []).append((row["q"], row["p"]))
    order = sorted(pages)
    rng.shuffle(order)
    return [row for page in order for row in pages[page]]


def debian_rows(folder, rng):
    rows = [(row["q"], row["p"]) for row in read(folder / "debian-descriptions" / "train.en.jsonl.gz")]
    rng.shuffle(rows)
    return rows


def distinct(rows, count, seen):
    """The first `count` rows whose passage does not start like an earlier one."""
    out = []
    for query, passage in rows:
        key = passage[:80].lower()
        if key not in seen and len(passage) > 60:
            seen.add(key)
            out.append((query, passage))
        if len(out) == count:
            break
    return out


def inflect(word, rng):
    """A crude change of ending, so that a match does not need the very same word."""
    for ending, others in (("ies", ["y"]), ("ing", ["", "ed"]), ("ed", ["", "ing"]), ("s", [""])):
        if word.endswith(ending) and len(word) > len(ending) + 3:
            return word[: -len(ending)] + rng.choice(others)
    return word + "s" if len(word) > 3 else word


def made_up_query(passage, rng):
    """A query cut from one sentence of the passage, and the passage, at times without that sentence."""
    sentences = [s for s in re.split(r"(?<=[.!?;:])\s+|\s+[-*]\s+", passage) if len(s.split()) >= 5]
    if not sentences:
        return None
    sentence = rng.choice(sentences)
    tokens = re.findall(r"[\w'/-]+", sentence.lower() if rng.random() < 0.7 else sentence)[:40]
    content = [w for w in tokens if w.lower() not in STOP_WORDS]
    if len(content) < 3:
        return None
    kind = rng.random()
    if kind < 0.25:  # keywords
        picked = rng.sample(content, min(len(content), rng.randint(2, 5)))
        query = " ".join(inflect(w, rng) if rng.random() < 0.3 else w for w in picked)
    elif kind < 0.8:  # a question: a span becomes the question word, some words go
        start = rng.randrange(len(tokens))
        kept = tokens[:start] + tokens[start + rng.randint(1, 4) :]
        kept = [w for w in kept if rng.random() > 0.25][: rng.randint(6, 14)]
        kept = [inflect(w, rng) if rng.random() < 0.2 else w for w in kept]
        query = f"{rng.choice(ASKING)} {' '.join(kept)}?"
    else:  # the sentence itself, often taken out of the passage
        query = " ".join(sentence.split()[:30])
        rest = passage.replace(sentence, " ")
        if rng.random() < 0.6 and len(rest) > 200:
            passage = rest
    return query, passage


def span_query(passage, rng):
    """Some 8 to 28 words in a row, a few of them missing: a long query, as of one who describes what to find."""
    words = passage.lower().split()
    length = rng.randint(8, 28)
    start = rng.randrange(max(1, len(words) - length))
    kept = [w for w in words[start : start + length] if rng.random() > 0.15]
    return " ".join(kept) if len(kept) >= 5 else None


def build(rows, cut, rng):
    """Passages cut to varied lengths, the given and the made-up queries, and their BM25 candidates."""
    passages, queries = [], []
    for i, (query, passage) in enumerate(rows):
        passage = cut(passage)
        queries.append((query, i, "given"))
        made_up = made_up_query(passage, rng)
        if made_up:
            queries.append((made_up[0], i, "made-up"))
            passage = made_up[1]
        span = span_query(passage, rng) if rng.random() < 0.6 else None
        if span:
            queries.append((span, i, "span"))
        passages.append(passage)
    index = BM25(passages)
    asked = {}
    for query, i, _ in queries:
        asked.setdefault(query.lower(), set()).add(i)
    candidates = [[d for d in index.top(q, CANDIDATES) if d not in asked[q.lower()]] for q, _, _ in queries]
    return passages, queries, candidates


@torch.inference_mode()
def token_vectors(model, encodings):
    """Unit vectors of the text's own tokens, without [CLS] and [SEP]."""
    order = sorted(range(len(encodings)), key=lambda i: len(encodings[i]))
    out = [None] * len(encodings)
    for start in range(0, len(order), 32):
        batch = order[start : start + 32]
        ids = torch.zeros(len(batch), max(len(encodings[i]) for i in batch), dtype=torch.long)
        for row, i in enumerate(batch):
            ids[row, : len(encodings[i])] = torch.tensor(encodings[i])
        hidden = model(ids, attention_mask=(ids != 0).long()).last_hidden_state
        hidden = torch.nn.functional.normalize(hidden, dim=-1).half()
        for row, i in enumerate(batch):
            out[i] = hidden[row, 1 : len(encodings[i]) - 1].clone()
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder with medquad/ and debian-descriptions/")
    parser.add_argument("--model", type=Path, required=True, help="all-MiniLM-L6-v2 in Hugging Face format")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--medquad", type=int, default=4500, help="passages to train on")
    parser.add_argument("--debian", type=int, default=5500)
    parser.add_argument("--dev", type=int, default=400, help="passages of each source to choose by")
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()

    torch.set_num_threads(2)
    rng = random.Random(args.seed)
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    model = BertModel.from_pretrained(args.model, add_pooling_layer=False).eval()

    def cut(text):
        length = rng.choices([64, 96, 128, 160, 240], [3, 4, 4, 3, 2])[0]
        spans = tokenizer.encode(text, add_special_tokens=False).offsets
        return text if len(spans) <= length else text[: spans[length - 1][1]]

    seen = set()
    medquad, debian = medquad_rows(args.data, rng), debian_rows(args.data, rng)
    parts = {
        "dev": distinct(medquad[::-1], args.dev, seen) + distinct(debian[::-1], args.dev, seen),
        "train": distinct(medquad, args.medquad, seen) + distinct(debian, args.debian, seen),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        passages, queries, candidates = build(rows, cut, rng)
        passage_ids = [e.ids for e in tokenizer.encode_batch(passages)]
        query_ids = [e.ids[:63] + e.ids[-1:] if len(e.ids) > 64 else e.ids for e in tokenizer.encode_batch([q for q, _, _ in queries])]
        print(part, len(passages), "passages", len(queries), "queries", sum(map(len, passage_ids)), "tokens", flush=True)
        for query, i, kind in rng.sample(queries, 12):
            print(f"  {kind}: {query} -> {passages[i][:80]}", flush=True)
        torch.save(
            {
                "n_medquad": args.dev if part == "dev" else args.medquad,
                "passages": passage_ids,
                "queries": query_ids,
                "positives": [i for _, i, _ in queries],
                "kinds": [kind for _, _, kind in queries],
                "candidates": candidates,
                "passage_vectors": token_vectors(model, passage_ids),
                "query_vectors": token_vectors(model, query_ids),
            },
            args.out / f"{part}.pt",
        )


if __name__ == "__main__":
    main()

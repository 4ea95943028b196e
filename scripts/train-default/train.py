"""Trains the cross-encoder for a given time and saves it in Hugging Face format.

One step reads a few groups: a query with its positive and negatives. Three losses:

- ranking: softmax over the group, against a half-and-half mix of the label, where there is one, and the teacher's scores;
- token: after the match layer, each query token tells how well the teacher finds it in the passage;
- calibration: a light sigmoid loss on the label, so that 0.5 means something.
"""

import argparse
import random
import shutil
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import BertForSequenceClassification

from pairs import Pairs
from start import KEPT_LAYERS, least_squares, start_model

GROUP, CHUNK = 6, 4  # pairs of a query, pairs padded together
MAX_LENGTH = 256  # tokens of a pair that the finished model reads unless told otherwise: what it and its base practised
LOGGED = ("ranking", "token", "calibration", "first-right")
SHARES = {"medquad": 0.25, "debian": 0.2, "made-up": 0.3, "span": 0.25}


def forward(model, data, pairs, bf16=False):
    """Logits [pairs], and for each pair the match layer's states of the query's own tokens."""
    logits, states = torch.zeros(len(pairs)), [None] * len(pairs)
    parts, order, n_tokens = [], [], 0
    for places, batch in data.batches(pairs, CHUNK):
        n_tokens += int(batch["attention_mask"].sum())
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out = model(**batch, output_hidden_states=True)
        parts.append(out.logits[:, 0].float())
        order += places
        for row, i in enumerate(places):
            states[i] = out.hidden_states[KEPT_LAYERS + 1][row, 1 : len(data.queries[pairs[i][0]]) - 1].float()
    logits = torch.cat(parts)[torch.argsort(torch.tensor(order))]
    return logits, states, n_tokens


@torch.inference_mode()
def dev_figures(model, data, rng, per_kind=20, depth=12):
    """Mean reciprocal rank of the positive among `depth` candidates, by kind of query."""
    figures = {}
    for kind in SHARES:
        ranks = []
        for query in rng.sample(kinds(data)[kind], per_kind):
            pairs = [(query, p) for p in [data.positives[query]] + data.candidates[query][: depth - 1]]
            scores = torch.zeros(len(pairs))
            for places, batch in data.batches(pairs, CHUNK):
                scores[places] = model(**batch).logits[:, 0]
            ranks.append(1 / (1 + int((scores[1:] >= scores[0]).sum())))
        figures[kind] = round(sum(ranks) / len(ranks), 4)
    return figures


def kinds(data):
    """Query numbers by kind; MedQuAD's passages come first."""
    out = {kind: [] for kind in SHARES}
    for query, kind in enumerate(data.kinds):
        source = "medquad" if data.positives[query] < data.n_medquad else "debian"
        out[source if kind == "given" else kind].append(query)
    return out


@torch.no_grad()
def resume(checkpoint, data, pairs):
    """A saved model; what reads its match layer is not saved and is fitted anew."""
    model = BertForSequenceClassification.from_pretrained(checkpoint).eval()
    _, states, _ = forward(model, data, pairs)
    found = [data.teacher(*pair) for pair in pairs]
    token_head = torch.nn.Linear(model.config.hidden_size, 1)
    token_head.weight[0], token_head.bias[0] = least_squares(torch.cat(states), torch.cat(found), ridge=1e-2)
    return model, token_head, torch.stack([f.mean() for f in found]).std()


def save(model, source, out):
    temporary = out.with_name(out.name + ".new")
    model.config.reranker_max_length = MAX_LENGTH
    model.save_pretrained(temporary)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(source / name, temporary / name)
    if out.exists():
        shutil.rmtree(out)
    temporary.rename(out)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--prepared", type=Path, required=True, help="what prepare.py wrote")
    parser.add_argument("--model", type=Path, required=True, help="all-MiniLM-L6-v2 in Hugging Face format")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", type=Path, help="a checkpoint to go on from")
    parser.add_argument("--minutes", type=float, default=70)
    parser.add_argument("--lr", type=float, default=6e-5, help="peak, for MiniLM's layers")
    parser.add_argument("--lr-new", type=float, default=2e-4, help="peak, for the added layers and the head")
    parser.add_argument("--frozen", type=int, default=2, help="layers kept as they are, with the embeddings")
    parser.add_argument("--groups", type=int, default=2, help="queries of a step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true", help="products in bfloat16: several times as fast on chips that have it")
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    train, dev = Pairs(args.prepared / "train.pt"), Pairs(args.prepared / "dev.pt")
    by_kind = kinds(train)

    sample = [pair for q in rng.sample(range(len(train.queries)), 60) for pair in train.group(q, GROUP, rng)[0]]
    if args.resume:
        model, token_head, spread = resume(args.resume, train, sample)
    else:
        model, token_head, spread = start_model(args.model, train, sample, args.seed)
    save(model, args.model, args.out)

    model.bert.embeddings.requires_grad_(False)
    model.bert.encoder.layer[:args.frozen].requires_grad_(False)
    old = [p for p in model.bert.encoder.layer[args.frozen:KEPT_LAYERS].parameters()]
    new = [p for m in (model.bert.encoder.layer[KEPT_LAYERS:], model.bert.pooler, model.classifier, token_head) for p in m.parameters()]
    optimizer = torch.optim.AdamW([{"params": old, "peak": args.lr}, {"params": new, "peak": args.lr_new}], weight_decay=0.01)

    label = torch.zeros(args.groups, GROUP)
    label[:, 0] = 1
    began = saved = tested = logged = time.monotonic()
    step = counted = n_tokens = 0
    sums = torch.zeros(4)
    while (done := (time.monotonic() - began) / (60 * args.minutes)) < 1:
        rate = min(1, (step + 1) / 30) * (1 - done)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        asked = [rng.choice(by_kind[kind]) for kind in rng.choices(list(SHARES), list(SHARES.values()), k=args.groups)]
        groups, labelled = zip(*(train.group(q, GROUP, rng) for q in asked))
        pairs, known = sum(groups, []), torch.tensor(labelled).float()[:, None]
        found = [train.teacher(q, p) for q, p in pairs]
        teacher = torch.stack([f.mean() for f in found]).view(args.groups, GROUP) / spread

        logits, states, n = forward(model, train, pairs, args.bf16)
        logits = logits.view(args.groups, GROUP)
        target = 0.5 * known * label + (1 - 0.5 * known) * torch.softmax(2 * teacher, 1)
        ranking = -(target * torch.log_softmax(logits, 1)).sum(1).mean()
        token = F.mse_loss(token_head(torch.cat(states))[:, 0], torch.cat(found)) / spread**2
        calibration = F.binary_cross_entropy_with_logits(logits, 0.9 * label + 0.05, known.expand_as(logits))
        (ranking + (0.3 - 0.25 * done) * token + 0.2 * calibration).backward()
        torch.nn.utils.clip_grad_norm_(old + new, 1.0)
        optimizer.step()
        optimizer.zero_grad()

        step, n_tokens = step + 1, n_tokens + n
        right = (logits.argmax(1) == target.argmax(1)).float().mean()
        sums += torch.stack([ranking, token, calibration, right]).detach()
        now = time.monotonic()
        if now - logged > 60:
            means = " ".join(f"{name} {value:.3f}" for name, value in zip(LOGGED, (sums / (step - counted)).tolist()))
            print(f"step {step} tokens {n_tokens} done {done:.2f} {means}", flush=True)
            counted, logged = step, now
            sums.zero_()
        if now - saved > 240:
            save(model, args.model, args.out)
            saved = time.monotonic()
        if now - tested > 700:
            print("dev", dev_figures(model, dev, random.Random(0)), flush=True)
            tested = time.monotonic()
    save(model, args.model, args.out)
    print(f"end step {step} tokens {n_tokens}", dev_figures(model, dev, random.Random(0)), flush=True)


if __name__ == "__main__":
    main()

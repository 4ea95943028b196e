"""Pairs of a prepared part: candidates of a query, token ids for the model, and what the teacher says."""

import torch


class Pairs:
    def __init__(self, path):
        part = torch.load(path)
        self.passages, self.queries = part["passages"], part["queries"]
        self.n_medquad = part["n_medquad"]  # passages; Debian's follow
        self.positives, self.candidates, self.kinds = part["positives"], part["candidates"], part["kinds"]
        self.passage_vectors, self.query_vectors = part["passage_vectors"], part["query_vectors"]

    def group(self, query, size, rng):
        """A passage, hard negatives (half of them from BM25's first ten) and one passage at random.

        The first is the positive, but for every other span: the passage it was cut from would be found by its words alone.
        Returns the pairs and whether the first is the positive.
        """
        candidates = self.candidates[query]
        negatives = rng.sample(candidates[:10], min(len(candidates[:10]), (size - 1) // 2))
        rest = [c for c in candidates if c not in negatives]
        negatives += rng.sample(rest, min(len(rest), size - 2 - len(negatives)))
        while len(negatives) < size - 1:
            other = rng.randrange(len(self.passages))
            if other != self.positives[query] and other not in negatives:
                negatives.append(other)
        labelled = self.kinds[query] != "span" or rng.random() < 0.5
        first = self.positives[query] if labelled else rng.choice([c for c in candidates if c not in negatives] or negatives)
        return [(query, p) for p in [first] + negatives], labelled

    def teacher(self, query, passage):
        """For each token of the query, the best cosine among the passage's tokens."""
        return (self.query_vectors[query].float() @ self.passage_vectors[passage].float().T).max(1).values

    def batch(self, pairs):
        """[CLS] query [SEP] passage [SEP], padded to the longest."""
        sequences = [(self.queries[q], self.passages[p][1:]) for q, p in pairs]
        shape = len(pairs), max(len(q) + len(p) for q, p in sequences)
        ids, types, mask = (torch.zeros(shape, dtype=torch.long) for _ in range(3))
        for row, (q, p) in enumerate(sequences):
            ids[row, : len(q) + len(p)] = torch.tensor(q + p)
            types[row, len(q) : len(q) + len(p)] = 1
            mask[row, : len(q) + len(p)] = 1
        return {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}

    def batches(self, pairs, size):
        """Pairs of like length together: yields their places and the padded batch."""
        order = sorted(range(len(pairs)), key=lambda i: len(self.queries[pairs[i][0]]) + len(self.passages[pairs[i][1]]))
        for start in range(0, len(order), size):
            places = order[start : start + size]
            yield places, self.batch([pairs[i] for i in places])

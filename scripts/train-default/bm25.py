"""BM25 as the project's evaluation sets use it: k1 0.9, b 0.4, lower-cased words, no stemming."""

import math
import re
from collections import Counter

import numpy as np

K1, B = 0.9, 0.4
words = re.compile(r"[a-z0-9]+").findall


class BM25:
    def __init__(self, documents):
        postings, lengths = {}, []
        for i, text in enumerate(documents):
            counts = Counter(words(text.lower()))
            lengths.append(sum(counts.values()))
            for word, n in counts.items():
                postings.setdefault(word, []).append((i, n))
        norm = K1 * (1 - B + B * np.array(lengths) / (np.mean(lengths) or 1))
        self.size = len(documents)
        self.weights = {}
        for word, entries in postings.items():
            docs, counts = np.array(entries).T
            idf = math.log(1 + (self.size - len(docs) + 0.5) / (len(docs) + 0.5))
            self.weights[word] = docs, idf * counts * (K1 + 1) / (counts + norm[docs])

    def top(self, query, k):
        """The k best documents that share a word with the query, best first; ties in corpus order."""
        scores = np.zeros(self.size)
        for word in words(query.lower()):
            if word in self.weights:
                docs, weights = self.weights[word]
                scores[docs] += weights
        best = np.argsort(-scores, kind="stable")[:k]
        return [int(i) for i in best if scores[i] > 0]

"""Writes MedQuAD's test part as a retrieval set: each question looks for its answer among all test answers."""

import argparse
import gzip
import json
from pathlib import Path

from bm25 import BM25


def write(path, rows):
    with gzip.GzipFile(path, "wb", mtime=0) as file:
        for row in rows:
            file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="folder with medquad/")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    with gzip.open(args.data / "medquad" / "test.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    index = BM25([row["p"] for row in rows])
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.out / "corpus.jsonl.gz", [{"id": f"d{i}", "text": row["p"]} for i, row in enumerate(rows)])
    write(args.out / "queries.jsonl.gz", [{"id": f"q{i}", "text": row["q"]} for i, row in enumerate(rows)])
    write(
        args.out / "bm25-top50.jsonl.gz",
        [{"query": f"q{i}", "docs": [f"d{d}" for d in index.top(row["q"], 50)]} for i, row in enumerate(rows)],
    )
    (args.out / "qrels.tsv").write_text("".join(f"q{i}\td{i}\t1\n" for i in range(len(rows))))


if __name__ == "__main__":
    main()

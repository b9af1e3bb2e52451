"""The index of words beside the vectors, BM25 by `bm25s`: it finds names, SKUs and model numbers as written."""

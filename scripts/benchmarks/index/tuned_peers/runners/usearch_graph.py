"""The graph of usearch, over half-precision numbers."""

import numpy as np
from usearch.index import Index

from scripts.benchmarks.index.tuned_peers.runners.serve import Built, Order, Question, Rows, serve


def build(order: Order) -> Built:
    """Build with ``m`` edges a node; the effort is ``ef``."""
    index = Index(ndim=order.vectors.shape[1], metric="ip", dtype="bf16", connectivity=order.settings["m"])
    index.add(np.arange(len(order.vectors)), order.vectors, threads=order.threads)

    def search(asked: Question) -> Rows:
        index.expansion_search = asked.effort["ef"]
        found = index.search(asked.queries, order.k, threads=asked.threads).keys
        rows: Rows = np.asarray(found, np.int64).reshape(len(asked.queries), -1)
        return rows

    return Built(search, lambda: int(index.serialized_length), f"M {order.settings['m']}, bf16")


if __name__ == "__main__":
    serve(build)

"""NGT: its graph over whole vectors; over codes (QG) only where NGT's own program to build it is installed."""

from concurrent.futures import ThreadPoolExecutor

import ngtpy
import numpy as np

from scripts.benchmarks.index.tuned_peers.runners.serve import Built, Order, Question, Rows, files_size, serve

MISSING = (
    "the package ngt searches quantised graphs, but has nothing in Python to build one: that is a program of NGT, qbg, "
    "which no package holds"
)


def build(order: Order) -> Built:
    """Build a graph with ``edges``; the effort is ``epsilon``.

    A search takes one query, so threads share a batch.
    """
    if order.settings["codes"] == "qg":
        raise RuntimeError(MISSING)
    path = str(order.folder / "index")
    ngtpy.create(
        path,
        order.vectors.shape[1],
        edge_size_for_creation=order.settings["edges"],
        edge_size_for_search=-2,
        distance_type="Inner Product",
    )
    index = ngtpy.Index(path)
    index.batch_insert(order.vectors, num_threads=order.threads)
    index.save()  # part of a build: the index lives in its folder
    pool = ThreadPoolExecutor(order.threads)

    def search(asked: Question) -> Rows:
        def one(query: Rows) -> Rows:
            found = index.search(query, order.k, epsilon=asked.effort["epsilon"], with_distance=False)
            rows: Rows = np.full(order.k, -1, np.int64)
            rows[: len(found)] = found
            return rows

        return np.stack(list((map if asked.threads == 1 else pool.map)(one, asked.queries)))

    return Built(search, lambda: files_size(order.folder), f"{order.settings['edges']} edges")


if __name__ == "__main__":
    serve(build)

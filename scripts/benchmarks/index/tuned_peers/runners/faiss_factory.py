"""Indexes of FAISS by the strings of its factory."""

from typing import Any

import faiss
import numpy as np

from scripts.benchmarks.index.tuned_peers.runners.serve import Built, Order, Question, Rows, files_size, serve

TRAINING_ROWS = 100_000


def build(order: Order) -> Built:
    """Build what ``factory`` says: in it ``{lists}`` is 4 sqrt(N), at most 4,000; ``metric`` is ``"ip"`` or ``"l2"``.

    Vectors are of unit length, so that both put the rows in the same order. ``super_kmeans`` trains the lists by
    SuperKMeans. The effort has ``nprobe`` or ``ef``, and ``refined``: how many are scored anew.
    """
    faiss.omp_set_num_threads(order.threads)
    count, dim = order.vectors.shape
    lists = min(4000, int(4 * count**0.5))
    metric = faiss.METRIC_L2 if order.settings.get("metric") == "l2" else faiss.METRIC_INNER_PRODUCT
    factory = order.settings["factory"].format(lists=lists)
    index = faiss.index_factory(dim, factory, metric)
    parts = _parts(index)
    if order.settings.get("super_kmeans"):
        faiss.extract_index_ivf(index).cp.use_super_kmeans = True
    sample = np.random.default_rng(0).permutation(count)[:TRAINING_ROWS]
    index.train(order.vectors[np.sort(sample)])
    index.add(order.vectors)

    def search(asked: Question) -> Rows:
        faiss.omp_set_num_threads(asked.threads)
        if "nprobe" in asked.effort:
            faiss.extract_index_ivf(index).nprobe = asked.effort["nprobe"]
        if "ef" in asked.effort:
            parts["graph"].hnsw.efSearch = asked.effort["ef"]
        if "refined" in asked.effort:
            parts["refined"].k_factor = asked.effort["refined"] / order.k
        rows: Rows = index.search(asked.queries, order.k)[1]
        return rows

    def size() -> int:
        faiss.write_index(index, str(order.folder / "index"))
        return files_size(order.folder)

    return Built(search, size, factory)


def _parts(index: Any) -> dict[str, Any]:  # noqa: ANN401 - FAISS ships no types
    """Find what has an effort of its own: a graph, and a refinement."""
    found: dict[str, Any] = {}
    while True:
        index = faiss.downcast_index(index)
        if isinstance(index, faiss.IndexRefine):
            found["refined"], index = index, index.base_index
        elif isinstance(index, faiss.IndexPreTransform):
            index = index.index
        else:
            return found | ({"graph": index} if isinstance(index, faiss.IndexHNSW) else {})


if __name__ == "__main__":
    serve(build)

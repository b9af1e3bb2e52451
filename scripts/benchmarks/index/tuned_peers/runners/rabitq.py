"""RaBitQ's own library: inverted lists of codes of some bits, or SymphonyQG, a graph whose edges carry codes."""

import numpy as np
import rabitqlib

from scripts.benchmarks.index.tuned_peers.runners.serve import Built, Order, Question, Rows, files_size, serve


def build(order: Order) -> Built:
    """Build ``"ivf"`` with ``bits`` a number or ``"symqg"`` with ``degree``; the effort is ``nprobe`` or ``ef``."""
    count, dim = order.vectors.shape
    if order.settings["kind"] == "ivf":
        lists = min(4000, int(4 * count**0.5))
        # Centroids of any length are searched far less well by inner products: twice the lists for the same recall.
        clusters = rabitqlib.RaBitQKMeans(dim, lists, num_threads=order.threads, spherical=True)
        clusters.train(order.vectors)
        index = rabitqlib.IvfIndex(dim, count, lists, order.settings["bits"], "ip")
        index.build(order.vectors, clusters.centroids, clusters.assignments, order.threads, True)
        note = f"{lists} lists"
    else:
        index = rabitqlib.SymqgIndex(dim, order.settings["degree"], "ip")
        index.build(order.vectors, order.settings["ef_construction"], order.threads)
        note = f"degree {order.settings['degree']}"

    def search(asked: Question) -> Rows:
        if "nprobe" in asked.effort:
            found = index.search(asked.queries, order.k, asked.effort["nprobe"], None, asked.threads)
        else:
            found = index.search_batch(asked.queries, order.k, asked.effort["ef"], asked.threads)
        rows: Rows = np.asarray(found[0], np.int64)
        return rows

    def size() -> int:
        index.save(str(order.folder / "index"))
        return files_size(order.folder)

    return Built(search, size, note)


if __name__ == "__main__":
    serve(build)

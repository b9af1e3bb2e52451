"""The graph of hnswlib."""

import hnswlib
import numpy as np

from scripts.benchmarks.index.tuned_peers.runners.serve import Built, Order, Question, Rows, serve


def build(order: Order) -> Built:
    """Build with ``m`` edges a node; the effort is ``ef``."""
    index = hnswlib.Index("ip", order.vectors.shape[1])
    index.init_index(len(order.vectors), ef_construction=200, M=order.settings["m"], random_seed=0)
    index.set_num_threads(order.threads)
    index.add_items(order.vectors)

    def search(asked: Question) -> Rows:
        index.set_ef(asked.effort["ef"])
        rows: Rows = np.asarray(index.knn_query(asked.queries, order.k, num_threads=asked.threads)[0], np.int64)
        return rows

    return Built(search, index.index_file_size, f"M {order.settings['m']}")


if __name__ == "__main__":
    serve(build)

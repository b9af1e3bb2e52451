"""VSAG: its graph over codes of four bits, with half-precision numbers to score the best anew."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyvsag

from scripts.benchmarks.index.tuned_peers.runners.serve import Built, Order, Question, Rows, files_size, serve


def build(order: Order) -> Built:
    """Build with ``degree`` and ``ef_construction``; the effort is ``ef``, at most 1,000.

    Vectors are of unit length, so that distances put the rows in the order of inner products: with these as metric
    codes of four bits find far less. A search takes one query, so threads share a batch.
    """
    count, dim = order.vectors.shape
    shape = {
        "base_quantization_type": "sq4_uniform",
        "use_reorder": True,
        "precise_quantization_type": "fp16",
        "max_degree": order.settings["degree"],
        "ef_construction": order.settings["ef_construction"],
        "build_thread_count": order.threads,
    }
    about = {"dtype": "float32", "metric_type": "l2", "dim": dim, "index_param": shape}
    index = pyvsag.Index("hgraph", json.dumps(about))
    index.build(vectors=order.vectors, ids=np.arange(count), num_elements=count, dim=dim)
    pool = ThreadPoolExecutor(order.threads)

    def search(asked: Question) -> Rows:
        effort = json.dumps({"hgraph": {"ef_search": asked.effort["ef"]}})

        def one(query: Rows) -> Rows:
            rows: Rows = np.asarray(index.knn_search(vector=query, k=order.k, parameters=effort)[0], np.int64)
            return rows

        return np.stack(list((map if asked.threads == 1 else pool.map)(one, asked.queries)))

    def size() -> int:
        index.save(str(order.folder / "index"))
        return files_size(order.folder)

    return Built(search, size, f"degree {order.settings['degree']}; it saves whole blocks of memory")


if __name__ == "__main__":
    serve(build)

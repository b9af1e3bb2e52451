"""LanceDB: a table in files with an index; the best of its codes are scored anew on the vectors of the table."""

import os

import lancedb
import numpy as np
import pyarrow as pa

from scripts.benchmarks.index.tuned_peers.runners.serve import Built, Order, Question, Rows, files_size, serve

QUERIES_AT_ONCE = 64  # more in one call are no faster


def build(order: Order) -> Built:
    """Build ``codes`` with ``options``, as LanceDB has them; the effort is ``nprobe`` or ``ef``, and ``refined``."""
    os.environ["LANCE_CPU_THREADS"] = str(order.threads)  # read once, by the first that uses it
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(order.vectors.ravel()), order.vectors.shape[1])
    rows = pa.table({"row": np.arange(len(order.vectors)), "vector": vectors})
    table = lancedb.connect(order.folder).create_table("items", rows)
    codes = getattr(lancedb.index, order.settings["codes"])
    table.create_index("vector", config=codes(distance_type="dot", **order.settings["options"]))

    def search(asked: Question) -> Rows:
        found = []
        for start in range(0, len(asked.queries), QUERIES_AT_ONCE):
            question = table.search(asked.queries[start : start + QUERIES_AT_ONCE]).distance_type("dot")
            question = question.limit(order.k).refine_factor(max(1, asked.effort["refined"] // order.k))
            if "nprobe" in asked.effort:
                question = question.nprobes(asked.effort["nprobe"])
            if "ef" in asked.effort:
                question = question.ef(asked.effort["ef"])
            # Lines of a batch come query by query, each with its number and its k rows.
            lines = question.select(["row", "_distance"]).to_arrow()
            found.append(lines.column("row").to_numpy().reshape(-1, order.k))
        return np.concatenate(found)

    return Built(search, lambda: files_size(order.folder), "in files")


if __name__ == "__main__":
    serve(build)

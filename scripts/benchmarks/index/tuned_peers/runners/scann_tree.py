"""ScaNN: a tree of partitions, anisotropic codes of four bits, and the best scored anew."""

import numpy as np
import scann

from scripts.benchmarks.index.tuned_peers.runners.serve import Built, Order, Question, Rows, files_size, serve

TRAINING_ROWS = 100_000


def build(order: Order) -> Built:
    """Build with the settings that its guide has for this size; the effort is ``leaves`` and ``refined``."""
    count = len(order.vectors)
    leaves = int(2 * count**0.5)
    steps = scann.scann_ops_pybind.builder(order.vectors, order.k, "dot_product")
    steps = steps.set_n_training_threads(order.threads)
    steps = steps.tree(leaves, leaves // 10, training_sample_size=min(count, TRAINING_ROWS))
    index = steps.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(100).build()

    def search(asked: Question) -> Rows:
        effort = {"leaves_to_search": asked.effort["leaves"], "pre_reorder_num_neighbors": asked.effort["refined"]}
        if asked.threads == 1 and len(asked.queries) == 1:
            rows = index.search(asked.queries[0], final_num_neighbors=order.k, **effort)[0][None]
        else:
            index.set_num_threads(asked.threads)
            rows = index.search_batched_parallel(asked.queries, final_num_neighbors=order.k, **effort)[0]
        found: Rows = np.asarray(rows, np.int64)
        return found

    def size() -> int:
        index.serialize(str(order.folder))
        return files_size(order.folder)

    return Built(search, size, f"{leaves} leaves")


if __name__ == "__main__":
    serve(build)

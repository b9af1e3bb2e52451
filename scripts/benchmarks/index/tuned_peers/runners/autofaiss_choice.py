"""What autofaiss chooses and builds, over the vectors as it is usually given them."""

import autofaiss
import faiss
import numpy as np

from scripts.benchmarks.index.tuned_peers.runners.serve import Built, Order, Question, Rows, files_size, serve


def build(order: Order) -> Built:
    """Build with the settings that autofaiss comes with; the effort is ``ef`` of a graph, ``nprobe`` of lists."""
    index, about = autofaiss.build_index(
        embeddings=order.vectors, metric_type="ip", save_on_disk=False, nb_cores=order.threads, verbose=40
    )
    space = faiss.ParameterSpace()
    inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
    name = "efSearch" if isinstance(inner, faiss.IndexHNSW) else "nprobe"

    def search(asked: Question) -> Rows:
        faiss.omp_set_num_threads(asked.threads)
        space.set_index_parameter(index, name, asked.effort["ef"])
        rows: Rows = np.asarray(index.search(asked.queries, order.k)[1], np.int64)
        return rows

    def size() -> int:
        faiss.write_index(index, str(order.folder / "index"))
        return files_size(order.folder)

    return Built(search, size, f"{about['index_key']}, {name}")


if __name__ == "__main__":
    serve(build)

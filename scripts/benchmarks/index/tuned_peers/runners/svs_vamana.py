"""SVS: the graph of Vamana over half-precision numbers, or over LeanVec's, which are learned from queries as well."""

import numpy as np
import svs

from scripts.benchmarks.index.tuned_peers.runners.serve import Built, Order, Question, Rows, files_size, serve

LEARNED_FROM = 20_000  # vectors


def build(order: Order) -> Built:
    """Build over ``codes``: ``"float16"``, or ``"leanvec"`` with ``dims``; the effort is ``window``."""
    count, dim = order.vectors.shape
    shape = svs.VamanaBuildParameters(
        alpha=0.95,
        graph_max_degree=order.settings["degree"],
        window_size=2 * order.settings["degree"],
        prune_to=order.settings["degree"] - 4,
    )
    if order.settings["codes"] == "leanvec":
        file = order.folder / "vectors.fvecs"
        svs.write_vecs(order.vectors, str(file))
        sample = np.random.default_rng(0).permutation(count)[:LEARNED_FROM]
        of_data, of_queries = svs.compute_leanvec_matrices(
            order.vectors[sample], order.queries["text"], order.settings["dims"]
        )
        data = svs.LeanVecLoader(
            svs.VectorDataLoader(str(file), svs.DataType.float32, dims=dim),
            leanvec_dims=order.settings["dims"],
            primary_kind=svs.LeanVecKind.lvq8,
            secondary_kind=svs.LeanVecKind.lvq8,
            data_matrix=of_data,
            query_matrix=of_queries,
        )
    else:
        data = order.vectors.astype(np.float16)
    index = svs.Vamana.build(shape, data, svs.DistanceType.MIP, num_threads=order.threads)

    def search(asked: Question) -> Rows:
        if index.num_threads != asked.threads:
            index.num_threads = asked.threads
        index.search_window_size = asked.effort["window"]
        rows: Rows = np.asarray(index.search(asked.queries, order.k)[0], np.int64)
        return rows

    def size() -> int:
        parts = [order.folder / name for name in ("config", "graph", "data")]
        index.save(*map(str, parts))
        return sum(map(files_size, parts))

    return Built(search, size, f"degree {order.settings['degree']}")


if __name__ == "__main__":
    serve(build)

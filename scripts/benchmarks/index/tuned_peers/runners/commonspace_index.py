"""This project's index, as `build_index` chooses it for a goal of recall with the queries that tune the others too."""

import faiss

from indexing.index import IndexConfig, build_index
from scripts.benchmarks.index.tuned_peers.runners.serve import Built, Order, Question, Rows, serve


def build(order: Order) -> Built:
    """Build with the defaults, or a kind of index that is named; each kind of query has its effort already."""
    faiss.omp_set_num_threads(order.threads)
    asked = max(len(queries) for queries in order.queries.values())  # all of them tune, as for the others
    kind = order.settings.get("kind", "auto")
    goals = IndexConfig(min_recall=order.settings["recall"], k=order.k, kind=kind, sample=asked)
    index, report = build_index(order.vectors, goals, dict(order.queries))

    def search(asked: Question) -> Rows:
        faiss.omp_set_num_threads(asked.threads)
        return index.search(asked.queries, order.k, kind=asked.kind)[1]

    return Built(search, lambda: report.bytes, f"{report.family}, {dict(report.efforts)}")


if __name__ == "__main__":
    serve(build)

"""A runner of the benchmark of tuned peers that searches the first rows alone, and fails as its settings say."""

import os
import time

import numpy as np

from scripts.benchmarks.index.tuned_peers.runners.serve import Built, Order, Question, Rows, serve


def build(order: Order) -> Built:
    match order.settings.get("fails"):
        case "by an error":
            raise ValueError("no index of 3 dimensions")
        case "by an end":
            os.write(2, b"out of patience\n")
            os._exit(7)
        case "by a signal":
            os.abort()
        case "by taking long":
            time.sleep(600)
    print("a library prints this")  # noqa: T201 - must not be taken for an answer

    def search(asked: Question) -> Rows:
        scores = asked.queries @ order.vectors[: asked.effort["rows"]].T
        best: Rows = np.argsort(-scores, axis=1)[:, : order.k]
        if order.settings.get("fails") == "by wrong rows":
            best[0, 0] = len(order.vectors)
        return best[:, :7] if order.settings.get("fails") == "by few rows" else best

    return Built(search, lambda: order.vectors.nbytes, f"{order.threads} threads, {sorted(order.queries)}")


if __name__ == "__main__":
    serve(build)

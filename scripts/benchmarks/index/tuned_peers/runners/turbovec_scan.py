"""turbovec: every code of four bits is scanned, and the best are scored anew on the vectors, here by NumPy."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import turbovec

from scripts.benchmarks.index.tuned_peers.runners.serve import Built, Order, Question, Rows, Vectors, files_size, serve

SAMPLE, QUERIES_AT_ONCE = 4096, 64


def build(order: Order) -> Built:
    """Build with ``bits`` a number; the effort is ``refined``. Vectors to score anew are kept beside the index."""
    count, dim = order.vectors.shape
    index = turbovec.TurboQuantIndex(dim, order.settings["bits"])
    index.calibrate(order.vectors[np.random.default_rng(0).choice(count, min(count, SAMPLE), replace=False)])
    index.add(order.vectors)
    index.prepare()
    pool = ThreadPoolExecutor(order.threads)

    def refine(part: tuple[Vectors, Rows]) -> Rows:
        queries, rows = part
        scores = np.matmul(order.vectors[rows], queries[:, :, None])[:, :, 0]
        best: Rows = np.take_along_axis(rows, np.argsort(-scores, axis=1)[:, : order.k], axis=1)
        return best

    def search(asked: Question) -> Rows:
        rows = np.asarray(index.search(asked.queries, asked.effort["refined"])[1], np.int64)
        parts = [
            (asked.queries[start : start + QUERIES_AT_ONCE], rows[start : start + QUERIES_AT_ONCE])
            for start in range(0, len(rows), QUERIES_AT_ONCE)
        ]
        return np.concatenate(list((map if asked.threads == 1 else pool.map)(refine, parts)))

    def size() -> int:
        index.write(str(order.folder / "index"))
        return files_size(order.folder) + order.vectors.nbytes

    return Built(search, size, f"{order.settings['bits']} bits, float32 beside")


if __name__ == "__main__":
    serve(build)

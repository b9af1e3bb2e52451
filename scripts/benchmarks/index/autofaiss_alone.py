"""Let autofaiss build an index over a file of vectors; run in an environment of its own, which lacks this project.

PYTHON autofaiss_alone.py VECTORS.npy OUT.index THREADS
"""

import json
import sys

import autofaiss
import faiss
import numpy as np


def main() -> None:
    """Build with the settings that autofaiss comes with; it times its own vectors as queries."""
    vectors, out, threads = sys.argv[1:]
    index, info = autofaiss.build_index(
        embeddings=np.load(vectors), metric_type="ip", save_on_disk=False, nb_cores=int(threads), verbose=40
    )
    faiss.write_index(index, out)
    print(json.dumps({"index": info["index_key"], "parameters": info["index_param"]}))


if __name__ == "__main__":
    main()

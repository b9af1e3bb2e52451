"""The arrays of `bm25s` as files of a bundle: npy and JSON, never pickle, memory-mapped when they are read."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.filesystem import fsops

ARRAYS = ("data", "indices", "indptr")
Content = bytes | Callable[[Path], str]
"""The bytes of a file, or a function that writes the path it is given and gives its sha256."""


def index_tokens(tokens: Sequence[Sequence[str]], **settings: float) -> Any:  # noqa: ANN401 - bm25s has no types
    """Index N lists of tokens, one of which is not empty, with the scores of Lucene: a `bm25s.BM25`."""
    from bm25s import BM25  # loads SciPy

    vocabulary: dict[str, int] = {}
    ids = [[vocabulary.setdefault(token, len(vocabulary)) for token in document] for document in tokens]
    model = BM25(method="lucene", csc_backend="scipy", **settings)
    model.index((ids, vocabulary), create_empty_token=False, show_progress=False)
    return model


def of_arrays(arrays: Mapping[str, NDArray[Any]], vocabulary: Mapping[str, int], count: int) -> Any:  # noqa: ANN401
    """Make a `bm25s.BM25` of N documents of arrays in its own layout: compressed columns, one for each token."""
    from bm25s import BM25

    model = BM25(method="lucene")
    model.scores, model.vocab_dict = {**arrays, "num_docs": count}, dict(vocabulary)
    model.nonoccurrence_array = None
    return model


def file_contents(model: Any, prefix: str) -> dict[str, Content]:  # noqa: ANN401
    """Return the files of a `bm25s.BM25` by their names, as `bm25s` names them with a prefix before."""
    settings = {
        name: getattr(model, name) for name in ("k1", "b", "delta", "method", "idf_method", "dtype", "int_dtype")
    }
    settings["num_docs"] = int(model.scores["num_docs"])
    contents: dict[str, Content] = {
        f"{prefix}{name}.csc.index.npy": partial(_write_array, model.scores[name]) for name in ARRAYS
    }
    contents[f"{prefix}vocab.index.json"] = json.dumps(model.vocab_dict, ensure_ascii=False).encode()
    contents[f"{prefix}params.index.json"] = (json.dumps(settings, indent=4) + "\n").encode()
    return contents


def read_files(folder: Path, prefix: str) -> Any:  # noqa: ANN401
    """Read what `file_contents` gave; arrays stay in their files.

    Raises:
        OSError: When a file is missing.
        ValueError: When a file holds something else.
    """
    from bm25s import BM25

    names = {f"{name}_name": f"{prefix}{name}.csc.index.npy" for name in ARRAYS}
    names |= {"vocab_name": f"{prefix}vocab.index.json", "params_name": f"{prefix}params.index.json"}
    model = BM25.load(folder, mmap=True, allow_pickle=False, show_progress=False, backend="numpy", **names)
    _check(model)
    return model


def _check(model: Any) -> None:  # noqa: ANN401
    """Check that the arrays of a model fit together."""
    data, indices, indptr = (model.scores[name] for name in ARRAYS)
    count, tokens = model.scores["num_docs"], len(model.vocab_dict)
    if not (data.ndim == indices.ndim == indptr.ndim == 1 and len(data) == len(indices) and len(indptr) == tokens + 1):
        raise ValueError(f"{len(data)} scores, {len(indices)} documents and {len(indptr)} bounds of {tokens} tokens")
    if len(indices) and not 0 <= indices.min() <= indices.max() < count:
        raise ValueError(f"it names document {indices.max()} of {count}")
    if indptr[0] != 0 or indptr[-1] != len(data) or (np.diff(indptr) < 0).any():
        raise ValueError("the bounds of its tokens do not rise to the number of scores")
    if sorted(model.vocab_dict.values()) != list(range(tokens)):
        raise ValueError("its tokens are not numbered from 0")


def _write_array(array: NDArray[Any], path: Path) -> str:
    def produce(write: Callable[[bytes | memoryview], None]) -> None:
        np.lib.format.write_array(_Writer(write), np.asarray(array), allow_pickle=False)

    return fsops.write_stream(path, produce)


class _Writer:
    """What NumPy takes for a file that is open for writing."""

    def __init__(self, write: Callable[[bytes | memoryview], None]) -> None:
        self.write = write

"""Queries as users will ask them, given to a build: an index is tuned on them, and its recall promised for them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from safetensors.numpy import save

from indexing.arrays import Vectors, check_vectors, unit
from indexing.errors import InputError
from indexing.filesystem.checked_files import finite_tensors, read_as
from indexing.media.files import Modality, no_file
from indexing.runtime.arguments import check_choice, shown

SAMPLE_QUERIES = "sample_queries.safetensors"
MIN_QUERIES = 100  # of 60, of which 30 check, others were once 0.02 below the goal

Given: TypeAlias = Mapping[str, Sequence[str] | Vectors]
"""For each kind of query (``"text"``, ``"image"``, ``"audio"``) (n, D) vectors; of texts, also the texts themselves."""
SampleQueries: TypeAlias = Mapping[str, Vectors]
"""For each kind of query (n, D) float32, of unit length."""


def checked_queries(
    given: Given, dim: int, sample: int, encode_texts: Callable[[Sequence[str]], Vectors]
) -> dict[str, Vectors]:
    """Check queries, encode texts, and draw at most ``sample`` of each kind by seed 0.

    Args:
        given: Queries of each kind.
        dim: D.
        sample: So many are kept of each kind.
        encode_texts: Gives the vectors of texts, (n, D) float32.

    Raises:
        InputError: When they are of no kind, fewer than `MIN_QUERIES`, or no texts and no finite vectors of length D.
    """
    if not isinstance(given, Mapping):
        raise InputError(f'queries are {shown(given)}; give them by kind, as {{"text": [...]}}')
    kept = {}
    for kind, queries in given.items():
        check_choice(kind, "the kind of queries", tuple(Modality))
        name = f"queries of kind {kind!r}"
        if len(queries) < MIN_QUERIES:
            raise InputError(
                f"{name} are {len(queries)}; give {MIN_QUERIES} or more, better 500: half of them choose how hard the "
                "index searches for such queries, and the other half checks the recall"
            )
        drawn = np.sort(np.random.default_rng(0).permutation(len(queries))[:sample])
        if isinstance(queries, np.ndarray):
            vectors = check_vectors(queries, dim, name)[drawn]
        elif kind == Modality.TEXT and all(isinstance(text, str) for text in queries):
            vectors = encode_texts([queries[position] for position in drawn.tolist()])
        else:
            raise InputError(f"{name} are a {type(queries).__name__}; give (n, {dim}) vectors, or a list of texts")
        kept[str(kind)] = unit(vectors)
    return kept


def read_queries(path: Path) -> list[str] | Vectors:
    """Read queries from a file: vectors from ``.npy``, or from ``.txt`` a text a line, in UTF-8, without blank lines.

    Raises:
        InputError: When it cannot be read.
    """
    if problem := no_file(path):
        raise InputError(problem)
    if path.suffix.lower() not in (".npy", ".txt"):  # lines of a table would be taken for texts
        raise InputError(f"{path} ends in {path.suffix!r}; queries are read from .txt, a text a line, or from .npy")
    try:
        if path.suffix.lower() == ".npy":
            vectors: Vectors = np.load(path, allow_pickle=False)
            return vectors
        return [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as queries, a text a line or vectors in .npy: {error}") from error


def to_bytes(queries: SampleQueries) -> bytes:
    """Return queries as safetensors."""
    return save({kind: np.ascontiguousarray(vectors) for kind, vectors in queries.items()})


def from_bytes(data: bytes, dim: int) -> dict[str, Vectors]:
    """Read what `to_bytes` gave.

    Raises:
        DamagedFileError: When it is something else, or its vectors are not of length D.
    """
    with read_as("the sample of queries", "give queries to a new build"):
        return {kind: check_vectors(vectors, dim, kind) for kind, vectors in sorted(finite_tensors(data).items())}

"""Where hits come from: a closed list of names, held as one small number for each hit."""

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows
from indexing.errors import InputError, ShapeError
from indexing.runtime.arguments import check_choice, check_kind

Source: TypeAlias = Literal["second stage", "behaviour", "content", "trending", "popular", "newest", "rule", "words"]
SOURCES: tuple[Source, ...] = get_args(Source)
Codes: TypeAlias = NDArray[np.int8]
"""For each hit the position of its source in `SOURCES`; -1 where it is not known, and for padding."""

UNKNOWN = -1
RERANKED = "rerank"  # the stage of lists that a head ordered
EXACT = "exact"  # the stage of lists that were reranked without a head


def have_same_stage(first: str, second: str) -> bool:
    """Say whether lists of two stages may be put together: the second stage leaves some of its lists to retrieval."""
    return first == second or {first, second} == {RERANKED, EXACT}


def joined_stage(stages: Iterable[str]) -> str:
    """Give the stage of lists that are put together, some of which the second stage may have left to retrieval.

    >>> joined_stage(["exact", "rerank"]), joined_stage(["retrieve", "retrieve"])
    ('rerank', 'retrieve')
    """
    distinct = list(dict.fromkeys(stages))
    return RERANKED if set(distinct) == {RERANKED, EXACT} else distinct[0]


def source_code(source: Source) -> int:
    """Give the position of a source in `SOURCES`.

    >>> source_code("second stage"), source_code("content")
    (0, 2)

    Raises:
        InputError: For another name.
    """
    return SOURCES.index(check_choice(source, "source", SOURCES))


def codes_for(rows: Rows, source: Source) -> Codes:
    """Give codes of one source for all hits: int8 in the shape of ``rows``.

    >>> codes_for(np.array([[4, 7, -1]]), "content").tolist()
    [[2, 2, -1]]
    """
    codes: Codes = np.where(rows >= 0, source_code(source), UNKNOWN).astype(np.int8)
    return codes


def sources_of(rows: Rows, known_rows: Rows, known: Codes | None, default: Source | None = None) -> Codes | None:
    """Find the codes of hits that were moved, added or removed, by their rows; None where nothing is known.

    Args:
        rows: (B, K) int64, the hits now; -1 for padding.
        known_rows: (B, L) int64, the hits before, each row once a query.
        known: (B, L) int8, their codes; None where they are not known.
        default: The source of hits that were not there before; not known when None.
    """
    if known is None and default is None:
        return None
    missing = UNKNOWN if default is None else source_code(default)
    codes: Codes = np.where(rows >= 0, missing, UNKNOWN).astype(np.int8)
    for query in range(len(rows)) if known_rows.shape[1] else ():
        order = np.argsort(known_rows[query], kind="stable")
        positions = np.searchsorted(known_rows[query], rows[query], sorter=order)
        before = order[np.minimum(positions, len(order) - 1)]
        is_known = (known_rows[query][before] == rows[query]) & (rows[query] >= 0)
        codes[query, is_known] = UNKNOWN if known is None else known[query, before[is_known]]
    return codes


def stage_of_list(stage: str, codes: Codes) -> str:
    """Give the stage of one reranked list by the sources of all its candidates, (K,): exact where no head ordered one.

    >>> stage_of_list("rerank", np.array([1, 2], np.int8)), stage_of_list("rules", np.array([1, 2], np.int8))
    ('exact', 'rules')
    """
    return EXACT if stage == RERANKED and not (codes == source_code("second stage")).any() else stage


def check_codes(codes: object, rows: Rows) -> None:
    """Check that codes fit the rows of hits.

    Raises:
        InputError: When they are no codes of `SOURCES`.
        ShapeError: When they are of another shape, or padding has a source.
    """
    array: Codes = check_kind(codes, np.ndarray, "sources", "give (B, K) int8, as codes_for does, or None")
    if array.dtype != np.int8 or (array.size and not -1 <= array.min() <= array.max() < len(SOURCES)):
        raise InputError(f"sources hold {array.dtype}; give int8, the positions in SOURCES, or -1 for padding")
    if array.shape != rows.shape:
        raise ShapeError(f"sources {array.shape} but rows {rows.shape}; give one for each candidate")
    is_padding: Mask = rows < 0
    if (array[is_padding] >= 0).any():
        raise ShapeError("sources name one for padding; move them along with the rows, or see sources_of")


def source_names(codes: NDArray[np.int8] | Sequence[int]) -> pa.Array:
    """Give names of codes as a column of text, null where a source is not known.

    >>> source_names([0, -1, 2]).to_pylist()
    ['second stage', None, 'content']
    """
    positions = np.asarray(codes, np.int64)
    return pa.array(SOURCES, pa.string()).take(pa.array(positions, mask=positions < 0))

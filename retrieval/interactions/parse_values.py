"""From whatever a log holds to ids and weights; what cannot be read is marked, never guessed."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.arrays.types import Mask
from indexing.catalogue.arrow_values import require_utf8
from indexing.catalogue.item_ids import id_texts, without_point
from indexing.errors import InputError, InteractionsError, examples
from retrieval.interactions.parse_times import per_distinct, present

_VIEWS = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}  # most of Arrow computes on no views
NOBODY = ("NULL", "null", "None", "NaN", "nan", "NA", "N/A", "<NA>", "\\N")
"""User ids that programs write for none at all: one user who did what all unknown visitors did would teach nonsense."""


def read_ids(column: pa.Array, name: str) -> pa.Array:
    """Give ids as strings, null where blank; whole numbers are written without a decimal point.

    Raises:
        InteractionsError: When the column holds neither text nor whole numbers.
    """
    try:
        text = id_texts(column, name)
    except InputError as error:
        raise InteractionsError(str(error)) from error
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(text), ""), None, text)


def whole_users(users: pa.Array) -> tuple[pa.Array, int]:
    """Write user ids without ``.0`` where all of them have it, and count these.

    That is how pandas writes whole numbers to CSV as soon as one of them is missing.
    """
    written = without_point(users)
    return (users, 0) if written is None else (written, len(users) - users.null_count)


def stands_for_nobody(users: pa.Array) -> Mask:
    """Say which user ids are words for none."""
    mask: Mask = pc.is_in(users, value_set=pa.array(NOBODY)).to_numpy(zero_copy_only=False)
    return mask


def read_weights(column: pa.Array, name: str) -> NDArray[np.float32]:
    """Give weights, NaN where there is none or it is no number.

    Raises:
        InteractionsError: When the column holds neither numbers nor text.
    """
    kind = column.type
    try:
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            numbers = per_distinct(column, _number, np.nan)
        else:
            numbers = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InteractionsError(f"column {name!r} of type {kind} cannot hold weights: {error}") from error
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is dropped as such
        weights: NDArray[np.float32] = numbers.astype(np.float32)
    return weights


def read_events(values: pa.Array, name: str, weights: Mapping[str, float]) -> NDArray[np.float32]:
    """Give what each row's type of event weighs; white space around its name does not count.

    Raises:
        InteractionsError: When a row has a type that has no weight, or none at all; names the first such row.
    """
    try:
        text = pc.utf8_trim_whitespace(values.cast(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InteractionsError(f"column {name!r} of type {values.type} cannot hold events: {error}") from error
    known = pc.index_in(text, value_set=pa.array(list(weights), pa.string()))
    if unknown := known.null_count:
        row = int(np.argmin(present(known)))
        others = pc.unique(text.filter(pc.is_null(known))).to_pylist()
        raise InteractionsError(
            f"{unknown} of {len(text)} rows have events that have no weight: {examples(others)}; the first is row "
            f"{row} (from 0), {text[row].as_py()!r} in column {name!r}; weights are given for {examples(weights)}: "
            "give these too one each, 0 to leave them out"
        )
    worth: NDArray[np.float32] = np.array([*weights.values()], np.float32)[known.to_numpy()]
    return worth


def plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Give a column as one array of the plain type of its values: no dictionary, no runs, no views.

    >>> plain(pa.array(["a", None], pa.string_view()).dictionary_encode()).type
    DataType(string)
    """
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = values.type
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(values.indices, plain(values.dictionary)).dictionary_decode()
    if pa.types.is_run_end_encoded(kind):
        if kind.value_type not in _VIEWS:
            return plain(pc.run_end_decode(values))
        return pa.array(values.to_pylist(), _VIEWS[kind.value_type])
    return values.cast(_VIEWS[kind]) if kind in _VIEWS else values


def legible(column: pa.ChunkedArray, name: str) -> pa.Array:
    """Give a column as `plain` does, once its texts are UTF-8.

    Raises:
        InteractionsError: When one is not; names the first.
    """
    values = plain(column)
    try:
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            require_utf8(values, name)
    except InputError as error:
        raise InteractionsError(str(error)) from error
    return values


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")

"""From whatever a log holds to ids, weights and seconds; what cannot be read is marked, never guessed."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.errors import InteractionsError, examples
from indexing.types import Mask

NO_TIME = np.iinfo(np.int64).min
"""Stands for a time that is missing or cannot be read."""

UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
# 10^11 seconds is the year 5138 while 10^11 milliseconds is 1973, and so on upwards: no real log is in doubt.
_UNIT_STARTS = (10**11, 10**14, 10**17)
_PER_SECOND = np.array([1, 10**3, 10**6, 10**9], np.int64)
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Times(NamedTuple):
    """When things happened.

    Attributes:
        seconds: (N,) int64, seconds since 1970 (UTC); NO_TIME where there is none.
        unit: (N,) int64, the position in ``UNITS`` of the unit a bare number was taken to be in.
    """

    seconds: NDArray[np.int64]
    unit: NDArray[np.int64]


def read_ids(column: pa.ChunkedArray, name: str) -> pa.Array:
    """Give ids as strings, null where blank; whole numbers are written without a decimal point.

    Raises:
        InteractionsError: When the column holds neither text nor whole numbers.
    """
    values = plain(column)
    try:
        if pa.types.is_floating(values.type):
            # How pandas stores whole numbers as soon as one of them is missing.
            values = pc.if_else(pc.is_finite(values), values, None).cast(pa.int64())
        elif not (_is_text(values.type) or pa.types.is_integer(values.type) or pa.types.is_null(values.type)):
            raise pa.ArrowInvalid("neither text nor whole numbers")
        text = values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InteractionsError(f"column {name!r} of type {values.type} cannot hold ids: {error}") from error
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(text), ""), None, text)


def read_weights(column: pa.ChunkedArray, name: str) -> NDArray[np.float32]:
    """Give weights, NaN where there is none or it is no number.

    Raises:
        InteractionsError: When the column holds neither numbers nor text.
    """
    values = plain(column)
    try:
        if _is_text(values.type):
            numbers = _per_distinct(values, _number, np.nan)
        else:
            numbers = pc.fill_null(values.cast(pa.float64()), np.nan).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InteractionsError(f"column {name!r} of type {values.type} cannot hold weights: {error}") from error
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is dropped as such
        weights: NDArray[np.float32] = numbers.astype(np.float32)
    return weights


def read_events(column: pa.ChunkedArray, name: str, weights: Mapping[str, float]) -> NDArray[np.float32]:
    """Give what each row's type of event weighs; white space around its name does not count.

    Raises:
        InteractionsError: When a row has a type that has no weight, or none at all; names the first such row.
    """
    values = plain(column)
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


def read_times(column: pa.ChunkedArray, name: str) -> Times:
    """Give seconds from numbers, Arrow timestamps and dates, or ISO 8601 text; without a zone, UTC is meant.

    Numbers may be in seconds, milliseconds, microseconds or nanoseconds, told apart by their magnitude.

    Raises:
        InteractionsError: When the column holds none of these.
    """
    values = plain(column)
    kind = values.type
    if _is_text(kind):
        return _times_from_text(values)
    if pa.types.is_floating(kind):
        whole = pc.floor(values.cast(pa.float64()))
        values = pc.if_else(pc.less(pc.abs(whole), 9e18), whole, None).cast(pa.int64())  # also drops NaN
    elif pa.types.is_date(kind):
        values = values.cast(pa.timestamp("ms"))
    elif not (pa.types.is_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_null(kind)):
        raise InteractionsError(
            f"column {name!r} of type {kind} cannot hold times; give seconds, timestamps, dates or ISO 8601 text"
        )
    ticks = pc.fill_null(values.cast(pa.int64(), safe=False), NO_TIME).to_numpy()
    if pa.types.is_timestamp(values.type):
        seconds = np.where(ticks == NO_TIME, NO_TIME, ticks // _TICKS[values.type.unit])
        return Times(seconds, np.zeros(len(seconds), np.int64))
    return _by_magnitude(ticks)


def plain(column: pa.ChunkedArray) -> pa.Array:
    """Give a column as one array, its dictionary encoding undone."""
    values = column.combine_chunks()
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def present(values: pa.Array) -> Mask:
    """Say which values are not null."""
    mask: Mask = pc.is_valid(values).to_numpy(zero_copy_only=False)
    return mask


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _by_magnitude(numbers: NDArray[np.int64]) -> Times:
    unit = np.digitize(numbers, _UNIT_STARTS)
    return Times(numbers // _PER_SECOND[unit], unit)


def _times_from_text(values: pa.Array) -> Times:
    text = pc.utf8_trim_whitespace(values.cast(pa.string()))
    # At most what an int64 holds; Arrow refuses a whole column for one number beyond.
    is_number = pc.fill_null(pc.match_substring_regex(text, r"^-?[1-8]?\d{1,18}(\.\d*)?$"), False)
    digits = pc.replace_substring_regex(pc.if_else(is_number, text, None), r"\.\d*$", "")
    numbers = _by_magnitude(pc.fill_null(digits.cast(pa.int64()), NO_TIME).to_numpy())
    written = _per_distinct(pc.if_else(is_number, None, text), _iso_seconds, NO_TIME)
    return Times(np.where(is_number.to_numpy(zero_copy_only=False), numbers.seconds, written), numbers.unit)


def _per_distinct(text: pa.Array, read, missing):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    # Each distinct text is read once: logs repeat themselves, and Python reads more formats than Arrow.
    encoded = text.dictionary_encode()
    known = np.array([*(read(one) for one in encoded.dictionary.to_pylist()), missing])
    return known[pc.fill_null(encoded.indices, len(encoded.dictionary)).to_numpy()]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _iso_seconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return NO_TIME
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(seconds=1)

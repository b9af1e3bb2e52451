"""From whatever a log holds to ids and weights; what cannot be read is marked, never guessed."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.arrays import Mask
from indexing.catalogue.arrow_values import SECONDS_PER_DAY, require_utf8
from indexing.catalogue.item_ids import id_texts, without_decimal_zero
from indexing.errors import InputError, InteractionsError, examples
from indexing.runtime.arguments import is_number, is_whole, shown_number
from retrieval.interactions.event_types import EventTypes

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
    written = without_decimal_zero(users)
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


def read_events(
    values: pa.Array, name: str, events: EventTypes, hint: str = ""
) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Give what each row's type of event weighs, and the type; white space around its name does not count.

    Args:
        values: (N,) the types.
        name: Of their column.
        events: What each means.
        hint: The end of a message about a type that is not among them.

    Raises:
        InteractionsError: When a row has a type that has no weight, or none at all; names the first such row.
    """
    try:
        text = pc.utf8_trim_whitespace(values.cast(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InteractionsError(f"column {name!r} of type {values.type} cannot hold events: {error}") from error
    weights = events.weights
    known = pc.index_in(text, value_set=pa.array(list(weights), pa.string()))
    if unknown := known.null_count:
        row = int(np.argmin(present(known)))
        others = pc.unique(text.filter(pc.is_null(known))).to_pylist()
        raise InteractionsError(
            f"{unknown} of {len(text)} rows have events that have no weight: {examples(others)}; the first is row "
            f"{row} (from 0), {text[row].as_py()!r} in column {name!r}; weights are given for {examples(weights)}: "
            f"give these too one each, 0 to leave them out and below 0 for dislikes{hint}"
        )
    positions = known.to_numpy()
    worth: NDArray[np.float32] = np.array([*weights.values()], np.float32)[positions]
    return worth, np.array([*weights])[positions]


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


Whole = NDArray[np.int64]
NO_TIME = np.iinfo(np.int64).min
"""Stands for a time that is missing or cannot be read."""

UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds", "YYYYMMDD")
# 10^11 seconds is the year 5138 while 10^11 milliseconds is 1973, and so on upwards: no real log is in doubt.
_UNIT_STARTS = (10**11, 10**14, 10**17)
_DIGITS = len(_UNIT_STARTS) + 1  # the place in UNITS of dates that are written as numbers
_NANOS = 10**9
_PER_SECOND = np.array([1, 10**3, 10**6, _NANOS], np.int64)
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": _NANOS}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UTC = re.compile(r"\s*(UTC|GMT)$", re.IGNORECASE)
_FIRST_YEAR, _LAST_YEAR = 1970, 2100


class Times(NamedTuple):
    """When things happened.

    Attributes:
        seconds: (N,) int64, seconds since 1970 (UTC); NO_TIME where there is none.
        nanos: (N,) int64, nanoseconds after that second.
        unit: (N,) int64, the position in ``UNITS`` of what a bare number was taken to be.
    """

    seconds: Whole
    nanos: Whole
    unit: Whole

    @classmethod
    def none(cls, count: int) -> "Times":
        """Give those of a log without a clock: all the same."""
        return cls(*(np.zeros(count, np.int64) for _ in range(3)))

    def order(self, kept: Whole) -> Whole:
        """Give some rows in time order, those of the same nanosecond as they stand."""
        return kept[np.lexsort((self.nanos[kept], self.seconds[kept]))]


def read_times(column: pa.Array, name: str, *, singly: bool = False) -> Times:
    """Give times from numbers, Arrow timestamps and dates, or ISO 8601 text; without a zone, UTC is meant.

    Numbers may be in seconds, milliseconds, microseconds or nanoseconds, told apart by their magnitude. Where most
    numbers of a column are dates as in 20231114 (or 202311142213, 20231114221320), all of them are read so.

    Args:
        column: The values.
        name: Of their column.
        singly: Whether each number that is such a date is read so, whatever the others are.

    Raises:
        InteractionsError: When the column holds none of these.
    """
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _from_text(column, singly=singly)
    if pa.types.is_decimal(kind):
        column, kind = column.cast(pa.float64()), pa.float64()
    if pa.types.is_floating(kind):
        values = column.cast(pa.float64())
        values = pc.if_else(pc.less(pc.abs(values), 9e18), values, None)  # also drops NaN
        numbers = pc.fill_null(values, 0).to_numpy()
        whole = np.floor(numbers).astype(np.int64)
        whole[~present(values)] = NO_TIME
        return _from_numbers(whole, numbers - np.floor(numbers), singly=singly)
    if pa.types.is_date(kind):
        column, kind = column.cast(pa.timestamp("ms")), pa.timestamp("ms")
    elif not (pa.types.is_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_null(kind)):
        raise InteractionsError(
            f"column {name!r} of type {kind} cannot hold times; give seconds, timestamps, dates or ISO 8601 text"
        )
    ticks = pc.fill_null(column.cast(pa.int64(), safe=False), NO_TIME).to_numpy()
    if pa.types.is_timestamp(kind):
        return _parted(ticks, np.int64(_TICKS[kind.unit]), np.zeros(len(ticks), np.int64))
    return _from_numbers(ticks, np.zeros(len(ticks)), singly=singly)


NOW = "now"
_FEW_SECONDS = 10**8  # of 1973: a text of so few may be a part of a date
_FEW_DIGITS = re.compile(r"\s*\d{1,8}(\.\d*)?\s*$", re.ASCII)
MAX_SECONDS = 10**11  # the year 5138
TIME_FORMS = (
    "a date or a time like 2024-06-01 or 2024-06-01T12:00:00 (UTC where it has no zone), seconds or milliseconds since "
    f"1970, or {NOW}"
)
"""What a time of a request may be, for messages."""
Moment: TypeAlias = int | float | str | date | np.datetime64
"""A time of a request: a number since 1970, a date, a time, or ``"now"``; see `request_seconds`."""


def request_seconds(given: Sequence[Any], name: str, which: str = "") -> Whole:
    """Give times of requests in seconds since 1970, (N,) int64; each is read as in a log of it alone.

    >>> request_seconds(["2024-06-01T12:00", datetime(2024, 6, 1, 12), 1_717_243_200, 1_717_243_200_000], "times")
    array([1717243200, 1717243200, 1717243200, 1717243200])
    >>> request_seconds([20_240_601, 1_717_200_000], "times")
    array([1717200000, 1717200000])

    Args:
        given: Numbers, texts, dates and times of Python, pandas and NumPy; of UTC where they have no zone.
        name: Of the argument, for the message.
        which: For whom they are, for the message.

    Raises:
        InputError: When one is none of these, or before 1970; or a text of less than 10^8 that is no date in digits.
    """
    seconds = np.full(len(given), NO_TIME)
    is_text = np.array([isinstance(one, str) for one in given], np.bool_)
    is_a_number = np.array([is_number(one, 0, np.iinfo(np.int64).max // 2) for one in given], np.bool_)
    whole = is_a_number & np.array([is_whole(one, 0) for one in given], np.bool_)
    for rows, convert in ((whole, int), (is_a_number & ~whole, float), (is_text, str)):
        if len(chosen := np.flatnonzero(rows)):
            column = pa.array([convert(given[row]) for row in chosen.tolist()])
            seconds[chosen] = read_times(column, name, singly=True).seconds
    for row in np.flatnonzero(is_text & (seconds >= 0) & (seconds < _FEW_SECONDS)).tolist():
        _check_digits(given[row], int(seconds[row]), name)
    for row in np.flatnonzero(~is_a_number).tolist():
        if not is_text[row]:
            seconds[row] = _moment_seconds(given[row])
        elif given[row].strip().lower() == NOW:
            seconds[row] = _moment_seconds(datetime.now(UTC))
    if len(wrong := np.flatnonzero((seconds < 0) | (seconds >= MAX_SECONDS))):
        value = shown_number(given[int(wrong[0])]).removesuffix(" of type str")
        place = f" at position {wrong[0]} (from 0)" * (len(given) > 1)
        raise InputError(
            f"{name} has {value}{place}, which cannot be read as a time; give {TIME_FORMS}{', ' * bool(which)}{which}"
        )
    return seconds


def _check_digits(text: str, seconds: int, name: str) -> None:
    """Refuse a text of few digits that was read as seconds, and not as a date in digits."""
    if _FEW_DIGITS.match(text) and int(text.split(".")[0]) == seconds:
        raise InputError(
            f"{name} has {text!r}, which may be a year or seconds since 1970; give seconds as a number, or a date as "
            "2024-01-01"
        )


def _moment_seconds(value: object) -> int:
    """Give the seconds of a date or a time since 1970; NO_TIME where it is none."""
    if isinstance(value, np.datetime64):
        year = int(value.astype("datetime64[Y]").astype(np.int64))  # 0 is 1970
        in_reach = 0 <= year < MAX_SECONDS // (365 * SECONDS_PER_DAY)  # NumPy computes with larger ones silently
        return int(value.astype("datetime64[s]").astype(np.int64)) if in_reach else int(NO_TIME)
    if isinstance(value, datetime) and value == value:
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return int((moment - _EPOCH) // timedelta(seconds=1))
    if isinstance(value, date) and not isinstance(value, datetime):
        return int((datetime(value.year, value.month, value.day, tzinfo=UTC) - _EPOCH) // timedelta(seconds=1))
    return int(NO_TIME)


def present(values: pa.Array) -> NDArray[np.bool_]:
    """Say which values are not null."""
    mask: NDArray[np.bool_] = pc.is_valid(values).to_numpy(zero_copy_only=False)
    return mask


def per_distinct(text: pa.Array, read: Callable[[str], float], missing: float) -> NDArray[np.generic]:
    """Read each distinct text once: logs repeat themselves, and Python reads more formats than Arrow."""
    encoded = text.dictionary_encode()
    known = np.array([*(read(one) for one in encoded.dictionary.to_pylist()), missing])
    found: NDArray[np.generic] = known[pc.fill_null(encoded.indices, len(encoded.dictionary)).to_numpy()]
    return found


def _parted(ticks: Whole, per_second: np.int64 | Whole, unit: Whole) -> Times:
    """Part whole ticks into seconds and nanoseconds."""
    there = ticks != NO_TIME
    seconds = np.where(there, ticks // per_second, NO_TIME)
    return Times(seconds, np.where(there, ticks % per_second * (_NANOS // per_second), 0), unit)


def _from_numbers(numbers: Whole, fraction: NDArray[np.float64], *, singly: bool) -> Times:
    """Read numbers: (N,) the whole part, NO_TIME where there is none, and what comes after the point."""
    dates = _written_dates(numbers)
    found = dates != NO_TIME
    is_date = found if singly else np.full(len(numbers), 2 * int(found.sum()) > int((numbers != NO_TIME).sum()))
    unit = np.digitize(numbers, _UNIT_STARTS)
    times = _parted(numbers, _PER_SECOND[unit], unit)
    finer = np.round(fraction * (_NANOS // _PER_SECOND[unit])).astype(np.int64)
    return Times(
        np.where(is_date, dates, times.seconds),
        np.where(is_date, 0, times.nanos + finer),
        np.where(is_date, np.where(found, _DIGITS, 0), unit),
    )


def _written_dates(numbers: Whole) -> Whole:
    """Give the seconds of numbers that are dates in digits, NO_TIME for the others.

    No log is in doubt: 20231114 seconds are in August 1970, 202311142213 milliseconds in 1976, and of any numbers in
    that range few have a month and a day where dates have them.
    """
    seconds = np.full(len(numbers), NO_TIME)
    for length in (8, 12, 14):
        day, clock = np.divmod(numbers, 10 ** (length - 8))
        year, month, date = day // 10_000, day // 100 % 100, day % 100
        clock *= 10 ** (14 - length)
        hour, minute, second = clock // 10_000, clock // 100 % 100, clock % 100
        fits = (year >= _FIRST_YEAR) & (year <= _LAST_YEAR) & (month >= 1) & (month <= 12) & (date >= 1)
        fits &= (hour < 24) & (minute < 60) & (second < 60)
        months = np.where(fits, (year - 1970) * 12 + month - 1, 0).astype("datetime64[M]")
        days = months.astype("datetime64[D]") + (date - 1) * fits
        fits &= days.astype("datetime64[M]") == months
        found = days.astype(np.int64) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second
        seconds = np.where(fits, found, seconds)
    return seconds


def _from_text(values: pa.Array, *, singly: bool) -> Times:
    text = pc.utf8_trim_whitespace(values.cast(pa.string()))
    # At most what an int64 holds; Arrow refuses a whole column for one number beyond.
    is_number = pc.fill_null(pc.match_substring_regex(text, r"^-?[1-8]?\d{1,18}(\.\d*)?$"), False)
    digits = pc.if_else(is_number, text, None)
    whole = pc.fill_null(pc.replace_substring_regex(digits, r"\.\d*$", "").cast(pa.int64()), NO_TIME).to_numpy()
    fraction = pc.fill_null(pc.replace_substring_regex(digits, r"^-?\d*", "0").cast(pa.float64()), 0).to_numpy()
    numbers = _from_numbers(whole, fraction, singly=singly)
    micros = per_distinct(pc.if_else(is_number, None, text), _iso_micros, NO_TIME).astype(np.int64)
    written = _parted(micros, np.int64(10**6), np.zeros(len(micros), np.int64))
    a_number = is_number.to_numpy(zero_copy_only=False)
    return Times(
        np.where(a_number, numbers.seconds, written.seconds),
        np.where(a_number, numbers.nanos, written.nanos),
        numbers.unit,
    )


def _iso_micros(text: str) -> int:
    """Give microseconds since 1970; ``UTC`` behind a time, as BigQuery writes it, says what is meant anyway."""
    try:
        moment = datetime.fromisoformat(_UTC.sub("", text))
    except ValueError:
        return NO_TIME
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)

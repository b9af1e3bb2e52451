"""One live event, checked before it is written."""

import hashlib
import json
import math
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from indexing.errors import InputError, InteractionsError, examples
from indexing.runtime.arguments import is_number, is_whole, shown, shown_number
from retrieval.interactions.parse_values import MAX_SECONDS, NOBODY, Moment, request_seconds
from retrieval.serving.config import MAX_NAME_CHARACTERS, MAX_POSITION
from retrieval.serving.events.tables import IMPRESSION

MAX_EVENTS = 10_000  # in one call
SESSION = "session:"
"""Begins the user_id of visitors of whom only the session is known."""
_MAX_WEIGHT = 1e6
_NO_DATE = 10**8  # seconds, of 1973; a smaller number may be a date in digits, as 20240601


@dataclass(frozen=True, slots=True)
class Event:
    """What somebody did with an item, or was shown.

    Attributes:
        item_id: The item.
        type: What was done, as in `retrieval.interactions.event_types`; or ``"impression"``: it was shown.
        user_id: Who; ``session:ID`` where only the session is known.
        session_id: In which visit.
        time: When, read as ``times`` of `Retriever.recommend`; now when None.
        weight: Multiplies the weight of the type.
        position: At which place of a list, from 1; an impression needs it.
        request_id: Of the answer in which the item was shown.
        variant: The scenario of that answer.
        event_id: Names the event: a second one of the same name is not counted. Made up when "".
    """

    item_id: str
    type: str
    user_id: str = ""
    session_id: str | None = None
    time: Moment | None = None
    weight: float = 1.0
    position: int | None = None
    request_id: str | None = None
    variant: str | None = None
    event_id: str = ""


_FIELDS = frozenset(field.name for field in fields(Event))
_TEXTS = ("item_id", "type", "user_id", "session_id", "request_id", "variant", "event_id")
_OPTIONAL = ("session_id", "request_id", "variant")


def impressions(
    item_ids: Sequence[str],
    request_id: str,
    *,
    user_id: str = "",
    session_id: str | None = None,
    time: Moment | None = None,
    variant: str | None = None,
) -> list[Event]:
    """Give the impressions of an answer, by its request_id; they have names of their own, and count once.

    An answer to several users has one request_id: the names differ by the user, or else by the session. They differ by
    the item too, so that other items of the answer, as those of a second page, may be sent later.

    Raises:
        InteractionsError: When an item is named twice.

    >>> shown = impressions(["mug", "cup"], "r1", user_id="ann")
    >>> [(one.position, one.item_id) for one in shown]
    [(1, 'mug'), (2, 'cup')]
    >>> shown == impressions(["mug", "cup"], "r1", user_id="ann")
    True
    """
    if len(set(item_ids)) < len(item_ids):
        twice = next(item for place, item in enumerate(item_ids) if item in item_ids[:place])
        raise InteractionsError(f"item_ids names {twice!r} twice, which an answer shows once; name each item once")
    whose = user_id or f"{SESSION}{session_id}"
    common: dict[str, Any] = {"user_id": user_id, "session_id": session_id, "time": time, "variant": variant}
    common |= {"type": IMPRESSION, "request_id": request_id}
    return [
        Event(item_id, position=place, event_id=f"shown:{_digest(whose, request_id, item_id)}", **common)
        for place, item_id in enumerate(item_ids, start=1)
    ]


def _digest(*parts: object) -> str:
    """Give a short name of texts that may be long, and hold any character."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]


def rows_of(events: Sequence[Event | Mapping[str, Any]], types: Collection[str]) -> list[dict[str, Any]]:
    """Check events, and give their rows in the table.

    Args:
        events: The events, or mappings with the same names.
        types: The known types.

    Raises:
        InteractionsError: For an event that cannot be used; names its position, the value and what to give.
    """
    if isinstance(events, str | Mapping) or not isinstance(events, Sequence):
        raise InteractionsError(f"events are {shown(events)}; give a list of them")
    if len(events) > MAX_EVENTS:
        raise InteractionsError(f"{len(events)} events at once; give at most {MAX_EVENTS}, in several calls")
    seconds = int(time.time())
    return [_row(event, place, types, seconds) for place, event in enumerate(events)]


def _row(given: object, place: int, types: Collection[str], now: int) -> dict[str, Any]:
    try:
        values = _values(given)
        for name in _TEXTS:
            _check_text(values, name)
        _check_user(values)
        _check_type(values, types)
        _check_time(values, now)
        _check_numbers(values)
    except InteractionsError as error:
        raise InteractionsError(f"event {place} (from 0): {error}; none of these events was written") from error
    values["event_id"] = values["event_id"] or uuid.uuid4().hex
    values["is_shown"] = values["type"] == IMPRESSION
    return values


def _values(given: object) -> dict[str, Any]:
    event = _as_event(given)
    return {name: getattr(event, name) for name in _FIELDS}  # asdict would copy each value


def _as_event(given: object) -> Event:
    if isinstance(given, Event):
        return given
    if not isinstance(given, Mapping):
        raise InteractionsError(f"it is {shown(given)}; give an Event, or an object with {', '.join(sorted(_FIELDS))}")
    if unknown := sorted(map(str, given.keys() - _FIELDS)):
        raise InteractionsError(f"it has the unknown field {unknown[0]!r}; the fields are {', '.join(sorted(_FIELDS))}")
    if missing := [name for name in ("item_id", "type") if name not in given]:
        raise InteractionsError(f"it has no {missing[0]}; give one")
    return Event(**given)


def _check_text(values: dict[str, Any], name: str) -> None:
    value = values[name]
    if (value is None and name in _OPTIONAL) or (value in ("", None) and name in ("event_id", "user_id")):
        values[name] = None if name in _OPTIONAL else ""
        return
    problem = ""
    if not isinstance(value, str) or not value.strip():
        problem = "which is no text"
    elif len(value) > MAX_NAME_CHARACTERS:
        problem = f"of {len(value)} characters"
    elif not value.isprintable():  # control characters, zeros and lone surrogates among them
        problem = "with a character that cannot be printed"
    if problem:
        given = shown(value).removesuffix(" of type str")
        raise InteractionsError(f"{name} is {given}, {problem}; give a text of 1 to {MAX_NAME_CHARACTERS} characters")


def _check_user(values: dict[str, Any]) -> None:
    if values["user_id"] in NOBODY:
        raise InteractionsError(
            f"user_id is {values['user_id']!r}, a word for nobody; give a name, or a session_id alone"
        )
    if not values["user_id"]:
        if values["session_id"] is None:
            raise InteractionsError("neither a user_id nor a session_id says whose it is; give one")
        values["user_id"] = SESSION + values["session_id"]


def _check_type(values: dict[str, Any], types: Collection[str]) -> None:
    if values["type"] not in types and values["type"] != IMPRESSION:
        raise InteractionsError(
            f"type is {values['type']!r}, which has no weight; give one of {examples([IMPRESSION, *types], 40)}, or "
            "start the service with a table of types that has it"
        )


def _check_time(values: dict[str, Any], now: int) -> None:
    value, latest = values["time"], now + SECONDS_PER_DAY  # a day of grace for clocks
    seconds = now if value is None else seconds_of(value)
    if seconds > latest:
        raise InteractionsError(
            f"time is {shown_number(value)}, which is in the future; give that of the event, or leave it out for now"
        )
    values["time"] = seconds


def seconds_of(value: object) -> int:
    """Read the time of an event in seconds since 1970; whole seconds without a detour through arrays.

    Raises:
        InteractionsError: When it is no time.
    """
    if is_whole(value, _NO_DATE) and value < MAX_SECONDS:  # type: ignore[operator]
        return int(value)  # type: ignore[call-overload, no-any-return]
    try:
        return int(request_seconds([value], "time")[0])
    except InputError as error:
        raise InteractionsError(str(error)) from error


def _check_numbers(values: dict[str, Any]) -> None:
    weight, position = values["weight"], values["position"]
    if not is_number(weight, 0, _MAX_WEIGHT) or not weight > 0 or math.isnan(weight):
        raise InteractionsError(
            f"weight is {shown_number(weight)}; give a number above 0 and up to {_MAX_WEIGHT:g}, which multiplies that "
            "of the type"
        )
    values["weight"] = float(weight)
    if position is None and values["type"] == IMPRESSION:
        raise InteractionsError("an impression has no position; give the place in the list, from 1")
    if position is not None:
        if not is_whole(position, 1) or position > MAX_POSITION:
            raise InteractionsError(
                f"position is {shown_number(position)}; give a whole number from 1 to {MAX_POSITION}"
            )
        values["position"] = int(position)

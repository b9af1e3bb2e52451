"""Remove earlier states from object storage, and objects that no state needs, while others push and pull.

A state is kept if it is one of the newest, or was the newest within `GRACE`: whoever began to pull it has that long. An
object that no kept state lists is kept for `GRACE` too, for a push that is under way or was interrupted.

Nothing that a later state needs can go. A push takes objects over from the newest state, which is never removed, and
fails when another became the newest meanwhile. Others it takes over only as long as they stay for half of `GRACE`, and
gives up after that. Objects are listed before states, so that what was pushed in between is seen as needed.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from indexing.errors import MissingObjectError
from indexing.exchange.object_storage.base import ObjectInfo, WritableObjects
from indexing.exchange.object_storage.state import OBJECTS, PUSHING, STATES, read_pushed_state, state_name, state_number

GRACE = timedelta(hours=24)
BATCH = 1_000  # names to remove in one call


def lasting_objects(objects: WritableObjects, now: datetime) -> dict[str, str]:
    """Return objects that `expire` leaves alone for half of `GRACE` at least, by the sha256 of their content.

    Raises:
        DamagedFileError: When a state that was the newest lately is damaged.
    """
    found = [info.name for info in objects.find(OBJECTS) if not _is_old(info, now, GRACE / 2)]
    lasting = {name.removeprefix(f"{OBJECTS}/").partition(".")[0]: name for name in found}
    states = _states(objects)
    for number in sorted(states):
        if _was_newest(number, states, now, GRACE / 2):
            with suppress(MissingObjectError):  # removed meanwhile
                state = read_pushed_state(objects, number)
                lasting |= {file.sha256: file.object for file in (*state.files, *state.changes)}
    return lasting


def expire(objects: WritableObjects, keep: int, now: datetime) -> tuple[int, int]:
    """Remove what is not needed any more.

    Args:
        objects: The place.
        keep: How many of the newest states stay whatever their age; at least 1.
        now: The time, by the clock of the storage.

    Returns:
        How many states and how many objects were removed.

    Raises:
        StorageError: When a state that is kept cannot be read; nothing is removed then.
        DamagedFileError: When it is damaged; nothing is removed then.
    """
    found, states = objects.find(OBJECTS), _states(objects)
    numbers = sorted(states)
    kept = [number for number in numbers if number in numbers[-keep:] or _was_newest(number, states, now)]
    needed: set[str] = set()
    for number in kept:
        state = read_pushed_state(objects, number)
        needed.update(file.object for file in (*state.files, *state.changes))
    gone = [number for number in numbers if number not in kept]
    unneeded = [info.name for info in found if info.name not in needed and _is_old(info, now)]
    # States first: none may name what is gone.
    _remove(objects, [state_name(number) for number in gone])
    _remove(objects, unneeded)
    _remove(objects, [info.name for info in objects.find(PUSHING) if _is_old(info, now)])
    return len(gone), len(unneeded)


def _states(objects: WritableObjects) -> dict[int, ObjectInfo]:
    return {number: info for info in objects.find(STATES) if (number := state_number(info)) is not None}


def _was_newest(number: int, states: dict[int, ObjectInfo], now: datetime, within: timedelta = GRACE) -> bool:
    """Whether a state was the newest within some time."""
    later = min((other for other in states if other > number), default=None)
    return later is None or not _is_old(states[later], now, within)


def _is_old(info: ObjectInfo, now: datetime, age: timedelta = GRACE) -> bool:
    """Whether an object was written longer ago."""
    return info.modified is not None and info.modified < now - age


def _remove(objects: WritableObjects, names: Sequence[str]) -> None:
    for start in range(0, len(names), BATCH):
        objects.remove(names[start : start + BATCH])

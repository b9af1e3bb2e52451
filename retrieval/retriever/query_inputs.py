"""What queries are made of, opened: pictures, sounds, and always several."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexing.arrays.types import Rows
from indexing.encoders.base import AudioEncoder, Encoder
from indexing.encoders.inference.batching import checked_texts
from indexing.errors import InputError, ShapeError
from indexing.media.audio import Sound, read_sound
from indexing.media.decode import Task, Unusable
from indexing.media.files import Kind, UnusableFile, named
from indexing.media.images import read_picture
from indexing.runtime.arguments import check_array, plural, shown
from indexing.store.shared_pool import decode_all, task_for

Picture = Image.Image | bytes | Path | str
Recording = Sound | bytes | Path | str


def worded(texts: Sequence[str]) -> None:
    """Check the texts of queries: each a text in which there is something to read.

    Raises:
        InputError: When one is not, with its position.
    """
    plural(texts, "texts")
    checked_texts(texts)
    for place, text in enumerate(texts):
        if not any(character.isprintable() and not character.isspace() for character in text):
            raise InputError(f"text {place} is {text!r:.60}, in which there is nothing to search for; leave it out")


def past_rows(histories: Sequence[Rows], items: int) -> None:
    """Check that histories are rows of so many items.

    Raises:
        InputError: When they are something else, with the position.
    """
    plural(histories, "histories")
    if all(isinstance(one, np.ndarray) and one.ndim == 1 and one.dtype == np.int64 for one in histories):
        together = np.concatenate([np.empty(0, np.int64), *histories])  # all at once, as they mostly are right
        if not together.size or 0 <= together.min() <= together.max() < items:
            return
    for user, history in enumerate(histories):
        rows = check_array(history, f"histories[{user}]", np.int64, "give the rows of items, as ItemIds.rows does")
        if rows.ndim != 1 or (rows.size and not 0 <= rows.min() <= rows.max() < items):
            raise InputError(f"histories[{user}] is {shown(history)}; give rows from 0 to {items - 1}")


def weighed(weights: object, histories: Sequence[Sequence[str]]) -> None:
    """Check that weights are a list of numbers for each history.

    Raises:
        InputError: When they are something else, with the position.
    """
    if weights is None:
        return
    plural(weights, "weights")
    for user, one in enumerate(weights):  # type: ignore[var-annotated, arg-type]
        plural(one, f"weights[{user}]")
        try:
            np.asarray(one, np.float32)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"weights[{user}] are {one!r:.60}, expected a number for each item ({error})") from error
    if len(weights) != len(histories):  # type: ignore[arg-type]
        raise ShapeError(f"{len(weights)} weights for {len(histories)} histories; give a list for each")  # type: ignore[arg-type]


def open_sounds(sounds: Sequence[Recording], encoder: AudioEncoder) -> list[Sound]:
    """Open the sounds of queries as a build would, by another process with limits; samples are taken as they are.

    Raises:
        InputError: When one cannot be read.
    """
    task = task_for(encoder)
    files = {
        place: _read("sound", place, sound, lambda source: read_sound(source, task.sounds))
        for place, sound in enumerate(sounds)
        if not isinstance(sound, np.ndarray)
    }
    arrays = _decoded(Kind.AUDIO, "sound", files, sounds, task)
    opened: dict[int, Any] = dict(enumerate(sounds)) | arrays
    return list(opened.values())


def open_pictures(images: Sequence[Picture], encoder: Encoder) -> list[Image.Image]:
    """Open the pictures of queries as a build would, by another process with limits; PIL images are taken as they are.

    Raises:
        InputError: When one cannot be read.
    """
    task = task_for(encoder)
    files = {
        place: _read("picture", place, image, lambda source: read_picture(source, task.pictures))
        for place, image in enumerate(images)
        if not isinstance(image, Image.Image)
    }
    arrays = _decoded(Kind.IMAGE, "picture", files, images, task)
    opened: dict[int, Any] = dict(enumerate(images)) | {at: Image.fromarray(array) for at, array in arrays.items()}
    return list(opened.values())


def _read(what: str, position: int, given: object, read: Callable[[bytes | Path], bytes]) -> bytes:
    try:
        return read(_located(what, position, given))
    except UnusableFile as reason:
        raise InputError(_told(what, position, given, str(reason))) from reason


def _decoded(
    kind: Kind, what: str, files: Mapping[int, bytes], given: Sequence[object], task: Task
) -> dict[int, NDArray[Any]]:
    arrays = {}
    for position, outcome in zip(files, decode_all(kind, list(files.values()), task), strict=True):
        if isinstance(outcome, Unusable):
            raise InputError(_told(what, position, given[position], outcome.reason))
        arrays[position] = outcome.arrays[0]
    return arrays


def _told(what: str, position: int, given: object, reason: str) -> str:
    name = "" if isinstance(given, bytes) or str(given) in reason else str(given)
    return f"query {what} {position}: {named(reason, name)}"


def _located(what: str, position: int, given: object) -> bytes | Path:
    """Give a file by its bytes or its path.

    Raises:
        InputError: When it is neither.
    """
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given)
    if isinstance(given, str | Path):
        return Path(given)
    kind = type(given).__name__
    raise InputError(f"query {what} {position} is of type {kind}: give the bytes of a file or the path of one")

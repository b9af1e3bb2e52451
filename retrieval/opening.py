"""What queries are made of, opened: pictures, sounds, and always several."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexing.decoding.decode import Task, Unusable
from indexing.decoding.shared import decode_all, task_for
from indexing.encoders.base import AudioEncoder, Encoder
from indexing.errors import InputError
from indexing.files import UnusableFile, named
from indexing.media import Kind
from indexing.pictures import read_picture
from indexing.sounds import Sound, read_sound

Picture = Image.Image | bytes | Path | str
Recording = Sound | bytes | Path | str


def plural(values: object, name: str) -> None:
    """Refuse a single string where a sequence of them is meant: it would be read letter by letter.

    Raises:
        InputError: When it is one.
    """
    if isinstance(values, str | bytes):
        raise InputError(f"{name} is the single value {values!r:.60}; give a list, even of one: [{values!r:.60}]")


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

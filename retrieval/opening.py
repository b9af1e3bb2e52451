"""What queries are made of, opened: pictures, sounds, and always several."""

from pathlib import Path

import numpy as np
from PIL import Image

from indexing.errors import InputError
from indexing.files import named
from indexing.pictures import PictureLimits, UnusablePicture, decode_picture, read_picture
from indexing.sounds import Sound, SoundLimits, UnusableSound, decode_sound, read_sound

Picture = Image.Image | bytes | Path | str
Recording = Sound | bytes | Path | str


def plural(values: object, name: str) -> None:
    """Refuse a single string where a sequence of them is meant: it would be read letter by letter.

    Raises:
        InputError: When it is one.
    """
    if isinstance(values, str | bytes):
        raise InputError(f"{name} is the single value {values!r:.60}; give a list, even of one: [{values!r:.60}]")


def open_sound(position: int, sound: Recording, rate: int) -> Sound:
    """Open the sound of a query; samples are taken as they are.

    Raises:
        InputError: When it cannot be read.
    """
    if isinstance(sound, np.ndarray):
        return sound
    limits = SoundLimits()
    try:
        return decode_sound(read_sound(_located("sound", position, sound), limits), rate, limits)
    except UnusableSound as reason:
        raise InputError(_told("sound", position, sound, str(reason))) from reason


def open_picture(position: int, picture: Picture) -> Image.Image:
    """Open the picture of a query.

    Raises:
        InputError: When it cannot be read.
    """
    if isinstance(picture, Image.Image):
        return picture
    limits = PictureLimits()
    try:
        return decode_picture(read_picture(_located("picture", position, picture), limits), limits)
    except UnusablePicture as reason:
        raise InputError(_told("picture", position, picture, str(reason))) from reason


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

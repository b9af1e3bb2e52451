"""What encoders share: texts as valid text, and batches that come back in order."""

import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from PIL import Image

from indexing.arrays import Vectors, unit
from indexing.catalogue.cleaning import MAX_TEXT_LENGTH
from indexing.errors import InputError, ShapeError, VectorError
from indexing.media.audio import Sound
from indexing.media.image_form import Pixels
from indexing.runtime.threads import about_to_compute

Content = TypeVar("Content")
BATCH_SIZE = 64


def well_formed(text: str) -> str:
    r"""Return a text cut to length, with a question mark for each lone surrogate, which no tokenizer takes.

    >>> well_formed("caf\u00e9 \ud83d") == "caf\u00e9 ?"
    True
    """
    return text[:MAX_TEXT_LENGTH].encode("utf-8", "replace").decode()


def checked_texts(texts: Sequence[str]) -> Sequence[str]:
    """Return texts as they are.

    Raises:
        InputError: When there is but one, or one is no text.
    """
    if isinstance(texts, str | bytes):
        raise InputError(f"texts is the single value {texts!r:.60}; give a list, even of one: [{texts!r:.60}]")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {position} is {text!r:.60} of type {type(text).__name__}, expected a str")
    return texts


def checked_sounds(sounds: Sequence[Sound]) -> list[Sound]:
    """Return sounds as float32.

    Raises:
        ShapeError: When one is not (S,) with S >= 1.
        VectorError: When one has samples that are not finite.
    """
    checked = [np.asarray(sound, np.float32) for sound in sounds]
    for position, sound in enumerate(checked):
        if sound.ndim != 1 or not sound.size:
            raise ShapeError(
                f"sound {position} has shape {sound.shape}, expected (S,): one channel, at least one sample"
            )
        if not np.isfinite(sound).all():
            raise VectorError(f"sound {position} has samples that are not finite: read sounds with decode_sound")
    return checked


def checked_images(images: Sequence[Image.Image]) -> Sequence[Image.Image]:
    """Return pictures as they are.

    Raises:
        InputError: When one is no PIL image: bytes and paths are opened by `decode_picture` or `search_images`.
    """
    for position, image in enumerate(images):
        if not isinstance(image, Image.Image):
            raise InputError(
                f"picture {position} is of type {type(image).__name__}, not a PIL image: open files with "
                f"decode_picture, or search with search_images, which takes bytes and paths"
            )
    return images


def in_batches(
    contents: Sequence[Content], encode: Callable[[Sequence[Content]], Vectors], dim: int, size: int = BATCH_SIZE
) -> Vectors:
    """Encode batch by batch: (N, D) float32 of unit length, (0, D) for no contents."""
    torch = sys.modules.get("torch")  # that of an encoder, which has loaded it by now
    about_to_compute(torch.get_num_threads() if torch else 1)
    parts = [unit(encode(contents[start : start + size])) for start in range(0, len(contents), size)]
    return np.concatenate(parts) if parts else np.empty((0, dim), np.float32)


def pixels_in_batches(pixels: Pixels, encode: Callable[[Pixels], Vectors], dim: int, size: int) -> Vectors:
    """Encode prepared pictures (N, H, W, 3) batch by batch: (N, D) float32 of unit length."""
    return in_batches(range(len(pixels)), lambda positions: encode(pixels[positions[0] : positions[-1] + 1]), dim, size)


def by_length(
    token_counts: Sequence[int], encode: Callable[[Sequence[int]], Vectors], dim: int, size: int = BATCH_SIZE
) -> Vectors:
    """Encode texts in batches of similar length, since a batch costs what its longest text costs.

    Args:
        token_counts: The length of each of N texts.
        encode: Embeds the texts at some places: (B, D).
        dim: D.
        size: Texts a batch.

    Returns:
        (N, D) float32 of unit length, in the order of the texts.
    """
    order = sorted(range(len(token_counts)), key=token_counts.__getitem__)
    vectors = np.empty((len(order), dim), np.float32)
    vectors[order] = in_batches(order, encode, dim, size)
    return vectors

"""Reading pictures that anyone may have sent: bounded, and never fatal to their neighbours."""

import io
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from indexing.files import UnusableFile, read_file

# Pillow's other decoders (EPS, FITS, PDF, TIFF, …) have a history of memory errors and are of no use here.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")


@dataclass(frozen=True)
class PictureLimits:
    """What a single picture may cost; one beyond it is refused before it is decoded.

    Attributes:
        pixels: Most pixels, as its header claims.
        file_bytes: Most bytes of its file.
    """

    pixels: int = 40_000_000
    file_bytes: int = 20_000_000


class UnusablePicture(UnusableFile):
    """A picture that cannot be used, with the reason."""


def read_picture(source: bytes | Path, limits: PictureLimits) -> bytes:
    """Give the bytes of a picture's file.

    Raises:
        UnusablePicture: When the file is missing, unreadable, empty or too large.
    """
    return read_file(source, limits.file_bytes, "image", UnusablePicture)


def decode_picture(data: bytes, limits: PictureLimits, at_least: int | None = None) -> Image.Image:
    """Decode the first frame of a picture after reading its size from the header, and turn it upright.

    Args:
        data: The bytes of its file.
        limits: What it may cost.
        at_least: Let a JPEG be decoded at a fraction of its size, as long as both sides stay this long: much faster,
            and where the result is scaled down anyway, almost the same.

    Raises:
        UnusablePicture: When it is of no known format, too large, broken or cut short.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata and large sizes; our limit decides
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            if image.width * image.height > limits.pixels:
                raise UnusablePicture(f"image of {image.width} x {image.height} is over {limits.pixels} pixels")
            if at_least is not None:
                image.draft(None, (at_least, at_least))
            image.load()
            _turn_upright(image)
            return image
    except UnidentifiedImageError as error:
        raise UnusablePicture(f"image is none of {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:  # Pillow's own limit, beyond which it does not even read the header
        raise UnusablePicture(f"image is over {limits.pixels} pixels") from error
    except UnusablePicture:
        raise
    except Exception as error:  # decoders raise many kinds (OSError, SyntaxError, struct.error, …) on broken bytes
        raise UnusablePicture(f"image is broken: {type(error).__name__}: {error}") from error


def _turn_upright(image: Image.Image) -> None:
    """Turn a picture as its camera was held; broken metadata says nothing about the picture itself."""
    # The metadata of strangers raises SyntaxError, struct.error, ZeroDivisionError, …
    with suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


def to_rgb(image: Image.Image) -> Image.Image:
    """Give any picture as RGB, transparency shown on white.

    >>> to_rgb(Image.new("RGBA", (1, 1), (255, 0, 0, 0))).getpixel((0, 0))
    (255, 255, 255)
    """
    if image.mode in ("RGBa", "La"):  # colours already multiplied by their opacity
        image = image.convert(image.mode.upper())
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(layered, mask=layered.getchannel("A"))
        return white
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16-bit greys are clipped by a plain conversion
        return Image.fromarray((np.asarray(image, np.int64) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def thumbnail(source: bytes | Path, limits: PictureLimits, side: int) -> bytes | None:
    """Give a picture as a small JPEG whose longer side has at most so many pixels; None when it cannot be used."""
    try:
        image = to_rgb(decode_picture(read_picture(source, limits), limits, at_least=side))
    except UnusablePicture:
        return None
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()

"""Images: formats (told by the first bytes, never the name), decoding within limits, and a hash of looks."""

import io
import warnings
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from indexing.errors import MissingExtraError, import_extra
from indexing.media.files import FileSource, UnusableFile, read_file
from indexing.runtime.arguments import check_limits

# Pillow's other decoders (EPS, FITS, PDF, TIFF, …) have a history of memory errors and are of no use here.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
START = 64  # bytes of a file that tell its format
_AVIF, _HEIF = {b"avif", b"avis"}, {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"8BPS": "PSD",
    b"\0\0\1\0": "ICO",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
}
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes; two letters alone begin many a text


def picture_format(start: bytes) -> str | None:
    """Detect the format of a picture by the first `START` bytes of its file; None where it is no picture.

    >>> picture_format(b"GIF89a"), picture_format(b"....ftypavif"), picture_format(b"BMW, red")
    ('GIF', 'AVIF', None)
    """
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    if start[:2] == b"BM" and int.from_bytes(start[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if start[4:8] == b"ftyp":
        brands = {start[8:12], *(start[offset : offset + 4] for offset in range(16, len(start), 4))}
        return "AVIF" if brands & _AVIF else "HEIF" if brands & _HEIF else None
    return next((name for magic, name in _STARTS.items() if start.startswith(magic)), None)


def webp_size(start: bytes) -> tuple[int, int]:
    """Return width and height of a WebP by its header, 0 and 0 where it has none that is known.

    >>> webp_size(b"RIFF....WEBPVP8X" + bytes(8) + bytes([9, 0, 0, 4, 0, 0]))
    (10, 5)
    """
    if len(start) < 30:
        return 0, 0
    if start[12:16] == b"VP8X":
        return 1 + int.from_bytes(start[24:27], "little"), 1 + int.from_bytes(start[27:30], "little")
    if start[12:16] == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if start[12:16] == b"VP8 ":
        return int.from_bytes(start[26:28], "little") & 0x3FFF, int.from_bytes(start[28:30], "little") & 0x3FFF
    return 0, 0


def decoder_of(name: str | None) -> tuple[str, ...]:
    """Return the decoders that may read a picture of some format: those of `FORMATS`, or that of AVIF or HEIF.

    Raises:
        MissingExtraError: When it is HEIF, and pillow-heif is not installed.
    """
    if name == "AVIF" and _has_avif():
        return ("AVIF",)
    if name == "HEIF":
        heif = import_extra("pillow_heif", "heif")
        heif.options.DECODE_THREADS = 1
        heif.register_heif_opener(thumbnails=False)
        return ("HEIF",)
    return FORMATS


def _has_avif() -> bool:
    from PIL import features

    if not features.check("avif"):
        return False
    from PIL import AvifImagePlugin

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    return True


def why_not_read(name: str | None) -> str:
    """Say why a picture of a format that is not read cannot be used."""
    if name is None:
        return f"image is none of {', '.join((*FORMATS, 'AVIF', 'HEIF'))}"
    if name in (*FORMATS, *decoder_of(name)):
        return f"image is a broken {name}"
    if name == "AVIF":
        return "image is AVIF, which this Pillow cannot read: install Pillow 11.3 or later"
    return f"image is {name}, which is not read: convert it to PNG or JPEG"


# Decoders that hold several copies of a picture get smaller ones: the share of the pixels that others may have.
PIXEL_FRACTIONS = {"WEBP": 0.45, "AVIF": 0.75}
MAX_PARTS = {"JPEG": 1_000, "PNG": 20_000}  # segments and chunks, which Pillow reads one by one in Python
MAX_SIDE = 65_535  # pixels, as in JPEG: a decoder also keeps something for each line
MAX_SCANS = 100  # of a progressive JPEG, which has about ten; each costs a pass over all pixels
START_OF_SCAN = b"\xff\xda"  # nothing but a marker in the coded data of a JPEG


@dataclass(frozen=True)
class ImageLimits:
    """What a single picture may cost; one beyond it is refused before it is decoded.

    Attributes:
        pixels: Most pixels, as its header claims.
        file_bytes: Most bytes of its file.
    """

    pixels: int = 40_000_000
    file_bytes: int = 20_000_000

    def __post_init__(self) -> None:
        check_limits(self)


class UnusableImage(UnusableFile):
    """A picture that cannot be used, with the reason."""


def read_picture(source: FileSource, limits: ImageLimits) -> bytes:
    """Return the bytes of a picture's file.

    Raises:
        UnusableImage: When the file is missing, unreadable, empty or too large.
    """
    return read_file(source, limits.file_bytes, "image", UnusableImage)


def decode_picture(data: bytes, limits: ImageLimits, min_side: int | None = None) -> Image.Image:
    """Decode the first frame of a picture after reading its size from the header, and turn it upright.

    Args:
        data: The bytes of its file.
        limits: What it may cost.
        min_side: Let a JPEG be decoded at a fraction of its size, as long as both sides stay this long: much faster,
            and where the result is scaled down anyway, almost the same.

    Raises:
        UnusableImage: When it is of no known format, too large, broken or cut short.
    """
    name = picture_format(data[:START])
    if name in MAX_PARTS and _has_more_parts(data, name, MAX_PARTS[name]):
        raise UnusableImage(f"image of over {MAX_PARTS[name]} parts before its pixels end")
    if name == "WEBP":  # its decoder takes the memory for all pixels when it is made
        _check_pixels(*webp_size(data[:START]), name, limits)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata and large sizes; our limit decides
            image = Image.open(io.BytesIO(data), formats=decoder_of(name))
            _check_cost(image, data, limits)
            _scale_transparency(image)
            if min_side is not None:
                image.draft(None, (min_side, min_side))
            image.load()
            _turn_upright(image)
            return image
    except UnidentifiedImageError as error:
        raise UnusableImage(why_not_read(name)) from error
    except MissingExtraError as error:
        raise UnusableImage(f"image is {name}: {error}") from error
    except Image.DecompressionBombError as error:  # Pillow's own limit, beyond which it does not even read the header
        raise UnusableImage(f"image is over {limits.pixels} pixels") from error
    except UnusableImage:
        raise
    except Exception as error:  # decoders raise many kinds (OSError, SyntaxError, struct.error, …) on broken bytes
        raise UnusableImage(f"image is broken: {type(error).__name__}: {error}") from error


def _check_cost(image: Image.Image, data: bytes, limits: ImageLimits) -> None:
    """Refuse a picture whose header says that decoding it would cost too much."""
    _check_pixels(image.width, image.height, image.format or "", limits)
    if max(image.size) > MAX_SIDE:
        raise UnusableImage(f"image of {image.width} x {image.height} is over {MAX_SIDE} pixels on one side")
    if image.format in ("JPEG", "MPO") and (scans := data.count(START_OF_SCAN)) > MAX_SCANS:
        raise UnusableImage(f"image of {scans} scans is over {MAX_SCANS} scans")


def _check_pixels(width: int, height: int, name: str, limits: ImageLimits) -> None:
    max_pixels = int(limits.pixels * PIXEL_FRACTIONS.get(name, 1))
    if width * height > max_pixels:
        of_format = f" of a {name}" if name in PIXEL_FRACTIONS else ""
        raise UnusableImage(f"image of {width} x {height} is over {max_pixels} pixels{of_format}")


def _has_more_parts(data: bytes, name: str, max_parts: int) -> bool:
    """Whether a JPEG has more than so many segments before its first scan, or a PNG so many chunks."""
    offset = 2 if name == "JPEG" else 8
    for _ in range(max_parts + 1):
        head = data[offset : offset + 8]
        if (
            len(head) < 8
            or head[4:] == b"IEND"
            or (name == "JPEG" and (head[0] != 0xFF or head[1] == START_OF_SCAN[1]))
        ):
            return False
        if name == "PNG":
            offset += 12 + int.from_bytes(head[:4], "big")
        elif head[1] in (0x00, 0xFF):  # fill bytes
            offset += 1
        else:  # a marker alone, or one with its length
            offset += 2 if 0xD0 <= head[1] <= 0xD9 or head[1] == 1 else 2 + int.from_bytes(head[2:4], "big")
    return True


def _scale_transparency(image: Image.Image) -> None:
    """Return the colour that a PNG names as transparent in the depth that its pixels are read in."""
    tiles = getattr(image, "tile", ())
    transparent, layout = image.info.get("transparency"), tiles[0].args if tiles else None
    if layout in ("L;2", "L;4") and isinstance(transparent, int):
        image.info["transparency"] = transparent * (85 if layout == "L;2" else 17)
    elif layout == "RGB;16B" and isinstance(transparent, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in transparent)


def _turn_upright(image: Image.Image) -> None:
    """Turn a picture as its camera was held; broken metadata says nothing about the picture itself."""
    # The metadata of strangers raises SyntaxError, struct.error, ZeroDivisionError, …
    with suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return any picture as RGB, transparency shown on white.

    >>> to_rgb(Image.new("RGBA", (1, 1), (255, 0, 0, 0))).getpixel((0, 0))
    (255, 255, 255)
    """
    if image.mode in ("RGBa", "La"):  # colours already multiplied by their opacity
        image = image.convert(image.mode.upper())
    if image.mode.startswith("I"):  # 16-bit greys are clipped by a plain conversion
        return _grey(image).convert("RGB")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(layered, mask=layered.getchannel("A"))
        return white
    if image.mode == "RGB":
        return image
    return image.convert("RGB")


def _grey(image: Image.Image) -> Image.Image:
    """Return a 16-bit grey picture as 8-bit grey; the grey that stands for transparency becomes white."""
    values = np.asarray(image, np.int64)
    grey = (values >> 8).clip(0, 255).astype(np.uint8)
    if isinstance(transparent := image.info.get("transparency"), int):
        grey[values == transparent] = 255
    return Image.fromarray(grey)


MIN_STEP = 4  # shades of grey between neighbours that can be seen


MIN_STEPS = (
    24  # of 64; with fewer, as in a small thing on white, most bits say nothing, and any two such pictures match
)


def difference_hash(image: Image.Image) -> int | None:
    """Give 64 bits that say where a grey picture gets brighter from left to right; None with too little detail.

    >>> difference_hash(Image.linear_gradient("L").rotate(90)) == 2**64 - 1
    True
    >>> difference_hash(Image.new("RGB", (50, 50), "red")) is None
    True
    """
    small = image.convert("L").resize((9, 8), Image.Resampling.BOX)
    grey = np.asarray(small, np.int16)
    steps = np.diff(grey, axis=1)
    if np.count_nonzero(np.abs(steps) >= MIN_STEP) < MIN_STEPS:
        return None
    return int(np.packbits(steps > 0).view(">u8")[0])

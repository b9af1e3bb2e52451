"""Which picture formats are read, told by the first bytes of a file and never by its name."""

from indexing.errors import import_extra

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
    """Tell the format of a picture by the first `START` bytes of its file; None where it is no picture.

    >>> picture_format(b"GIF89a"), picture_format(b"....ftypavif"), picture_format(b"BMW, red")
    ('GIF', 'AVIF', None)
    """
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WEBP"
    if start[:2] == b"BM" and int.from_bytes(start[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if start[4:8] == b"ftyp":
        brands = {start[8:12], *(start[place : place + 4] for place in range(16, len(start), 4))}
        return "AVIF" if brands & _AVIF else "HEIF" if brands & _HEIF else None
    return next((name for magic, name in _STARTS.items() if start.startswith(magic)), None)


def webp_size(start: bytes) -> tuple[int, int]:
    """Give width and height of a WebP by its header, 0 and 0 where it has none that is known.

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
    """Give the decoders that may read a picture of some format: those of `FORMATS`, or that of AVIF or HEIF.

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


def unread(name: str | None) -> str:
    """Say why a picture of a format that is not read cannot be used."""
    if name is None:
        return f"image is none of {', '.join((*FORMATS, 'AVIF', 'HEIF'))}"
    if name in (*FORMATS, *decoder_of(name)):
        return f"image is a broken {name}"
    if name == "AVIF":
        return "image is AVIF, which this Pillow cannot read: install Pillow 11.3 or later"
    return f"image is {name}, which is not read: convert it to PNG or JPEG"

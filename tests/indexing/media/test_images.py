"""Pictures: greys of every depth, operations that no decoder does, and formats recognised by content."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from indexing.encoders import load_encoder
from indexing.errors import InputError
from indexing.media.images import MAX_SCANS, ImageLimits, UnusableImage, decode_picture, to_rgb, webp_size

LIMITS = ImageLimits()
WHITE = [255, 255, 255]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, depth: int, kind: int, line: bytes, transparent: bytes = b"") -> bytes:
    """A PNG of one line, written by hand: Pillow writes none of 16 bits with a transparent colour."""
    head = struct.pack(">IIBBBBB", width, 1, depth, kind, 0, 0, 0)
    named = chunk(b"tRNS", transparent) if transparent else b""
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + line))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + named + pixels + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


GREY16 = struct.pack(">3H", 0x0000, 0x8000, 0xFFFF)
DEPTHS = {
    "16-bit grey": (png(3, 16, 0, GREY16), [[0] * 3, [128] * 3, WHITE]),
    "16-bit grey, middle transparent": (png(3, 16, 0, GREY16, b"\x80\0"), [[0] * 3, WHITE, WHITE]),
    "16-bit grey, black transparent": (png(3, 16, 0, GREY16, b"\0\0"), [WHITE, [128] * 3, WHITE]),
    "16-bit grey, another grey transparent": (png(3, 16, 0, GREY16, b"\x80\1"), [[0] * 3, [128] * 3, WHITE]),
    "16-bit colour, one transparent": (
        png(2, 16, 2, struct.pack(">6H", 0x1234, 0x8000, 0xFFFF, 0x4000, 0x4000, 0x4000), b"\x12\x34\x80\0\xff\xff"),
        [WHITE, [64] * 3],
    ),
    "2-bit grey, one transparent": (png(4, 2, 0, b"\x1b", b"\0\1"), [[0] * 3, WHITE, [170] * 3, WHITE]),
    "4-bit grey, one transparent": (png(2, 4, 0, b"\x37", b"\0\3"), [WHITE, [119] * 3]),
    "8-bit grey, one transparent": (png(2, 8, 0, b"\x07\x09", b"\0\x09"), [[7] * 3, WHITE]),
    "1-bit grey, white transparent": (png(2, 1, 0, b"\x40", b"\0\1"), [[0] * 3, WHITE]),
    "16-bit grey with opacity": (png(2, 16, 4, struct.pack(">4H", 0x8000, 0xFFFF, 0x8000, 0)), [[128] * 3, WHITE]),
}


@pytest.mark.parametrize("name", DEPTHS)
def test_greys_and_colours_of_every_depth_are_shown_on_white(name: str) -> None:
    data, line = DEPTHS[name]
    assert np.asarray(to_rgb(decode_picture(data, LIMITS))).tolist() == [line]


def scans(count: int) -> bytes:
    """A progressive JPEG with empty scans: each of a few bytes costs a pass over all pixels."""
    whole = saved(Image.new("L", (64, 64), 77), "JPEG", progressive=True)
    empty = b"\xff\xda\x00\x08\x01\x01\x00\x01\x05\x00" + b"\x7f"  # a band of coefficients without any
    return whole[:-2] + empty * count + whole[-2:]


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded() -> None:
    assert decode_picture(saved(Image.new("L", (64, 64), 77), "JPEG", progressive=True), LIMITS).size == (64, 64)
    for count in (MAX_SCANS + 1, 20_000):
        with pytest.raises(UnusableImage, match=f"image of {count + 6} scans is over {MAX_SCANS} scans"):
            decode_picture(scans(count), LIMITS)


@pytest.mark.parametrize(("width", "height"), [(1, 65_536), (70_000, 2)])
def test_a_picture_of_many_lines_is_refused_before_it_is_decoded(width: int, height: int) -> None:
    with pytest.raises(UnusableImage, match=f"image of {width} x {height} is over 65535 pixels on one side"):
        decode_picture(saved(Image.new("1", (width, height)), "PNG"), LIMITS)


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 50}, {"save_all": True}])
def test_the_size_of_a_webp_is_in_its_header(options: dict[str, Any]) -> None:
    mode = "RGBA" if "save_all" in options else "RGB"
    data = saved(Image.new(mode, (301, 17), "red"), "WEBP", **options)
    if "save_all" in options:
        data = saved(
            Image.new(mode, (301, 17)), "WEBP", save_all=True, append_images=[Image.new(mode, (301, 17), "red")]
        )
    assert webp_size(data) == (301, 17)
    with pytest.raises(UnusableImage, match="image of 301 x 17 is over 4500 pixels of a WEBP"):
        decode_picture(data, ImageLimits(pixels=10_000))


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read() -> None:
    data = saved(Image.new("RGB", (40, 30), (200, 30, 30)), "AVIF")
    np.testing.assert_allclose(np.asarray(to_rgb(decode_picture(data, LIMITS)))[15, 20], [200, 30, 30], atol=8)


def test_heic_is_read_with_its_extra_and_asks_for_it_without(monkeypatch: pytest.MonkeyPatch) -> None:
    heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    heif.from_pillow(Image.new("RGB", (64, 48), (30, 30, 200))).save(file, format="HEIF")
    picture = to_rgb(decode_picture(file.getvalue(), LIMITS))
    assert picture.size == (64, 48)
    np.testing.assert_allclose(np.asarray(picture)[20, 20], [30, 30, 200], atol=8)
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(UnusableImage, match=r'image is HEIF: .* pip install "\.\[heif\]"'):
        decode_picture(file.getvalue(), LIMITS)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (saved(Image.new("RGB", (9, 9)), "TIFF"), "image is TIFF, which is not read: convert it to PNG or JPEG"),
        (saved(Image.new("RGB", (9, 9)), "ICO"), "image is ICO, which is not read"),
        (b"8BPS\0\1" + bytes(90), "image is PSD, which is not read"),
        (b"\xff\x0a" + bytes(90), "image is JPEG XL, which is not read"),
        (b"<html>", "image is none of JPEG, PNG, WEBP, GIF, BMP, AVIF, HEIF"),
        (b"\xff\xd8\xff" + bytes(90), "image is a broken JPEG"),
    ],
)
def test_what_is_not_read_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(UnusableImage, match=reason):
        decode_picture(data, LIMITS)


@pytest.mark.parametrize("given", [b"bytes", "a.png", np.zeros((4, 4, 3), np.uint8), None])
def test_an_encoder_refuses_what_is_no_picture(given: object) -> None:
    with pytest.raises(InputError, match=f"picture 1 is of type {type(given).__name__}, not a PIL image"):
        load_encoder("pocket").encode_images([Image.new("RGB", (9, 9)), given])  # type: ignore[list-item]

"""Files and texts that somebody might send: broken, misleading, huge, or only odd."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

MEGAPIXEL = 1_000_000


def hostile_images() -> Iterator[tuple[str, bytes]]:
    """Give names and bytes of pictures."""
    yield from _cut_pictures()
    yield from _odd_pictures()
    yield from _bombs()
    yield from _no_pictures()


def _photo(width: int = 120, height: int = 90) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _cut_pictures() -> Iterator[tuple[str, bytes]]:
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        whole = _saved(_photo(), kind)
        for share in (0.02, 0.3, 0.7, 0.98):
            yield f"{kind} cut at {share:.0%}", whole[: int(len(whole) * share)]
        turned = bytearray(whole)
        for place in range(20, len(turned), max(1, len(turned) // 40)):
            turned[place] ^= 0xFF
        yield f"{kind} with turned bytes", bytes(turned)


def _odd_pictures() -> Iterator[tuple[str, bytes]]:
    yield "CMYK JPEG", _saved(_photo().convert("CMYK"), "JPEG")
    yield "grey JPEG", _saved(_photo().convert("L"), "JPEG")
    yield "16-bit PNG", _saved(Image.fromarray(np.full((9, 9), 40_000, np.uint16)), "PNG")
    yield "1-bit PNG", _saved(_photo().convert("1"), "PNG")
    palette = _photo().convert("P")
    yield "transparent palette", _saved(palette, "PNG", transparency=0)
    yield "one pixel", _saved(Image.new("RGB", (1, 1)), "PNG")
    yield "a line", _saved(Image.new("RGB", (1, 20_000)), "PNG")
    yield "broken EXIF", _saved(_photo(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    yield "trailing archive", _saved(_photo(), "JPEG") + b"PK\x03\x04" + bytes(1000)
    yield "broken colour profile", _saved(_photo(), "PNG", icc_profile=b"no profile")


def _bombs() -> Iterator[tuple[str, bytes]]:
    yield "PNG of 169 megapixels", _blank_png(13_000, 13_000)
    yield "PNG that claims 4 gigapixels", _blank_png(65_535, 65_535, rows=1)
    yield "PNG that claims more than 2^31 pixels a side", _blank_png(2**31 - 1, 2**31 - 1, rows=1)
    yield "PNG just under the limit", _blank_png(6_300, 6_300)
    yield "PNG with transparency just under the limit", _blank_png(6_300, 6_300, channels=4)
    yield "JPEG that claims 65,500 x 65,500", _claiming(_saved(_photo(), "JPEG"))
    yield (
        "BMP that claims 30,000 x 30,000",
        struct.pack("<2sIHHI IiiHHIIiiII", b"BM", 58, 0, 0, 54, 40, 30_000, 30_000, 1, 24, 0, 0, 0, 0, 0, 0)
        + b"\0\0\0\0",
    )
    yield "PNG of 40 million lines", _blank_png(1, 40_000_000, rows=1)
    yield "PNG of long lines with transparency", _blank_png(65_000, 600, channels=4)
    yield "PNG of 16-bit greys just under the limit", _blank_png(6_300, 6_300, channels=2)
    yield "WebP of 39 megapixels", _saved(Image.new("L", (6_300, 6_300)), "WEBP", lossless=True, method=0)
    yield "JPEG of 20,000 scans", _scans(20_000, 64)
    yield "JPEG of 100 scans just under the limit", _scans(94, 6_300)
    small, segment, chunk = _saved(_photo(), "JPEG"), b"\xff\xfe\0\2", b"\0\0\0\0tEXt\0\0\0\0"
    yield "JPEG of 100,000 segments", small[:2] + segment * 100_000 + small[2:]
    small = _saved(_photo(), "PNG")
    yield "PNG of 100,000 chunks", small[:33] + chunk * 100_000 + small[33:]
    first, *others = [Image.new("P", (16, 16), n % 7) for n in range(3000)]
    yield "GIF of 3,000 frames", _saved(first, "GIF", save_all=True, append_images=others)
    yield "GIF that claims 65,535 x 65,535", b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b"\x2c" + bytes(20)
    notes = PngImagePlugin.PngInfo()
    notes.add_text("bomb", "0" * 50_000_000, zip=True)
    yield "PNG with 50 MB of zipped text", _saved(_photo(), "PNG", pnginfo=notes)


def _blank_png(width: int, height: int, *, rows: int | None = None, channels: int = 3) -> bytes:
    """A PNG of one colour, written by hand: Pillow would need all its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row, packer = bytes(1 + channels * min(width, 100_000)), zlib.compressobj(1)  # two: greys of 16 bits
    data = b"".join(packer.compress(row) for _ in range(rows or height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, *{2: (16, 0), 3: (8, 2), 4: (8, 6)}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _scans(count: int, side: int) -> bytes:
    """A progressive JPEG with so many empty scans: each of a few bytes costs a pass over all pixels."""
    whole = _saved(Image.new("L", (side, side), 77), "JPEG", progressive=True)
    return whole[:-2] + b"\xff\xda\0\x08\1\1\0\1\5\0\x7f" * count + whole[-2:]


def _claiming(jpeg: bytes) -> bytes:
    start = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:start] + struct.pack(">HH", 65_500, 65_500) + jpeg[start + 4 :]


def _no_pictures() -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "random bytes", np.random.default_rng(1).bytes(5000)
    yield "zeros", bytes(5000)
    yield "HTML", b"<html><body>404</body></html>"
    yield "SVG", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    yield "PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file\n"
    yield "PDF", b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n"
    yield "TIFF", _saved(_photo(), "TIFF")
    yield "ICO", _saved(_photo(), "ICO")
    yield "a pickle", b"cos\nsystem\n(S'touch /tmp/owned'\ntR."
    yield "a URL", b"http://127.0.0.1:9/x.png"
    yield "a path", b"/etc/passwd"


def hostile_sounds() -> Iterator[tuple[str, bytes]]:
    """Give names and bytes of sounds."""
    tone = (np.sin(np.arange(8000) / 9) / 2).astype(np.float32)
    for kind in ("WAV", "FLAC", "OGG"):
        whole = _sound(tone, kind)
        for share in (0.01, 0.3, 0.9):
            yield f"{kind} cut at {share:.0%}", whole[: int(len(whole) * share)]
    yield "WAV that claims 4 GB", _claiming_wav(rate=8000, channels=1)
    yield "WAV of 60,000 channels", _claiming_wav(rate=8000, channels=60_000)
    yield "WAV at 4 GHz", _claiming_wav(rate=2**32 - 1, channels=1)
    yield "WAV at 0 Hz", _claiming_wav(rate=0, channels=1)
    yield "an hour of silence", _sound(np.zeros(8000 * 3600, np.float32), "FLAC")
    yield "NaN samples", _sound(np.full(4000, np.nan, np.float32), "WAV", subtype="FLOAT")
    yield "no samples", _sound(tone[:0], "WAV")
    yield "a picture", _saved(_photo(), "PNG")
    yield "nothing", b""
    yield "a playlist", b"#EXTM3U\nhttp://127.0.0.1:9/x.ogg\n"


def _sound(samples: NDArray[np.float32], kind: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 8000, format=kind, subtype=subtype)
    return file.getvalue()


def _claiming_wav(rate: int, channels: int) -> bytes:
    block = min(2 * channels, 65_535)
    form = struct.pack("<HHIIHH", 1, channels, rate, min(rate * block, 2**32 - 1), block, 16)
    return b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<I", 16) + form + b"data\xff\xff\xff\xff" + bytes(64)


HOSTILE_TEXTS = {
    "url": "http://127.0.0.1:9/x.png",
    "path": "/etc/passwd",
    "data url": "data:image/png;base64,iVBORw0KGgo=",
    "long": "mug " * 300_000,
    "one long word": "x" * 200_000,
    "zalgo": "m" + "\u0301" * 5000 + "ug",
    "right to left": "\u202e\u05d0\u05d1\u202c mug",
    "half a surrogate pair": "mug \ud83d",
    "joined emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 200,
    "markup": "<script>alert(1)</script>",
    "special tokens": "<|endoftext|> [SEP] <s> </s> [MASK]",
    "format": "%s%n{0.__class__}${jndi:ldap://127.0.0.1/x}",
    "null": "mug\0cup",
}


def hostile_bodies() -> Iterator[tuple[str, bytes]]:
    """Give names and bytes of bodies of a search."""
    yield "half a million brackets", b"[" * 500_000
    yield "a deep list", b'{"texts": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    yield "a deep object", b'{"a":' * 5_000 + b"1" + b"}" * 5_000
    yield "a deep value of a filter", b'{"texts": ["a"], "where": [["price", "<", ' + b"[" * 900 + b"]" * 900 + b"]]}"
    yield "a deep filter", b'{"texts": ["a"], "where": ["' + b"(" * 2_000 + b"price<1" + b")" * 2_000 + b'"]}'
    yield "many denials", b'{"texts": ["a"], "where": ["' + b"not " * 1_000 + b'price<1"]}'
    yield "a deep rule", b'{"texts": ["a"], "rules": [{"rule": ' + b"[" * 800 + b"]" * 800 + b"}]}"
    for k in (
        "0",
        "-1",
        "1001",
        "2147483648",
        "9223372036854775808",
        "1e9",
        "NaN",
        "Infinity",
        "true",
        '"5"',
        "9" * 5_000,
    ):
        yield f"k {k[:20]}", b'{"texts": ["a"], "k": %s}' % k.encode()
    yield "candidates 10001", b'{"texts": ["a"], "rerank": true, "num_candidates": 10001}'
    yield "257 texts", b'{"texts": [' + b",".join([b'"a"'] * 257) + b"]}"
    yield "a text of 4097 bytes", b'{"texts": ["' + b"a" * 4_097 + b'"]}'
    yield (
        "10001 values of a filter",
        b'{"texts": ["a"], "where": [["price", "in", [' + b",".join([b"1"] * 10_001) + b"]]]}",
    )
    yield "33 parts", b'{"queries": [{"parts": [' + b",".join([b'{"text": "a"}'] * 33) + b"]}]}"
    yield "a vector of infinity", b'{"queries": [{"parts": [{"vector": [1e999]}]}]}'
    yield "a vector too large", b'{"queries": [{"parts": [{"vector": [1e300]}]}]}'
    yield "a weight too large", b'{"queries": [{"parts": [{"text": "a", "weight": 1e300}]}]}'
    yield "half a surrogate pair", b'{"texts": ["\\ud800"]}'
    yield "no UTF-8", b'{"texts": ["\xff\xfe"]}'
    yield "an unknown field", b'{"texts": ["a"], "vektors": true}'
    yield "no JSON", b"texts=a"
    yield "nothing", b""
    yield "a list", b"[]"
    yield "null", b"null"
    yield "17 MB", b"x" * 17_000_000
    yield "a million values", b'{"texts": ["a"], "attributes": [' + b",".join([b'"x"'] * 1_000_000) + b"]}"
    yield "no base64", b'{"images": ["data:image/png;base64,iVBORw0KGgo="]}'
    yield "a path as a picture", b'{"images": ["/etc/passwd"]}'
    yield "a file of the machine", b'{"queries": ["./pool.jpg"]}'
    yield "a URL as a query", b'{"queries": ["http://127.0.0.1:9/x.png"]}'

"""A toy encoder and catalogue whose right answers are known by construction."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from indexing.arrays import Vectors, unit
from indexing.encoders.base import EncoderInfo
from indexing.encoders.inference.batching import well_formed
from indexing.media.files import Modality
from indexing.media.images import to_rgb

COLOURS = {"red": (255, 10, 30), "green": (20, 245, 5), "blue": (0, 35, 250), "white": (250, 240, 255)}
SHAPES = ("mug", "shoe", "lamp", "book", "chair")
DIM = 16


class ToyEncoder:
    """Colours are axes 0 to 2, in words and in pictures; every other word is a direction of its own."""

    def __init__(self, name: str = "toy", salt: str = "") -> None:
        self.salt = salt
        self.info = EncoderInfo(name, DIM, (Modality.TEXT, Modality.IMAGE), hashlib.sha256(salt.encode()).hexdigest())
        self.encoded: list[str] = []
        self.pictures = 0

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self.encoded.extend(texts)  # += would add to an array
        return unit(np.array([self._text(well_formed(text)) for text in texts], np.float32).reshape(-1, DIM))

    def _text(self, text: str) -> Vectors:
        vector = np.full(DIM, 1e-3, np.float32)
        for word in text.lower().split():
            if word in COLOURS:
                vector[:3] += np.array(COLOURS[word]) / 255
            else:
                seed = hashlib.blake2b((self.salt + word).encode(), digest_size=8).digest()
                vector[3:] += np.random.default_rng(int.from_bytes(seed, "big")).normal(size=DIM - 3) / 3
        return vector

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        self.pictures += len(images)
        vectors = np.full((len(images), DIM), 1e-3, np.float32)
        for line, image in enumerate(images):
            vectors[line, :3] += np.asarray(to_rgb(image), np.float32).mean(axis=(0, 1)) / 255
        return unit(vectors)


def picture(colour: str, size: int = 8) -> bytes:
    """A PNG of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (size, size), COLOURS[colour]).save(file, "PNG")
    return file.getvalue()


def toy_table() -> pa.Table:
    """Every colour with every shape: 20 items; the white ones have no picture."""
    rows = [
        {
            "item_id": f"{colour}-{shape}",
            "title": f"{colour} {shape}",
            "image": None if colour == "white" else picture(colour, size=8 + number),
            "price": 10 * number + len(colour),
            "tags": [colour, shape],
        }
        for number, shape in enumerate(SHAPES)
        for colour in COLOURS
    ]
    return pa.Table.from_pylist(rows)


def toy_file(folder: Path) -> Path:
    """The toy table as a Parquet file."""
    path = folder / "items.parquet"
    pq.write_table(toy_table(), path)
    return path


def dearer_file(folder: Path) -> Path:
    """The toy table with other prices, as a Parquet file."""
    path, table = folder / "dearer.parquet", toy_table()
    place = table.column_names.index("price")
    pq.write_table(table.set_column(place, "price", pc.add(table.column("price"), 1)), path)
    return path

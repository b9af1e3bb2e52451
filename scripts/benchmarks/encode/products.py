"""Products with a title, a description and a picture, as benchmarks of classification take them."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from indexing.arrays import Vectors
from indexing.encoders.base import Encoder
from indexing.media.images import ImageLimits, UnusableImage, decode_picture
from scripts.benchmarks.encode.seed_network import Pixels, small

TITLE, DESCRIPTION, IMAGE = "title", "description", "image"
AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Items:
    """What is classified: N products with a readable picture, a title and a description."""

    rows: list[dict[str, Any]]
    pixels: Pixels
    images: Vectors
    seconds: dict[str, float]


def read(
    path: Path,
    labels: Sequence[str],
    encoder: Encoder,
    cache: Path | None,
    *,
    drawn: tuple[int | None, int] = (None, 0),
) -> Items:
    """Decode the pictures, and encode them unless the cache has their vectors; few are in memory at a time.

    Args:
        path: A Parquet file.
        labels: Columns to read beside title, description and image.
        encoder: Embeds the pictures.
        cache: Folder of vectors from before.
        drawn: How many products, and the seed of the draw; all when there is no number.
    """
    table = pq.read_table(path, columns=["item_id", TITLE, DESCRIPTION, IMAGE, *labels]).to_pylist()
    rows = [row for row in table if row[TITLE] and row[DESCRIPTION] and row[IMAGE]]
    size, seed = drawn
    if size is not None and size < len(rows):
        rows = [rows[place] for place in np.sort(np.random.default_rng(seed).choice(len(rows), size, replace=False))]
    ids = hashlib.sha256(repr([row["item_id"] for row in rows]).encode()).hexdigest()[:16]
    kept = cache / f"{encoder.info.fingerprint[:16]}-{ids}.npz" if cache else None
    known = np.load(kept, allow_pickle=False) if kept and kept.exists() else None
    usable, pixels, vectors = [], [], []
    spent = {"decoding": 0.0, "encoding": 0.0}
    for start in range(0, len(rows), AT_ONCE):
        begun = perf_counter()
        decoded = [
            (row, image) for row in rows[start : start + AT_ONCE] if (image := opened(row.pop(IMAGE))) is not None
        ]
        usable += [row for row, _ in decoded]
        pixels.append(small([image for _, image in decoded]))
        spent["decoding"] += perf_counter() - begun
        begun = perf_counter()
        if known is None:
            vectors.append(encoder.encode_images([image for _, image in decoded]))
        spent["encoding"] += perf_counter() - begun
    images = np.concatenate(vectors) if known is None else known["images"]
    spent["encoding"] = spent["encoding"] if known is None else float(known["seconds"])
    if kept and known is None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, images=images, seconds=spent["encoding"])
    return Items(usable, np.concatenate(pixels), images, {name: round(value, 1) for name, value in spent.items()})


def opened(data: bytes) -> Image.Image | None:
    """Decode a picture; None when it cannot be."""
    try:
        return decode_picture(data, ImageLimits())
    except UnusableImage:
        return None


class TextMemo:
    """Embeds texts, each only once, and counts them and their seconds."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder, self._known = encoder, dict[str, Vectors]()
        self.seconds = 0.0

    def __len__(self) -> int:
        return len(self._known)

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """Give the vectors of N texts: (N, D) float32."""
        begun = perf_counter()
        if fresh := [text for text in dict.fromkeys(texts) if text not in self._known]:
            self._known.update(zip(fresh, self._encoder.encode_texts(fresh), strict=True))
        self.seconds += perf_counter() - begun
        return np.stack([self._known[text] for text in texts])


def spelled(text: str) -> list[str]:
    """Give the words of a text in small letters, hyphens dropped, as in `tshirt`."""
    return re.findall(r"[^\W_]+", text.lower().replace("-", ""))


def stem(word: str) -> str:
    """Give a word without its plural ending.

    >>> [stem(word) for word in ("watches", "dresses", "shoes", "kurtas", "dress")]
    ['watch', 'dress', 'shoe', 'kurta', 'dress']
    """
    if re.search(r"(ch|sh|x|ss)es$", word):
        return word[:-2]
    return word if word.endswith("ss") else word.removesuffix("s")


def without(text: str, names: Iterable[str]) -> str:
    """Give the words of a text that are in no class name.

    >>> without("Puma Men T-shirt", ["Tshirts", "Tops"])
    'puma men'
    """
    named = stems(word for name in names for word in spelled(name))
    return " ".join(word for word in spelled(text) if stem(word) not in named)


def names_own(text: str, name: str) -> bool:
    """Whether a text has any word of a class name."""
    return bool(stems(spelled(text)) & stems(spelled(name)))


def stems(words: Iterable[str]) -> set[str]:
    """Give the stems of words."""
    return {stem(word) for word in words}
